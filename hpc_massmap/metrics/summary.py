"""What metrics.h5 says in a few numbers: medians with 16th and 84th percentiles, by mass, scale and simulation.

The job's headline, the figures and the tables all take them from here. A NaN (a truth of 0) is left out of its
percentile and of its count. Errors are from a bootstrap over regions, computed here: it takes about a second.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.metrics.bootstrap import (
    Resampling,
    binned_percentile_errors,
    binned_percentiles,
    percentile_errors,
)
from hpc_massmap.metrics.pixels import PERCENTILES, BoolArray
from hpc_massmap.metrics.results import Metrics

MASS_BINS = 10  # of the MMD's median against mass (fig. 9)


@dataclass(frozen=True)
class Spread:
    """Median and 16th to 84th percentile of many maps, for one quantity or for an array of them.

    Attributes
    ----------
    median, p16, p84 : one shape, NaN where count is 0
    count : the same shape, how many maps (or pixels)
    error, p16_error, p84_error : the same shape, standard errors of the three; NaN where they are unknown
    """

    median: FloatArray
    p16: FloatArray
    p84: FloatArray
    count: IntArray
    error: FloatArray
    p16_error: FloatArray
    p84_error: FloatArray

    def at(self, index: int) -> "Spread":
        """One quantity of an array of them."""
        return Spread(*(np.asarray(getattr(self, field.name)[index]) for field in fields(self)))

    def text(self) -> str:
        """As in eq. 8 and with the median's standard error, of a single quantity."""
        if not self.count:
            return "none"
        error = "" if np.isnan(self.error) else f" (± {self.error:.3f})"
        return f"{self.median:+.3f} +{self.p84 - self.median:.3f} -{self.median - self.p16:.3f}{error}"


def spread(values: FloatArray, draws: Resampling | None = None) -> Spread:
    """Percentiles over the first axis.

    Parameters
    ----------
    values : (n, ...)
    draws : of these n maps; without them errors are unknown
    """
    shape = values.shape[1:]
    columns = values.reshape(len(values), math.prod(shape))
    count = np.count_nonzero(~np.isnan(columns), axis=0)
    found = np.full((len(PERCENTILES), len(count)), np.nan)
    errors = found.copy()
    some = count > 0
    if some.any():
        found[:, some] = np.nanpercentile(columns[:, some], PERCENTILES, axis=0)
    if draws is not None:
        for n in np.flatnonzero(some):
            known = ~np.isnan(columns[:, n])
            errors[:, n] = percentile_errors(columns[known, n], draws.of(known), PERCENTILES)
    p16, median, p84, p16_error, error, p84_error = (row.reshape(shape) for row in (*found, *errors))
    return Spread(median, p16, p84, count.reshape(shape), error, p16_error, p84_error)


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
    return [bias_of(metrics, target, inside) for inside in in_intervals(metrics)]


def b200_by_mass(metrics: Metrics, target: str) -> list[Spread]:
    """Mass bias inside R200 in each mass interval (table 4): a single quantity each."""
    return [b200_of(metrics, target, inside) for inside in in_intervals(metrics)]


def bias_of(metrics: Metrics, target: str, chosen: BoolArray) -> Spread:
    """Mass bias b(rho) of some of the maps: (10,)."""
    return _spread_of(metrics, metrics.targets[target].profiles.bias, chosen)


def b200_of(metrics: Metrics, target: str, chosen: BoolArray) -> Spread:
    """Mass bias inside R200 of some of the maps."""
    return _spread_of(metrics, metrics.targets[target].profiles.bias[:, -1], chosen)


def mmd_of(metrics: Metrics, target: str, chosen: BoolArray) -> Spread:
    """MMD^2 of some of the predictions."""
    return _spread_of(metrics, metrics.targets[target].mmd.value, chosen)


def pixels(metrics: Metrics, target: str, aperture: str) -> Spread:
    """Relative difference of all pixels of all maps, exact, with errors from the histograms of the maps (fig. 6)."""
    of = metrics.targets[target].pixels[aperture]
    p16_error, error, p84_error = binned_percentile_errors(of.counts, of.bins, metrics.draws, PERCENTILES)
    numbers = of.median, of.p16, of.p84, of.count, error, p16_error, p84_error
    return Spread(*map(np.asarray, numbers))


def pixels_of(metrics: Metrics, target: str, aperture: str, chosen: BoolArray) -> Spread:
    """Relative difference of the pixels of some of the maps, as good as the histograms of the maps."""
    of, draws = metrics.targets[target].pixels[aperture], metrics.draws.of(chosen)
    counts = of.counts[chosen]
    together = counts.sum(axis=0, dtype=np.int64)
    p16, median, p84 = binned_percentiles(together, of.bins, PERCENTILES)
    p16_error, error, p84_error = binned_percentile_errors(counts, of.bins, draws, PERCENTILES)
    numbers = median, p16, p84, together.sum(), error, p16_error, p84_error
    return Spread(*map(np.asarray, numbers))


def by_simulation(metrics: Metrics) -> dict[str, BoolArray]:
    """Which maps are of each simulation, in the order of their names: (n,) each."""
    column = metrics.maps["simulation"]
    return {str(name): column == name for name in np.unique(column)}


def by_projection(metrics: Metrics) -> dict[int, BoolArray]:
    """Which maps are along each line of sight: (n,) each."""
    column = metrics.maps["projection"]
    return {int(number): column == number for number in np.unique(column)}


def _spread_of(metrics: Metrics, values: FloatArray, chosen: BoolArray) -> Spread:
    return spread(values[chosen], metrics.draws.of(chosen))


def power_spectra(metrics: Metrics, target: str) -> tuple[Spread, Spread]:
    """True and predicted power over all maps (fig. 8, top): (56,) each."""
    power = metrics.targets[target].power
    return spread(power.true), spread(power.predicted)


def power_difference(metrics: Metrics, target: str) -> Spread:
    """Relative difference of power over all maps (fig. 8, bottom): (56,)."""
    return spread(metrics.targets[target].power.difference, metrics.draws)


def mass_bins(metrics: Metrics) -> FloatArray:
    """Edges of equal bins in log10 M200/(Msun/h) from the lowest to the highest of the mass intervals: (11,)."""
    return np.linspace(metrics.mass_intervals[0], metrics.mass_intervals[-1], MASS_BINS + 1)


def mmd_by_mass(metrics: Metrics, target: str) -> Spread:
    """MMD^2 of the predictions in each of `mass_bins` (fig. 9): (10,)."""
    return _stack([mmd_of(metrics, target, inside) for inside in _in_bins(metrics)])


def calibration_by_mass(metrics: Metrics, target: str) -> Spread:
    """MMD^2 of noisy truths in each of `mass_bins`: (10, n_noise)."""
    calibration = metrics.targets[target].mmd.calibration
    return _stack([_spread_of(metrics, calibration, inside) for inside in _in_bins(metrics)])


def error_note(metrics: Metrics) -> str:
    """What the errors are, to be read after a ±."""
    if metrics.n_regions < 2:
        return "would need maps of more than one region"
    return f"is the standard error of the median, from a bootstrap over the {metrics.n_regions} test regions"


def headline(metrics: Metrics) -> list[str]:
    """The few lines that a person wants to see first."""
    lines = [f"± {error_note(metrics)}"]
    everything, simulations = np.ones(len(metrics), bool), by_simulation(metrics)
    for target, result in metrics.targets.items():
        lines.append(f"{target}: {len(metrics)} test maps; median +(84th - median) -(median - 16th) (± error)")
        for label, b200 in zip(interval_labels(metrics), b200_by_mass(metrics, target), strict=True):
            lines.append(f"  b200, {label}: {b200.text()}  ({b200.count} maps)")
        for name, chosen in simulations.items() if len(simulations) > 1 else ():
            lines.append(f"  b200, {name}: {b200_of(metrics, target, chosen).text()}  ({chosen.sum()} maps)")
        for aperture in result.pixels:
            of = pixels(metrics, target, aperture)
            lines.append(f"  pixels, {aperture}: {of.text()}  ({of.count} pixels)")
        noise = ", ".join(
            f"{alpha:g}: {np.median(column):.4f}"
            for alpha, column in zip(result.mmd.noise, result.mmd.calibration.T, strict=True)
        )
        mmd = mmd_of(metrics, target, everything)
        error = "" if np.isnan(mmd.error) else f" (± {mmd.error:.4f})"
        lines.append(f"  MMD^2, median: {mmd.median:.4f}{error}  (truth with noise {noise})")
    return lines


def _in_bins(metrics: Metrics) -> list[BoolArray]:
    return in_intervals(metrics, mass_bins(metrics).tolist())


def _stack(spreads: list[Spread]) -> Spread:
    return Spread(*(np.stack([getattr(one, field.name) for one in spreads]) for field in fields(Spread)))
