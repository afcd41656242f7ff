"""Maximum mean discrepancy of samples: whether the pixels of a sample are distributed as those of the true map.

It is that of the predicted map (`hpc_massmap/metrics/mmd.py`), which a mean cannot make small: it has no bright pixels.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.metrics.error_bars import SAMPLES
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.mmd import mmd_squared
from hpc_massmap.metrics.sample import Sample
from hpc_massmap.metrics.spread import error_text

AT_MOST = 4  # samples of each map, the first: each takes as long as the predicted map


@dataclass(frozen=True)
class SampleMmd(MapMetric):
    """MMD^2 of some samples of each of n maps.

    Attributes
    ----------
    values : (n, s), of the first s samples, which are all or `AT_MOST`
    """

    name: ClassVar[str] = "sample_mmd"

    values: FloatArray

    @classmethod
    def applies(cls, aspects: frozenset[str]) -> bool:
        return SAMPLES in aspects

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        samples = block.error_bars.said.samples[:, :AT_MOST]
        found = [
            mmd_squared(true, list(of), settings.mmd_scales, settings.mmd_kernel)
            for true, of in zip(block.true, samples, strict=True)
        ]
        return {"values": np.stack(found)}

    @property
    def of_map(self) -> FloatArray:
        """The mean over the samples of each map: (n,)."""
        return np.asarray(self.values.mean(axis=1))

    def headline(self, sample: Sample) -> list[str]:
        mmd = sample.spread_of(self.of_map, sample.everything)
        error = error_text(float(mmd.error), int(mmd.regions), digits=4)
        return [f"  MMD^2 of {self.values.shape[1]} samples a map, median: {mmd.median:.4f} ({error})"]
