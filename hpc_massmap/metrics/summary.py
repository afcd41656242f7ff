"""What metrics.h5 says in a few numbers: medians with 16th and 84th percentiles, by mass and by scale.

The job's headline, the figures and the tables all take them from here. A NaN (a truth of 0) is left out of its
percentile and of its count.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.metrics.pixels import PERCENTILES, BoolArray
from hpc_massmap.metrics.results import Metrics

MASS_BINS = 10  # of the MMD's median against mass (fig. 9)


@dataclass(frozen=True)
class Spread:
    """Median and 16th to 84th percentile of many maps, for one quantity or for an array of them.

    Attributes
    ----------
    median, p16, p84 : one shape, NaN where count is 0
    count : the same shape, how many maps
    """

    median: FloatArray
    p16: FloatArray
    p84: FloatArray
    count: IntArray

    def at(self, index: int) -> "Spread":
        """One quantity of an array of them."""
        return Spread(*(np.asarray(part[index]) for part in (self.median, self.p16, self.p84, self.count)))

    def text(self) -> str:
        """As in eq. 8, of a single quantity."""
        if not self.count:
            return "none"
        return f"{self.median:+.3f} +{self.p84 - self.median:.3f} -{self.median - self.p16:.3f}"


def spread(values: FloatArray) -> Spread:
    """Percentiles over the first axis.

    Parameters
    ----------
    values : (n, ...)
    """
    shape = values.shape[1:]
    columns = values.reshape(len(values), math.prod(shape))
    count = np.count_nonzero(~np.isnan(columns), axis=0)
    found = np.full((len(PERCENTILES), len(count)), np.nan)
    some = count > 0
    if some.any():
        found[:, some] = np.nanpercentile(columns[:, some], PERCENTILES, axis=0)
    p16, median, p84 = (row.reshape(shape) for row in found)
    return Spread(median, p16, p84, count.reshape(shape))


def in_intervals(metrics: Metrics, edges: Iterable[float] | None = None) -> list[BoolArray]:
    """Which maps are in each mass interval, half-open but for the last: (n,) each.

    Parameters
    ----------
    edges : in log10 M200/(Msun/h); the config's mass intervals if not given
    """
    mass = metrics.log_m200
    bounds = list(pairwise(metrics.mass_intervals if edges is None else edges))
    inside = [(low <= mass) & (mass < high) for low, high in bounds]
    inside[-1] |= mass == bounds[-1][1]
    return inside


def interval_labels(metrics: Metrics) -> list[str]:
    """The mass intervals as text."""
    bounds = list(pairwise(metrics.mass_intervals))
    signs = ["<"] * (len(bounds) - 1) + ["<="]
    return [f"{low:g} <= log10 M200 {sign} {high:g}" for (low, high), sign in zip(bounds, signs, strict=True)]


def bias_by_mass(metrics: Metrics, target: str) -> list[Spread]:
    """Mass bias b(rho) in each mass interval (fig. 7): (10,) each, over the radii of the profiles."""
    bias = metrics.targets[target].profiles.bias
    return [spread(bias[inside]) for inside in in_intervals(metrics)]


def b200_by_mass(metrics: Metrics, target: str) -> list[Spread]:
    """Mass bias inside R200 in each mass interval (table 4): a single quantity each."""
    return [profile.at(-1) for profile in bias_by_mass(metrics, target)]


def power_spectra(metrics: Metrics, target: str) -> tuple[Spread, Spread]:
    """True and predicted power over all maps (fig. 8, top): (56,) each."""
    power = metrics.targets[target].power
    return spread(power.true), spread(power.predicted)


def power_difference(metrics: Metrics, target: str) -> Spread:
    """Relative difference of power over all maps (fig. 8, bottom): (56,)."""
    return spread(metrics.targets[target].power.difference)


def mass_bins(metrics: Metrics) -> FloatArray:
    """Edges of equal bins in log10 M200/(Msun/h) from the lowest to the highest of the mass intervals: (11,)."""
    return np.linspace(metrics.mass_intervals[0], metrics.mass_intervals[-1], MASS_BINS + 1)


def mmd_by_mass(metrics: Metrics, target: str) -> Spread:
    """MMD^2 of the predictions in each of `mass_bins` (fig. 9): (10,)."""
    return _stack([spread(metrics.targets[target].mmd.value[inside]) for inside in _in_bins(metrics)])


def calibration_by_mass(metrics: Metrics, target: str) -> Spread:
    """MMD^2 of noisy truths in each of `mass_bins`: (10, n_noise)."""
    return _stack([spread(metrics.targets[target].mmd.calibration[inside]) for inside in _in_bins(metrics)])


def headline(metrics: Metrics) -> list[str]:
    """The few lines that a person wants to see first."""
    lines = []
    for target, result in metrics.targets.items():
        lines.append(f"{target}: {len(metrics)} test maps; median +(84th - median) -(median - 16th)")
        for label, b200 in zip(interval_labels(metrics), b200_by_mass(metrics, target), strict=True):
            lines.append(f"  b200, {label}: {b200.text()}  ({b200.count} maps)")
        for aperture, pixels in result.pixels.items():
            whole = Spread(*map(np.asarray, (pixels.median, pixels.p16, pixels.p84, pixels.count)))
            lines.append(f"  pixels, {aperture}: {whole.text()}  ({pixels.count} pixels)")
        noise = ", ".join(
            f"{alpha:g}: {np.median(column):.4f}"
            for alpha, column in zip(result.mmd.noise, result.mmd.calibration.T, strict=True)
        )
        lines.append(f"  MMD^2, median: {np.median(result.mmd.value):.4f}  (truth with noise {noise})")
    return lines


def _in_bins(metrics: Metrics) -> list[BoolArray]:
    return in_intervals(metrics, mass_bins(metrics).tolist())


def _stack(spreads: list[Spread]) -> Spread:
    names = ("median", "p16", "p84", "count")
    return Spread(*(np.stack([getattr(spread, name) for spread in spreads]) for name in names))
