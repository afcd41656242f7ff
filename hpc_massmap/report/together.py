"""Figures 5 to 9 and A4 of the paper: several models in one figure, each in its own colour throughout.

As in `figures.py`, every number drawn is one of the summary's.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics import summary
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.metrics.sample import BoolArray, in_intervals, interval_labels
from hpc_massmap.metrics.spread import Spread
from hpc_massmap.report import style
from hpc_massmap.report.examples import Example
from hpc_massmap.report.figures import (
    APERTURE_TITLES,
    CUT,
    LOG_MASS,
    band,
    interval_title,
    label_ends,
    pixel_range,
    plain_wavelengths,
    say,
    symmetric,
)
from hpc_massmap.report.gallery import CUT as RESIDUAL_CUT
from hpc_massmap.report.gallery import circle_r500, log_scale, map_image, residual_bar
from hpc_massmap.views import title_of, view_of

MOST_ACROSS = 4  # panels of figure A4


@dataclass(frozen=True)
class Shown:
    """A model in a figure of several."""

    name: str
    colour: str
    metrics: Metrics
    is_multiview: bool


def pixels_together(models: list[Shown], target: str) -> Figure:
    """Density of the relative difference of pixels of every model in each aperture (fig. 6)."""
    with style.applied():
        figure = style.canvas(2.9 + 0.1 * len(models))
        panels = figure.subplots(1, len(APERTURE_TITLES), sharex=True, sharey=True)
        for panel, (aperture, title) in zip(panels, APERTURE_TITLES.items(), strict=True):
            panel.set(title=title, xlabel=r"$D = (\hat{I} - I)\,/\,I$")
            panel.axvline(0, color=style.GUIDE, ls="--", lw=0.8)
            for model in models:
                pixels = model.metrics.targets[target][Pixels].apertures[aperture]
                if not pixels.count:
                    continue
                plus, minus = pixels.p84 - pixels.median, pixels.median - pixels.p16
                value = rf"${pixels.median:+.2f}^{{+{plus:.2f}}}_{{-{minus:.2f}}}$"
                panel.stairs(pixels.density, pixels.edges, color=model.colour, lw=1.2, label=f"{model.name} {value}")
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
        ranges = [pixel_range(model.metrics.targets[target][Pixels].apertures) for model in models]
        low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
        panels[0].set(xlim=(low, high), ylim=(0, None), ylabel="probability density")
    return figure


def bias_together(models: list[Shown], target: str) -> Figure:
    """Bias of the enclosed mass by mass interval: models of one view above, of several below (fig. 7)."""
    rows = [of for of in ([m for m in models if m.is_multiview is kind] for kind in (False, True)) if of]
    labels = interval_labels(models[0].metrics)
    with style.applied():
        figure = style.canvas(2.3 * len(rows))
        grid = figure.subplots(len(rows), len(labels), sharex=True, sharey=True, squeeze=False)
        for line, of in zip(grid, rows, strict=True):
            for model in of:
                radii = model.metrics.targets[target][Profiles].radii
                for panel, spread in zip(line, summary.bias_by_mass(model.metrics, target), strict=True):
                    band(panel, radii, spread, model.colour, model.name)
                    _edges(panel, radii, spread, model.colour)
            for panel, inside in zip(line, in_intervals(models[0].metrics), strict=True):
                panel.axhline(0, color=style.GUIDE, ls="--", lw=0.8)
                if not inside.any():
                    say(panel, "no test halos")
            line[0].set_ylabel(rf"{view_of(target).enclosed} bias $b(R)$")
            line[-1].legend(loc="upper right", ncols=2)
        for panel, label in zip(grid[0], labels, strict=True):
            panel.set_title(interval_title(label))
        for panel in grid[-1]:
            panel.set_xlabel(r"$R\,/\,R_{200}$")
        grid[0, 0].set_xlim(0.05, 1.05)
        symmetric(grid[0, 0])
    return figure


def _edges(panel: Axes, x: FloatArray, of: Spread, colour: str) -> None:
    """The ends of a band, which others may cover."""
    some = np.asarray(of.count) > 0
    for end in (of.p16, of.p84):
        panel.plot(x[some], end[some], color=colour, lw=0.7, ls=":")


def power_together(models: list[Shown], target: str, unit: str) -> Figure:
    """Power spectra of truth and prediction, and their relative difference, a column a model (fig. 8)."""
    with style.applied():
        width = style.WIDTH * min(1.0, 0.3 + 0.2 * len(models))
        figure = style.canvas(3.6, width=width)
        grid = figure.subplots(2, len(models), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 2])
        for model, (top, bottom) in zip(models, grid.T, strict=True):
            wavelength = model.metrics.targets[target][Power].wavelength
            true, predicted = summary.power_spectra(model.metrics, target)
            band(top, wavelength, true, style.TRUTH, "truth", marker="")
            band(top, wavelength, predicted, model.colour, "prediction", marker="")
            band(bottom, wavelength, summary.power_difference(model.metrics, target), model.colour, marker="")
            bottom.axhline(0, color=style.TRUTH, ls="--", lw=0.8)
            top.set(xscale="log", yscale="log", title=model.name)
            top.legend(loc="upper left", fontsize=6)
            bottom.set(xlabel=r"$\lambda\,/\,R_{200}$", xlim=(wavelength.min(), wavelength.max()))
            plain_wavelengths(bottom)
        grid[0, 0].set_ylabel(rf"$P(k)$ [{style.squared(unit)}kpc$^2$]")
        grid[1, 0].set_ylabel(r"$(P_\mathrm{pred} - P_\mathrm{true})\,/\,P_\mathrm{true}$")
        symmetric(grid[1, 0], CUT)
        figure.align_ylabels(grid[:, 0])
    return figure


def mmd_together(models: list[Shown], target: str) -> Figure:
    """Median MMD of prediction and truth against mass, with that of truths with noise (fig. 9)."""
    first = models[0].metrics
    edges, calibration = summary.mass_bins(first), summary.calibration_by_mass(first, target)
    centre = (edges[1:] + edges[:-1]) / 2
    some = calibration.count[:, 0] > 0
    with style.applied():
        figure = style.canvas(3.2, width=style.WIDTH * 0.6)
        panel = figure.subplots()
        panel.set(xlabel=LOG_MASS, ylabel=r"MMD$^2$ of truth and prediction", xlim=(edges[0], edges[-1]))
        if not some.any():
            say(panel, "no test halos")
            return figure
        drawn = [calibration.median[some].ravel()]
        for line in calibration.median[some].T:
            panel.plot(centre[some], line, color=style.GUIDE, ls="--", lw=1)
        for model in models:
            value = summary.mmd_by_mass(model.metrics, target).median[some]
            panel.plot(centre[some], value, color=model.colour, marker="o", ms=3, label=model.name)
            drawn.append(value)
        if (np.concatenate(drawn) > 0).all():  # the unbiased estimate may be negative
            panel.set_yscale("log")
        noise = first.targets[target][Mmd].noise
        label_ends(panel, calibration.median[some][-1], [rf"$\alpha = {alpha:g}$" for alpha in noise])
        figure.legend(loc="outside upper center", ncols=min(len(models), 3))
    return figure


def retrained_figure(
    models: list[tuple[Shown, BoolArray]], reference: Shown, with_reference: list[bool], target: str
) -> Figure:
    """Bias of the enclosed mass of each model, a panel a model (fig. A4).

    Parameters
    ----------
    models : each with the test maps that count, (n,)
    reference : another model of the same test maps, drawn as lines where `with_reference` says that they are
    """
    with style.applied():
        across = min(len(models), MOST_ACROSS)
        rows = -(-len(models) // across)
        figure = style.canvas(2.4 * rows, width=style.WIDTH * min(1.0, 0.15 + 0.25 * across))
        panels = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False).ravel()
        for empty in panels[len(models) :]:
            empty.axis("off")
        for panel, (model, chosen), is_comparable in zip(panels, models, with_reference, strict=False):
            radii = model.metrics.targets[target][Profiles].radii
            panel.axhline(0, color=style.GUIDE, ls="--", lw=0.8)
            panel.set(xlabel=r"$R\,/\,R_{200}$")
            panel.set_title(model.name, fontsize="small")  # long names stand beside each other
            if not chosen.any():
                say(panel, "no test halos")
                continue
            band(panel, radii, summary.bias_of(model.metrics, target, chosen), model.colour, model.name)
            if is_comparable:
                other = summary.bias_of(reference.metrics, target, chosen)
                panel.plot(radii, other.median, color=reference.colour, ls="--", lw=1, label=reference.name)
                _edges(panel, radii, other, reference.colour)
            halos = len(np.unique(model.metrics.maps["halo"][chosen]))
            say(panel, f"{halos} halos, {chosen.sum()} maps", corner=True)
        panels[0].set(xlim=(0.05, 1.05), ylabel=rf"{view_of(target).enclosed} bias $b(R)$")
        symmetric(panels[0])
    return figure


def examples_together(example: Example, predicted: dict[str, FloatArray], target: str, units: dict[str, str]) -> Figure:
    """One test map: left the views and the truth, then each model's prediction and residual (fig. 5).

    Parameters
    ----------
    predicted : name of the model -> (80, 80), from top to bottom
    """
    left = [*example.views, target]
    n_rows = max(len(left), len(predicted))
    with style.applied():
        figure = style.canvas(1.75 * n_rows + 0.6, width=style.WIDTH * 0.85, square_panels=True)
        grid = figure.subplots(n_rows, 3, sharex=True, sharey=True, squeeze=False)
        scale = log_scale([example.true])
        for panel, name in zip(grid[:, 0], left, strict=False):
            image = example.true if name == target else np.asarray(example.views[name], np.float64)
            colours = colormaps[view_of(name).colours]
            drawn = map_image(panel, image, colours, scale if name == target else log_scale([image]))
            panel.set_title(f"{title_of(name)}: truth" if name == target else title_of(name))
            bar = figure.colorbar(drawn, ax=panel, location="left", shrink=0.85, pad=0.02, aspect=14)
            unit = style.unit_label(units[name])
            bar.set_label(f"{view_of(name).symbol}\n[{unit}]" if unit else view_of(name).symbol, fontsize=6)
            bar.ax.tick_params(labelsize=6)
        reach = float(np.percentile([np.abs(p - example.true) for p in predicted.values()], RESIDUAL_CUT)) or 1.0
        for (name, image), (middle, right) in zip(predicted.items(), grid[:, 1:], strict=False):
            map_image(middle, image, colormaps[view_of(target).colours], scale)
            residual = image - example.true
            drawn = map_image(right, residual, colormaps[style.RESIDUAL], Normalize(-reach, reach))
            circle_r500(right, example.r500, "black")
            middle.set_title(f"prediction: {name}")
            right.set_title("residual")
        used = [*grid[: len(left), 0], *grid[: len(predicted), 1:].ravel()]
        for panel in set(grid.ravel()) - set(used):
            panel.remove()
        residual_bar(figure, drawn, grid[: len(predicted), 2], reach, style.unit_label(units[target]))
        grid[0, 0].set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        for column, last in zip(grid.T, (len(left), len(predicted), len(predicted)), strict=True):
            column[last - 1].set_xlabel(r"$x\,/\,R_{200}$")
            column[last - 1].tick_params(labelbottom=True)
    return figure
