"""Figures 6 to 9 of the paper for one model: distributions of pixels, mass bias, power and MMD.

Every number drawn is one of the summary's; nothing is computed here.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.pixels import PixelStatistics
from hpc_massmap.metrics.spread import Spread
from hpc_massmap.report import style
from hpc_massmap.views import view_of

APERTURE_TITLES = {"whole": "whole map", "r500": r"$R < R_{500}$", "half_r500": r"$R < R_{500}/2$"}
PANELS_IN_A_ROW = 4
LINE_HEIGHT = 0.055  # of small text, in heights of a panel
CUT = 1.5  # of relative differences of power: all of one missing is -1
SAMPLES = "#D55E00"  # the colour of samples beside that of their model
BAND = 0.25  # opacity of the 16th to 84th percentile
LOG_MASS = r"$\log_{10}\,M_{200}\,/\,(h^{-1}\,\mathrm{M}_\odot)$"


def pixel_figure(apertures: dict[str, PixelStatistics], colour: str) -> Figure:
    """Density of the relative difference of pixels in each aperture (fig. 6)."""
    with style.applied():
        figure = style.canvas(2.4)
        panels: list[Axes] = list(figure.subplots(1, len(apertures), sharex=True, sharey=True))
        for panel, (name, pixels) in zip(panels, apertures.items(), strict=True):
            panel.set_title(APERTURE_TITLES[name])
            panel.set_xlabel(r"$D = (\hat{I} - I)\,/\,I$")
            panel.axvline(0, color=style.GUIDE, ls="--", lw=0.8)
            if not pixels.count:
                say(panel, "no pixels")
                continue
            panel.stairs(pixels.density, pixels.edges, color=colour, fill=True, alpha=BAND)
            panel.stairs(pixels.density, pixels.edges, color=colour, lw=1.2)
            panel.axvline(pixels.median, color=colour, lw=1)
            plus, minus = pixels.p84 - pixels.median, pixels.median - pixels.p16
            say(panel, rf"${pixels.median:+.3f}^{{+{plus:.3f}}}_{{-{minus:.3f}}}$", corner=True)
        low, high = pixel_range(apertures)
        panels[0].set(xlim=(low, high), ylim=(0, None), ylabel="probability density")
    return figure


def pixel_range(apertures: dict[str, PixelStatistics]) -> tuple[float, float]:
    """Where the distributions are: four times their width on both sides, within what the histograms hold."""
    some = [pixels for pixels in apertures.values() if pixels.count]
    reach = 4 * max((max(abs(pixels.p16), abs(pixels.p84)) for pixels in some), default=1.0)
    edges = next(iter(apertures.values())).edges
    return max(float(edges[0]), -reach), min(float(edges[-1]), max(reach, 0.05))


def bias_figure(
    radii: FloatArray, profiles: list[Spread], labels: list[str], halos: list[int], target: str, colour: str
) -> Figure:
    """Bias of the enclosed mass, or of what the target adds up to, against radius, one panel a mass interval (fig. 7).

    Parameters
    ----------
    radii : (10,), in R200
    profiles : for each interval, (10,)
    halos : how many test halos are in each interval
    """
    with style.applied():
        columns = min(len(profiles), PANELS_IN_A_ROW)
        rows = -(-len(profiles) // columns)
        figure = style.canvas(2.4 * rows)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for unused in panels[len(profiles) :]:
            unused.remove()
        for panel, profile, label, n_halos in zip(panels[: len(profiles)], profiles, labels, halos, strict=True):
            panel.set_title(interval_title(label))
            panel.set_xlabel(r"$R\,/\,R_{200}$")
            panel.tick_params(labelbottom=True)
            panel.axhline(0, color=style.GUIDE, ls="--", lw=0.8)
            if not n_halos:
                say(panel, "no test halos")
                continue
            band(panel, radii, profile, colour)
            say(panel, f"{n_halos} halos, {profile.count.max()} maps", corner=True)
        panels[0].set(xlim=(0.05, 1.05), ylabel=rf"{view_of(target).enclosed} bias $b(R)$")
        symmetric(panels[0])
    return figure


def power_figure(
    wavelength: FloatArray,
    spectra: tuple[Spread, Spread],
    difference: Spread,
    unit: str,
    colour: str,
    of_samples: tuple[Spread, Spread] | None = None,
) -> Figure:
    """True and predicted power spectrum, and their relative difference, against wavelength (fig. 8).

    Parameters
    ----------
    wavelength : (56,), in R200
    spectra : true, predicted, (56,) each
    difference : (56,); drawn up to `CUT`
    unit : of the maps
    of_samples : power of samples and its difference from the true one, (56,) each, of a model that has some
    """
    with style.applied():
        figure = style.canvas(3.9, width=style.WIDTH * 0.6)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        for spectrum, tone, label in zip(spectra, (style.TRUTH, colour), ("ground truth", "prediction"), strict=True):
            band(top, wavelength, spectrum, tone, label, marker="")
        if of_samples is not None:
            for panel, spectrum in zip((top, bottom), of_samples, strict=True):
                panel.plot(wavelength, spectrum.median, color=SAMPLES, ls="-.", label="samples")
        top.set(xscale="log", yscale="log", ylabel=rf"$P(k)$ [{style.squared(unit)}kpc$^2$]")
        top.legend(loc="upper left")
        band(bottom, wavelength, difference, colour, marker="")
        bottom.axhline(0, color=style.TRUTH, ls="--", lw=0.8)
        bottom.set(
            xlabel=r"wavelength $\lambda\,/\,R_{200}$",
            ylabel=r"$(P_\mathrm{pred} - P_\mathrm{true})\,/\,P_\mathrm{true}$",
        )
        bottom.set_xlim(wavelength.min(), wavelength.max())
        plain_wavelengths(bottom)
        symmetric(bottom, CUT)
        figure.align_ylabels([top, bottom])
    return figure


def mmd_figure(edges: FloatArray, value: Spread, calibration: Spread, noise: FloatArray, colour: str) -> Figure:
    """MMD of prediction and truth against mass, with that of truths with noise (fig. 9).

    Parameters
    ----------
    edges : (n + 1,), of the bins in log10 M200/(Msun/h)
    value : (n,)
    calibration : (n, n_noise)
    noise : (n_noise,), alpha
    """
    with style.applied():
        figure = style.canvas(3.0, width=style.WIDTH * 0.6)
        panel = figure.subplots()
        panel.set(xlabel=LOG_MASS, ylabel=r"MMD$^2$ of truth and prediction", xlim=(edges[0], edges[-1]))
        some = value.count > 0
        if not some.any():
            say(panel, "no test halos")
            return figure
        centre = (edges[1:] + edges[:-1]) / 2
        for line in calibration.median[some].T:
            panel.plot(centre[some], line, color=style.GUIDE, ls="--", lw=1)
        band(panel, centre, value, colour)
        drawn = np.concatenate([value.median[some], calibration.median[some].ravel()])
        if (drawn > 0).all():  # the unbiased estimate may be negative
            panel.set_yscale("log")
        label_ends(panel, calibration.median[some][-1], [rf"$\alpha = {alpha:g}$" for alpha in noise])
    return figure


def label_ends(panel: Axes, ends: FloatArray, labels: list[str]) -> None:
    """Name lines right of the panel, at the height of their ends, (lines,), or as little above as keeps names apart."""
    heights = panel.transAxes.inverted().transform(panel.transData.transform([(0, end) for end in ends]))[:, 1]
    lowest = -np.inf
    for n in np.argsort(heights, kind="stable"):
        height = max(float(heights[n]), lowest)
        panel.text(1.02, height, labels[n], transform=panel.transAxes, va="center", fontsize=7, color=style.TRUTH)
        lowest = height + LINE_HEIGHT


def interval_title(label: str) -> str:
    """The summary's text for a mass interval in mathtext."""
    return "$" + label.replace("<=", r"\leq").replace("log10 M200", r"\log_{10}\,M_{200}") + "$"


def band(panel: Axes, x: FloatArray, of: Spread, colour: str, label: str = "", marker: str = "o") -> None:
    """Median and 16th to 84th percentile at places x, (n,), where there are any."""
    some = np.asarray(of.count) > 0
    panel.fill_between(x[some], of.p16[some], of.p84[some], color=colour, alpha=BAND, lw=0)
    panel.plot(x[some], of.median[some], color=colour, marker=marker, ms=3, label=label)


def say(panel: Axes, text: str, corner: bool = False) -> None:
    """Write into a panel."""
    x, y, across, up = (0.96, 0.95, "right", "top") if corner else (0.5, 0.6, "center", "center")
    panel.text(x, y, text, transform=panel.transAxes, ha=across, va=up, color=style.TRUTH)


def plain_wavelengths(panel: Axes) -> None:
    """Label a logarithmic axis of wavelengths 0.1, 1, ... rather than by powers."""
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def symmetric(panel: Axes, cut: float = np.inf) -> None:
    """As far below 0 as above, `cut` at most."""
    reach = min(max(map(abs, panel.get_ylim())), cut)
    panel.set_ylim(-reach, reach)
