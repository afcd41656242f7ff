"""TARP over whole maps: whether their pixels go together as the samples say.

Distances are those of the square roots of maps, so that no few bright pixels outweigh all others. The reference is the
first view of the model, with the total of the predicted map: it depends on what the model is given, so that one that
ignores it is found out.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.diagnostics.estimate import Estimate
from hpc_massmap.diagnostics.tarp import expected_coverage, tarp_fraction
from hpc_massmap.metrics.error_bars import VIEWS
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.sample import BoolArray, Sample

SEED = 13
CREDIBILITIES = np.arange(1, 20) / 20


@dataclass(frozen=True)
class Tarp(MapMetric):
    """Tests of accuracy with random points, of n maps.

    Attributes
    ----------
    fraction : (n,), of the samples that are nearer to the reference than the truth is
    """

    name: ClassVar[str] = "tarp"

    fraction: FloatArray

    @classmethod
    def applies(cls, aspects: frozenset[str]) -> bool:
        return VIEWS in aspects

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        bars, found = block.error_bars, np.empty(len(block.rows))
        assert bars.reference is not None
        for n, row in enumerate(block.rows):  # one by one, so that no result depends on its neighbours
            truth, reference = _flat(block.true[n])[None], _flat(bars.reference[n])[None]
            samples = np.stack([_flat(one) for one in bars.said.samples[n]])[None]
            uniform = np.random.default_rng([SEED, int(row)]).random(1)
            found[n] = tarp_fraction(truth, samples, reference, uniform)[0]
        return {"fraction": found}

    def coverage_of(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """Share of some maps that lie in the credible regions of each of `CREDIBILITIES`: (19,)."""
        return expected_coverage(self.fraction[chosen], CREDIBILITIES, sample.maps["region"][chosen])

    def headline(self, sample: Sample) -> list[str]:
        found = self.coverage_of(sample, sample.everything)
        worst = int(np.argmax(np.abs(found.value - CREDIBILITIES)))
        return [f"  TARP: credible regions of {CREDIBILITIES[worst]:.0%}, the worst, hold {found.at(worst).text()}"]


def _flat(pixels: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(pixels, 0)).ravel()
