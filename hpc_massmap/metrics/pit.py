"""Where in what is said of them the truths lie: PITs of enclosed masses and of pixels."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hpc_massmap.apertures import RADII, enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.diagnostics import pit
from hpc_massmap.diagnostics.estimate import Estimate
from hpc_massmap.metrics.error_bars import QUANTILES, SAMPLES
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.sample import BoolArray, Sample

SEED = 11


@dataclass(frozen=True)
class Pit(MapMetric):
    """Probability integral transforms of n maps.

    Attributes
    ----------
    masses : (n, 10), of the enclosed masses; NaN of a model without samples
    pixels : (n, 20), their density in equal bins over all pixels of each map
    """

    name: ClassVar[str] = "pit"

    masses: FloatArray
    pixels: FloatArray

    @classmethod
    def applies(cls, aspects: frozenset[str]) -> bool:
        return bool(aspects & {SAMPLES, QUANTILES})

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        bars, n = block.error_bars, len(block.rows)
        said, true = bars.said, enclosed_mass(block.true, block.r200)
        masses, pixels = np.full((n, len(RADII)), np.nan), np.empty((n, *block.true.shape[1:]))
        for i, row in enumerate(block.rows):
            rng = np.random.default_rng([SEED, int(row)])  # of the map, whatever rank it is on
            uniform = rng.random(len(RADII)), rng.random(block.true.shape[1:])
            if bars.has_samples:
                masses[i] = pit.pit(true[i], said.masses[:, i], uniform[0])
                pixels[i] = pit.pit(block.true[i], said.ordered[:, i], uniform[1])
            else:
                pixels[i] = pit.pit_of_quantiles(block.true[i], said.quantiles[i], said.levels, uniform[1])
        return {"masses": masses, "pixels": pit.histogram(pixels.reshape(n, -1))}

    def density_of_pixels(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """Of the pixels of some maps: (20,)."""
        return pit.pit_density(self.pixels[chosen], sample.maps["region"][chosen])

    def density_of_b200(self, sample: Sample, chosen: BoolArray) -> Estimate | None:
        """Of the masses inside R200 of some maps: (20,); None of a model without samples."""
        values = self.masses[chosen, -1:]
        if np.isnan(values).any():
            return None
        return pit.pit_density(pit.histogram(values), sample.maps["region"][chosen])
