"""Figure 2 of the paper for any halos of a map file: one column a halo, one row a map, in R200 and kpc.

A row has one logarithmic scale for all halos, so that their colours compare.
"""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from hpc_massmap.arrays import FloatArray
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.errors import InputError
from hpc_massmap.report import style
from hpc_massmap.report.gallery import log_scale, map_image
from hpc_massmap.views import VIEWS, title_of, view_of

PANEL = 1.9  # inches
ROUND_STEPS = (1, 2, 5, 10)


def maps_figure(maps: MapFile, halos: list[int], projection: int) -> Figure:
    """Draw the maps of `halos`, rows of the table, along one line of sight.

    Raises
    ------
    InputError
        If the file has no such halo or projection.
    """
    rows = [_row(maps, halo, projection) for halo in halos]
    names = [*(name for name in VIEWS if name in maps.maps), *(name for name in maps.maps if name not in VIEWS)]
    with style.applied():
        size = (len(names) * PANEL + 0.9, len(halos) * PANEL + 1.4)
        figure = style.canvas(*size, square_panels=True)
        panels = figure.subplots(len(names), len(halos), sharex=True, sharey=True, squeeze=False)
        for name, line in zip(names, panels, strict=True):
            _draw_row(figure, line, name, [np.array(maps.maps[name][row]) for row in rows], maps.units[name])
        for halo, column in zip(halos, panels.T, strict=True):
            ratio = float(maps.halos["r500"][halo] / maps.halos["r200"][halo])
            for panel in column:
                _circles(panel, ratio)
            _name_circles(column[0], ratio)
            column[0].set_title(_title(maps, halo), fontsize=7)
            _kpc_above(column[0], float(maps.halos["r200"][halo]))
            column[-1].set_xlabel(r"$x\,/\,R_{200}$")
        figure.suptitle(f"line of sight {projection}", fontsize=8)
        panels[0, 0].set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    return figure


def _row(maps: MapFile, halo: int, projection: int) -> int:
    n_halos = len(maps.halos["m200"])
    if not 0 <= halo < n_halos:
        raise InputError(f"{maps.path}: has halos 0 to {n_halos - 1}, no {halo}")
    of_halo = np.flatnonzero(maps.halo == halo)
    found = of_halo[maps.projection[of_halo] == projection]
    if not len(found):
        views = np.sort(maps.projection[of_halo])
        held = f"projections {views[0]} to {views[-1]}" if len(views) else "no maps"
        raise InputError(f"{maps.path}: halo {halo} has {held}, no projection {projection}")
    return int(found[0])


def _draw_row(figure: Figure, panels: list[Axes], name: str, stack: list[FloatArray], unit: str) -> None:
    colours, scale = colormaps[view_of(name).colours], log_scale(stack)
    for panel, pixels in zip(panels, stack, strict=True):
        image = map_image(panel, pixels, colours, scale)
    panels[0].set_ylabel(rf"{title_of(name)}" "\n" r"$y\,/\,R_{200}$")
    bar = figure.colorbar(image, ax=list(panels), location="right", shrink=0.9, pad=0.02, aspect=14)
    label, symbol = style.unit_label(unit), view_of(name).symbol
    bar.set_label(f"{symbol}\n[{label}]" if label else symbol, fontsize=7)


def _circles(panel: Axes, r500: float) -> None:
    panel.add_patch(Circle((0, 0), 1, fill=False, lw=0.7, ec="white"))
    panel.add_patch(Circle((0, 0), r500, fill=False, ls="--", lw=0.7, ec="white"))


def _name_circles(panel: Axes, r500: float) -> None:
    for radius, text in ((1.0, "$R_{200}$"), (r500, "$R_{500}$")):
        place = -radius / np.sqrt(2)
        panel.text(place, place, text, color="white", fontsize=6, ha="right", va="top")


def _title(maps: MapFile, halo: int) -> str:
    columns = {name: values[halo] for name, values in maps.halos.items()}
    return (
        f"{columns['simulation']}, {columns['region']}\n"
        rf"snapshot {columns['snapshot']}, $z = {columns['redshift']:.3f}$"
        "\n"
        rf"$\log_{{10}}\,M_{{200}}\,/\,(h^{{-1}}\,$M$_\odot) = {np.log10(columns['m200']):.2f}$"
    )


def _kpc_above(panel: Axes, r200: float) -> None:
    def to_kpc(x: Any) -> Any:
        return x * r200

    def to_r200(x: Any) -> Any:
        return x / r200

    axis = panel.secondary_xaxis("top", functions=(to_kpc, to_r200))
    magnitude = 10.0 ** np.floor(np.log10(r200))
    tick = max(step * magnitude for step in ROUND_STEPS if step * magnitude <= r200)
    axis.set_xticks([-tick, 0, tick])
    axis.set_xlabel("kpc", fontsize=7)
    panel.tick_params(top=False)
