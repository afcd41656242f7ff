"""What metrics.h5 says in a few numbers: medians with 16th and 84th percentiles, by mass, scale and simulation.

The job's headline, the figures and the tables all take them from here. A NaN (a truth of 0) is left out of its
percentile and of its count. Errors are computed here, which takes about a second.
"""

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.metrics.sample import BoolArray, in_intervals
from hpc_massmap.metrics.sample_mmd import SampleMmd
from hpc_massmap.metrics.sample_power import SamplePower
from hpc_massmap.metrics.spread import NOTE, Spread, spread, stacked

MASS_BINS = 10  # of the MMD's median against mass (fig. 9)


def bias_by_mass(metrics: Metrics, target: str) -> list[Spread]:
    """Mass bias b(rho) in each mass interval (fig. 7): (10,) each, over the radii of the profiles."""
    return [bias_of(metrics, target, inside) for inside in in_intervals(metrics)]


def b200_by_mass(metrics: Metrics, target: str) -> list[Spread]:
    """Mass bias inside R200 in each mass interval (table 4): a single quantity each."""
    return [b200_of(metrics, target, inside) for inside in in_intervals(metrics)]


def bias_of(metrics: Metrics, target: str, chosen: BoolArray) -> Spread:
    """Mass bias b(rho) of some of the maps: (10,)."""
    return metrics.spread_of(metrics.targets[target][Profiles].bias, chosen)


def b200_of(metrics: Metrics, target: str, chosen: BoolArray) -> Spread:
    """Mass bias inside R200 of some of the maps, (n_maps,) of bool."""
    return metrics.spread_of(metrics.targets[target][Profiles].b200, chosen)


def mmd_of(metrics: Metrics, target: str, chosen: BoolArray) -> Spread:
    """MMD^2 of some of the predictions, (n_maps,) of bool."""
    return metrics.spread_of(metrics.targets[target][Mmd].value, chosen)


def sample_mmd_of(metrics: Metrics, target: str, chosen: BoolArray) -> Spread | None:
    """The same of the samples of some maps, (n_maps,) of bool, a mean a map; None without samples."""
    of = metrics.targets[target].find(SampleMmd)
    return None if of is None else metrics.spread_of(of.of_map, chosen)


def pixels(metrics: Metrics, target: str, aperture: str) -> Spread:
    """Relative difference of all pixels of all maps, exact (fig. 6)."""
    return metrics.targets[target][Pixels].spread(metrics, aperture)


def pixels_of(metrics: Metrics, target: str, aperture: str, chosen: BoolArray) -> Spread:
    """Relative difference of the pixels of some of the maps, (n_maps,) of bool, as good as their histograms."""
    return metrics.targets[target][Pixels].spread_of(metrics, aperture, chosen)


def power_spectra(metrics: Metrics, target: str) -> tuple[Spread, Spread]:
    """True and predicted power over all maps (fig. 8, top): (56,) each."""
    power = metrics.targets[target][Power]
    return spread(power.true), spread(power.predicted)


def power_difference(metrics: Metrics, target: str) -> Spread:
    """Relative difference of power over all maps (fig. 8, bottom): (56,)."""
    return spread(metrics.targets[target][Power].difference, metrics.draws)


def sample_power(metrics: Metrics, target: str) -> tuple[Spread, Spread] | None:
    """Power of samples over all maps, and its difference from the true one: (56,) each; None without samples."""
    of = metrics.targets[target].find(SamplePower)
    return None if of is None else (spread(of.power), spread(of.difference))


def mass_bins(metrics: Metrics) -> FloatArray:
    """Edges of equal bins in log10 M200/(Msun/h) from the lowest to the highest of the mass intervals: (11,)."""
    return np.linspace(metrics.mass_intervals[0], metrics.mass_intervals[-1], MASS_BINS + 1)


def mmd_by_mass(metrics: Metrics, target: str) -> Spread:
    """MMD^2 of the predictions in each of `mass_bins` (fig. 9): (10,)."""
    return stacked([mmd_of(metrics, target, inside) for inside in _in_bins(metrics)])


def calibration_by_mass(metrics: Metrics, target: str) -> Spread:
    """MMD^2 of noisy truths in each of `mass_bins`: (10, n_noise)."""
    calibration = metrics.targets[target][Mmd].calibration
    return stacked([metrics.spread_of(calibration, inside) for inside in _in_bins(metrics)])


def headline(metrics: Metrics) -> list[str]:
    """The few lines that a person wants to see first, from every metric its own."""
    lines = [NOTE]
    for target, of_target in metrics.targets.items():
        lines.append(f"{target}: {len(metrics)} test maps; median +(84th - median) -(median - 16th) (± error, regions)")
        for metric in of_target:
            lines += metric.headline(metrics)
    return lines


def in_short(metrics: Metrics) -> tuple[str, str]:
    """What was evaluated, and the two numbers of all maps of each target, in a line each."""
    everything, halos = np.ones(len(metrics), bool), len(np.unique(metrics.maps["halo"]))
    numbers: list[str] = []
    for target in metrics.targets:
        b200, of_pixels = b200_of(metrics, target, everything), pixels(metrics, target, "whole")
        numbers.append(f"{target}: b200 {b200.text()}, pixels {of_pixels.text()}")
    return f"evaluated {len(metrics)} test maps of {halos} halos", "; ".join(numbers)


def _in_bins(metrics: Metrics) -> list[BoolArray]:
    return in_intervals(metrics, mass_bins(metrics).tolist())
