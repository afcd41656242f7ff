"""Figure 5 of the paper for one model: what it saw, the truth, its prediction and the residual, in R200."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter

from hpc_massmap.arrays import FloatArray
from hpc_massmap.report import style
from hpc_massmap.report.examples import Example
from hpc_massmap.views import title_of, view_of

EXTENT = (-1.0, 1.0, -1.0, 1.0)  # in R200
Panels = npt.NDArray[Any]  # of Axes

CUT = 99.5  # percentile of the residual at the ends of its scale
DECADES = 4  # that a logarithmic scale shows at most


def example_figure(examples: list[Example], target: str, units: dict[str, str]) -> Figure:
    """One row a map: its views, the truth, the prediction and their difference.

    Each view has one scale for all rows; truth and prediction share one; the residual's is symmetric.
    """
    with style.applied():
        views = list(examples[0].views)
        columns = len(views) + 3
        size = style.WIDTH / columns
        figure = style.canvas(len(examples) * size + 0.9, square_panels=True)
        panels = figure.subplots(len(examples), columns, sharex=True, sharey=True, squeeze=False)
        for n, view in enumerate(views):
            stack = [example.views[view] for example in examples]
            colours = colormaps[view_of(view).colours]
            image = _column(panels[:, n], stack, colours, log_scale(stack))
            panels[0, n].set_title(title_of(view))
            _bar(figure, image, panels[:, n], view_of(view).symbol, style.unit_label(units[view]))
        _target_columns(figure, panels[:, -3:], examples, target, style.unit_label(units[target]))
        panels[0, -3].set_title(f"{title_of(target)}: truth")
        panels[0, -2].set_title("prediction")
        panels[0, -1].set_title("residual")
        for row, example in zip(panels, examples, strict=True):
            _describe(row, example)
        panels[0, 0].set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        for panel in panels[-1]:
            panel.set_xlabel(r"$x\,/\,R_{200}$")
    return figure


def _target_columns(figure: Figure, panels: Panels, examples: list[Example], target: str, unit: str) -> None:
    true = [example.true for example in examples]
    predicted = [example.predicted for example in examples]
    residual = [p - t for p, t in zip(predicted, true, strict=True)]
    colours, scale = colormaps[view_of(target).colours], log_scale(true)
    image = _column(panels[:, 0], true, colours, scale)
    _column(panels[:, 1], predicted, colours, scale)
    _bar(figure, image, panels[:, :2], view_of(target).symbol, unit)
    reach = float(np.percentile(np.abs(residual), CUT)) or 1.0
    image = _column(panels[:, 2], residual, colormaps[style.RESIDUAL], Normalize(-reach, reach))
    residual_bar(figure, image, panels[:, 2], reach, unit)


def residual_bar(figure: Figure, image: AxesImage, panels: Panels, reach: float, unit: str) -> None:
    """The scale of residuals under a column of them, its power of ten in the label."""
    power = int(np.floor(np.log10(reach)))
    bar = _bar(figure, image, panels, "prediction − truth", rf"$10^{{{power}}}$ {unit}", extend="both")
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**power:g}".replace("-", "−")))


def _column(panels: Iterable[Axes], stack: Sequence[FloatArray], colours: Colormap, scale: Normalize) -> AxesImage:
    images = [map_image(panel, pixels, colours, scale) for panel, pixels in zip(panels, stack, strict=True)]
    return images[-1]


def map_image(panel: Axes, pixels: FloatArray, colours: Colormap, scale: Normalize) -> AxesImage:
    """Draw a map, (80, 80) with x first, in R200; where it is 0, which has no logarithm, in the lowest colour."""
    return panel.imshow(
        pixels.T,
        cmap=colours.with_extremes(bad=colours(0.0)),
        norm=scale,
        extent=EXTENT,
        origin="lower",
        interpolation="nearest",
    )


def log_scale(stack: Sequence[FloatArray]) -> LogNorm:
    """From the 1st percentile of what is not 0 in maps of any shape to the maximum, at most `DECADES`."""
    pixels = np.concatenate([np.ravel(image) for image in stack])
    pixels = pixels[pixels > 0]
    if not len(pixels):
        return LogNorm(0.1, 1)
    high = float(pixels.max())
    return LogNorm(max(float(np.percentile(pixels, 1)), high / 10**DECADES), high)


def _bar(figure: Figure, image: AxesImage, panels: Panels, symbol: str, unit: str, extend: str = "neither") -> Colorbar:
    aspect = 9 * (panels.size // len(panels))  # as thick under two columns as under one
    bar = figure.colorbar(
        image, ax=panels.ravel().tolist(), location="bottom", shrink=0.9, pad=0.02, aspect=aspect, extend=extend
    )
    bar.set_label(f"{symbol}\n[{unit}]" if unit else f"{symbol}\n", fontsize=6.5)
    bar.ax.tick_params(labelsize=6, which="both", top=False)
    return bar


def _describe(row: Iterable[Axes], example: Example) -> None:
    first, *_ = row = list(row)
    first.set_ylabel(
        rf"$\log_{{10}}M_{{200}} = {example.log_m200:.2f}$" "\n" rf"{example.simulation}, $z = {example.redshift:.2f}$",
        fontsize=6.5,
    )
    for panel in row[-3:]:
        circle_r500(panel, example.r500, "black" if panel is row[-1] else "white")


def circle_r500(panel: Axes, r500: float, colour: str) -> None:
    """A dashed circle.

    Parameters
    ----------
    r500 : in R200
    """
    panel.add_patch(Circle((0, 0), r500, fill=False, ls="--", lw=0.6, ec=colour))
