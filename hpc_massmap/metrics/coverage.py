"""How often intervals hold the truth: those that the model gives itself, and those that are calibrated by region."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hpc_massmap.apertures import N_RINGS, RADII, enclosed_mass, means_in_rings, pixels_in_rings
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.diagnostics.coverage import LEVELS, is_inside
from hpc_massmap.diagnostics.estimate import Estimate, share_of
from hpc_massmap.metrics.error_bars import CALIBRATION, QUANTILES, SAMPLES, Intervals
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.sample import BoolArray, Sample


@dataclass(frozen=True)
class Coverage(MapMetric):
    """Of the intervals that a model gives by itself.

    Attributes
    ----------
    levels : (4,)
    masses : (n, 4, 10), whether the enclosed mass lies inside: 1 or 0, NaN where there is no interval
    pixels : (n, 4, 11), share of the pixels of each ring that lie inside, NaN as above
    """

    name: ClassVar[str] = "coverage"
    words: ClassVar[str] = "as the model gives them"

    levels: FloatArray
    masses: FloatArray
    pixels: FloatArray

    @classmethod
    def applies(cls, aspects: frozenset[str]) -> bool:
        return bool(aspects & {SAMPLES, QUANTILES})

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        return held(block, block.error_bars.own_masses(), block.error_bars.own_pixels())

    @classmethod
    def of(cls, rows: Rows, settings: Evaluate) -> Self:
        return cls(np.array(LEVELS), **rows)

    def masses_of(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """Share of some maps whose enclosed mass is held: (4, 10)."""
        return share_of(self.masses[chosen], sample.maps["region"][chosen])

    def rings_of(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """Share of the pixels of each ring of some maps: (4, 11)."""
        return share_of(self.pixels[chosen], sample.maps["region"][chosen])

    def b200_of(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """Share of some maps whose mass inside R200 is held, and with it b200: (4,)."""
        return share_of(self.masses[chosen, :, -1], sample.maps["region"][chosen])

    def pixels_of(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """Share of all pixels of some maps: (4,)."""
        weights = pixels_in_rings() / pixels_in_rings().sum()
        return share_of((self.pixels[chosen] * weights).sum(axis=2), sample.maps["region"][chosen])

    def headline(self, sample: Sample) -> list[str]:
        of = {"b200": self.b200_of(sample, sample.everything), "pixels": self.pixels_of(sample, sample.everything)}
        return [
            f"  intervals of {level:.0%}, {self.words}, hold: "
            + ", ".join(f"{name} {found.at(n).text()}" for name, found in of.items())
            for n, level in enumerate(self.levels)
        ]


@dataclass(frozen=True)
class Calibrated(Coverage):
    """Of the intervals that are calibrated by region, beside these of the enclosed masses.

    Attributes
    ----------
    low, high : (n, 4, 10), of the masses, in the unit of `Profiles.mass_true`; infinite where nothing is promised
    """

    name: ClassVar[str] = "calibrated"
    words: ClassVar[str] = "calibrated by region"

    low: FloatArray
    high: FloatArray

    @classmethod
    def applies(cls, aspects: frozenset[str]) -> bool:
        return CALIBRATION in aspects

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        masses, pixels = block.error_bars.masses(), block.error_bars.pixels()
        assert masses is not None
        low, high = (np.moveaxis(bound, 0, 1) for bound in masses)
        return held(block, masses, pixels) | {"low": low, "high": high}


def held(block: Block, masses: Intervals | None, pixels: Intervals | None) -> Rows:
    """What lies inside of some intervals: `masses`, (n, 4, 10), and shares of `pixels`, (n, 4, 11)."""
    n = len(block.rows)
    of_masses, of_pixels = np.full((n, len(LEVELS), len(RADII)), np.nan), np.full((n, len(LEVELS), N_RINGS), np.nan)
    if masses is not None:
        true = enclosed_mass(block.true, block.r200)
        of_masses = np.moveaxis(is_inside(true, *masses), 0, 1)
    if pixels is not None:
        of_pixels = np.moveaxis(means_in_rings(is_inside(block.true, *pixels)), 0, 1)
    return {"masses": of_masses, "pixels": of_pixels}
