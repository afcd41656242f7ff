"""The numbers of the curves of figures 6 to 9, all digits, as CSV beside each figure."""

from itertools import pairwise

from hpc_massmap.metrics import summary
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import PixelStatistics
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.metrics.sample import interval_labels
from hpc_massmap.report.contents import measured
from hpc_massmap.report.tables import Cell, Table


def pixel_curves(apertures: dict[str, PixelStatistics]) -> Table:
    """Density of D in each aperture, a row a bin (fig. 6)."""
    edges = next(iter(apertures.values())).edges.tolist()
    densities = [pixels.density.tolist() for pixels in apertures.values()]
    rows: list[list[Cell]] = [list(row) for row in zip(edges[:-1], edges[1:], *densities, strict=True)]
    return Table("", "", "", ["D from", "D to", *(f"density, {name}" for name in apertures)], rows)


def bias_curves(metrics: Metrics, target: str) -> Table:
    """Bias b(R) at each radius of each mass interval (fig. 7)."""
    radii = metrics.targets[target][Profiles].radii.tolist()
    profiles = zip(interval_labels(metrics), summary.bias_by_mass(metrics, target), strict=True)
    rows: list[list[Cell]] = [
        [label, radius, measured(of.at(n))] for label, of in profiles for n, radius in enumerate(radii)
    ]
    return Table("", "", "", ["interval", "R / R200", "bias"], rows)


def power_curves(metrics: Metrics, target: str) -> Table:
    """True and predicted power and their relative difference at each wavelength (fig. 8)."""
    wavelength = metrics.targets[target][Power].wavelength.tolist()
    curves = [*summary.power_spectra(metrics, target), summary.power_difference(metrics, target)]
    names = ["true power", "predicted power", "relative difference"]
    if (of_samples := summary.sample_power(metrics, target)) is not None:
        curves, names = [*curves, *of_samples], [*names, "power of samples", "its relative difference"]
    rows: list[list[Cell]] = [[x, *(measured(of.at(n)) for of in curves)] for n, x in enumerate(wavelength)]
    return Table("", "", "", ["wavelength / R200", *names], rows)


def mmd_curves(metrics: Metrics, target: str) -> Table:
    """MMD^2 of prediction and truth, and of truth with noise, in each mass bin (fig. 9)."""
    edges, noise = summary.mass_bins(metrics).tolist(), metrics.targets[target][Mmd].noise.tolist()
    value, calibration = summary.mmd_by_mass(metrics, target), summary.calibration_by_mass(metrics, target)
    rows: list[list[Cell]] = [
        [low, high, measured(value.at(n)), *calibration.median[n].tolist()]
        for n, (low, high) in enumerate(pairwise(edges))
    ]
    columns = ["log10 M200 from", "to", "MMD^2", *(f"median of truth with noise {alpha:g}" for alpha in noise)]
    return Table("", "", "", columns, rows)
