"""Scores of error bars, which are best if these are right and as narrow as can be, beside those of constant width.

CRPS and interval scores are in parts of the truth: of the enclosed mass, so that they are of b; of the mean of a ring.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hpc_massmap.apertures import N_RINGS, RADII, enclosed_mass, means_in_rings
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.diagnostics.coverage import LEVELS
from hpc_massmap.diagnostics.crps import crps, crps_of_quantiles
from hpc_massmap.diagnostics.estimate import Estimate, mean_of, ratio_of
from hpc_massmap.diagnostics.interval_score import interval_score
from hpc_massmap.metrics.error_bars import QUANTILES, RESIDUALS, SAMPLES, ErrorBars, Intervals
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.sample import BoolArray, Sample

PARTS = ("crps_masses", "crps_pixels", "interval_masses", "interval_pixels")
CONSTANT = "constant_"  # before the name of a part: that of an error bar of constant width


@dataclass(frozen=True)
class Scores(MapMetric):
    """Scores of n maps; NaN where there is nothing to score, and where the truth is 0.

    Attributes
    ----------
    levels : (4,)
    crps_masses, crps_pixels : (n, 10) and (n, 11), of enclosed masses and of the pixels of each ring
    interval_masses, interval_pixels : (n, 4, 10) and (n, 4, 11), of the calibrated intervals, else of the model's own
    constant_crps_masses, constant_crps_pixels : (n, 10) and (n, 11)
    constant_interval_masses, constant_interval_pixels : (n, 4, 10) and (n, 4, 11)
    """

    name: ClassVar[str] = "scores"

    levels: FloatArray
    crps_masses: FloatArray
    crps_pixels: FloatArray
    interval_masses: FloatArray
    interval_pixels: FloatArray
    constant_crps_masses: FloatArray
    constant_crps_pixels: FloatArray
    constant_interval_masses: FloatArray
    constant_interval_pixels: FloatArray

    @classmethod
    def applies(cls, aspects: frozenset[str]) -> bool:
        return bool(aspects & {SAMPLES, QUANTILES, RESIDUALS})

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        bars = block.error_bars
        crps_own, crps_constant = _crps(block, bars)
        rows = dict(zip(PARTS, (*crps_own, *_intervals(block, bars.masses(), bars.pixels())), strict=True))
        constant = (*crps_constant, *_intervals(block, bars.constant_masses(), bars.constant_pixels()))
        return rows | dict(zip([CONSTANT + part for part in PARTS], constant, strict=True))

    @classmethod
    def of(cls, rows: Rows, settings: Evaluate) -> Self:
        return cls(np.array(LEVELS), **rows)

    def crps_of_b200(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """Mean CRPS of b200 of some maps: a single number."""
        return mean_of(self.crps_masses[chosen, -1], sample.maps["region"][chosen])

    def gain_of_b200(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """The same over that of constant width."""
        columns = self.crps_masses[chosen, -1], self.constant_crps_masses[chosen, -1]
        return ratio_of(*columns, sample.maps["region"][chosen])

    def gain_of_pixels(self, sample: Sample, chosen: BoolArray) -> Estimate:
        """Mean CRPS of the pixels inside R200, each ring in parts of itself, over that of constant width."""
        own, constant = (of[chosen, : len(RADII)].mean(axis=1) for of in (self.crps_pixels, self.constant_crps_pixels))
        return ratio_of(own, constant, sample.maps["region"][chosen])

    def headline(self, sample: Sample) -> list[str]:
        everything = sample.everything
        lines = [f"  CRPS of b200: {self.crps_of_b200(sample, everything).text(4)}"]
        gains = {"b200": self.gain_of_b200(sample, everything), "pixels": self.gain_of_pixels(sample, everything)}
        known = {name: gain for name, gain in gains.items() if not np.isnan(gain.value)}
        said = ", ".join(f"{name} {gain.text()}" for name, gain in known.items())
        return lines + ([f"  CRPS over that of an error bar of constant width: {said}"] if said else [])


def _crps(block: Block, bars: ErrorBars) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """Of masses and pixels, the model's own and those of constant width."""
    said, n = bars.said, len(block.rows)
    true, predicted = enclosed_mass(block.true, block.r200), enclosed_mass(said.mean, said.r200)
    constant = np.full((n, len(RADII)), np.nan), np.full((n, N_RINGS), np.nan)
    if bars.residuals is not None:
        of_pixels = [bars.residuals.of_pixels(one) for one in said.mean]
        scored = [crps_of_quantiles(one, of) for one, of in zip(block.true, of_pixels, strict=True)]
        constant = crps_of_quantiles(true, bars.residuals.of_masses(predicted)), means_in_rings(np.stack(scored))
    own = constant
    if bars.has_samples:
        own = crps(true, said.masses, is_sorted=True), means_in_rings(crps(block.true, said.ordered, is_sorted=True))
    elif said.levels:
        scored = [crps_of_quantiles(one, bars.pixel_quantiles(k)) for k, one in enumerate(block.true)]
        own = constant[0], means_in_rings(np.stack(scored))
    rings = means_in_rings(block.true)
    return (_over(own[0], true), _over(own[1], rings)), (_over(constant[0], true), _over(constant[1], rings))


def _intervals(block: Block, masses: Intervals | None, pixels: Intervals | None) -> tuple[FloatArray, FloatArray]:
    n, true = len(block.rows), enclosed_mass(block.true, block.r200)
    of_masses, of_pixels = np.full((n, len(LEVELS), len(RADII)), np.nan), np.full((n, len(LEVELS), N_RINGS), np.nan)
    for k, level in enumerate(LEVELS):
        if masses is not None:
            of_masses[:, k] = _over(interval_score(true, masses[0][k], masses[1][k], level), true)
        if pixels is not None:
            found = means_in_rings(interval_score(block.true, pixels[0][k], pixels[1][k], level))
            of_pixels[:, k] = _over(found, means_in_rings(block.true))
    return of_masses, of_pixels


def _over(score: FloatArray, true: FloatArray) -> FloatArray:
    over: FloatArray = np.divide(score, true, out=np.full(score.shape, np.nan), where=true > 0)
    return over
