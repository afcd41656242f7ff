"""What a model says of some maps beside the one that stands for all: intervals of pixels and of enclosed masses.

Samples say both. Quantiles of pixels say nothing of how pixels go together, so that an enclosed mass has no interval of
theirs, only a scale: the mass of half the width of all pixels, as if all were wrong alike. A single map says neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.bands import Band, band_of_point, band_of_quantiles, band_of_samples, pixel_scale
from hpc_massmap.diagnostics.coverage import LEVELS

FEWEST_SAMPLES = 2  # that have a spread
ONE_SIGMA = LEVELS.index(0.68)


@dataclass(frozen=True)
class Said:
    """What is said of n maps of one target.

    Attributes
    ----------
    mean : (n, 80, 80), the map that stands for all
    r200 : (n,), kpc
    samples : (n, s, 80, 80); s = 0 where there are none
    quantiles : (n, k, 80, 80); k = 0 where there are none
    levels : of the quantiles
    """

    mean: FloatArray
    r200: FloatArray
    samples: FloatArray
    quantiles: FloatArray
    levels: Sequence[float]

    @cached_property
    def ordered(self) -> FloatArray:
        """The samples of each pixel, rising: (s, n, 80, 80)."""
        return np.sort(np.moveaxis(self.samples, 1, 0), axis=0)

    @cached_property
    def masses(self) -> FloatArray:
        """Enclosed masses of the samples, rising: (s, n, 10)."""
        found = [enclosed_mass(one, self.r200) for one in np.moveaxis(self.samples, 1, 0)]
        return np.sort(np.stack(found), axis=0)

    @cached_property
    def pixel_band(self) -> Band:
        """The intervals of the pixels, before calibration: (levels or 1, n, 80, 80)."""
        if self.samples.shape[1] >= FEWEST_SAMPLES:
            return band_of_samples(self.ordered, LEVELS)
        if self.levels:
            return band_of_quantiles(np.moveaxis(self.quantiles, 1, 0), self.levels, LEVELS)
        return band_of_point(self.mean, pixel_scale(self.mean))

    @cached_property
    def mass_band(self) -> Band:
        """The intervals of the enclosed masses, before calibration: (levels or 1, n, 10)."""
        if self.samples.shape[1] >= FEWEST_SAMPLES:
            return band_of_samples(self.masses, LEVELS)
        centre = enclosed_mass(self.mean, self.r200)
        scale = enclosed_mass(self.pixel_band.scale[ONE_SIGMA], self.r200) if self.levels else np.abs(centre)
        return band_of_point(centre, scale)


def described(samples: int, levels: Sequence[float], symmetries: bool) -> str:
    """What a model says of every map, in a few words; calibrations are of one kind."""
    how = " over symmetries" if symmetries else ""
    if samples >= FEWEST_SAMPLES:
        return f"{samples} samples{how}"
    if levels:
        return f"quantiles at {', '.join(f'{level:g}' for level in levels)}{how}"
    return f"one map{how}"
