"""How figures look: one colour for a model everywhere, colour-blind safe (Okabe & Ito), units in every label."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hpc_massmap.config import Model
from hpc_massmap.report.tables import Table
from hpc_massmap.storage import replacing
from hpc_massmap.views import VIEWS

COLOURS = {name: view.colour for name, view in VIEWS.items() if view.colour} | {
    "multi1": "#CC79A7",
    "multi3": "#009E73",
    "gas2": "#56B4E9",
}
OTHER_MODELS = ["#7F5FA8", "#8C564B", "#000000", "#BCBD22", "#AA3377", "#4477AA"]
SIMULATIONS = [("#E69F00", "-"), ("#0072B2", "--"), ("#009E73", "-."), ("#CC79A7", ":")]  # colours of figs. A1 to A3
TRUTH = "#333333"
GUIDE = "#999999"

RESIDUAL = "RdBu_r"

WIDTH = 7.1  # inches, two columns of a journal page
DPI = 200


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its files, what to say about it, and the numbers of its curves, all digits."""

    name: str
    caption: str
    figure: Figure
    curves: Table | None = None


_SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,  # text stays text
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def model_key(model: Model) -> str | None:
    """Which of the paper's models has these views and encoders; None if none has."""
    views = set(model.views)
    if len(views) == 1:
        return next((name for name in ("star", "sz", "xray") if views == {name}), None)
    if views == {"star", "sz", "xray"}:
        return "multi1" if model.encoders == "one" else "multi3"
    return "gas2" if views == {"sz", "xray"} and model.encoders == "per_view" else None


def colour_of(model: Model) -> str:
    """The colour of a model's lines, bands and markers."""
    return COLOURS.get(model_key(model) or "", OTHER_MODELS[0])


def colours_of(models: list[Model]) -> list[str]:
    """The colours of models that are drawn together: the first of each of the paper's has its own, others another."""
    others, found = cycle(OTHER_MODELS), list[str]()
    for model in models:
        own = COLOURS.get(model_key(model) or "")
        found.append(own if own and own not in found else next(others))
    return found


def of_simulation(place: int) -> dict[str, Any]:
    """Colour and dashes of a simulation's lines, by its place in the map file."""
    colour, dashes = SIMULATIONS[place % len(SIMULATIONS)]
    return {"color": colour, "ls": dashes}


@contextmanager
def applied() -> Iterator[None]:
    """Draw and save in this style; the settings of the process are as before afterwards."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def canvas(height: float, width: float = WIDTH, square_panels: bool = False) -> Figure:
    """An empty figure of `width` x `height` inches that belongs to nobody else."""
    figure = Figure(figsize=(width, height), layout="compressed" if square_panels else "constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG image."""
    image = io.BytesIO()
    with applied():
        figure.savefig(image, format="png", dpi=DPI)
    return image.getvalue()


def write_figure(figure: Figure, stem: Path) -> bytes:
    """Write `stem`.png and `stem`.pdf, the same bytes for the same figure; returns the PNG."""
    image = png(figure)
    figure.set_layout_engine("none")  # as it is: to lay it out takes longer than to draw it
    with replacing(stem.with_name(f"{stem.name}.png")) as temporary:
        temporary.write_bytes(image)
    with applied(), replacing(stem.with_name(f"{stem.name}.pdf")) as temporary:
        figure.savefig(temporary, format="pdf", dpi=DPI, metadata={"CreationDate": None})
    return image


def plain(unit: str) -> str:
    """A unit of the map file (`h^-1 Msun kpc^-2`) in plain signs."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    text = re.sub(r"\b1e(\d+)\b", r"10^\1", unit)
    return re.sub(r"\^(-?\d+)", lambda found: found[1].translate(raised), text).replace("Msun", "M☉")


def unit_label(unit: str) -> str:
    """A unit of the map file (`1e40 erg s^-1 kpc^-2`) in mathtext; nothing for a number."""
    if unit == "1":
        return ""
    text = re.sub(r"\b1e(\d+)\b", r"$10^{\1}$", unit)
    text = re.sub(r"(\w+)\^(-?\d+)", r"\1$^{\2}$", text)
    return text.replace("Msun", r"M$_\odot$").replace("h$^", "$h^")


def squared(unit: str) -> str:
    """The square of a unit in mathtext, to stand before another unit; nothing for a number."""
    label = unit_label(unit)
    return rf"({label})$^2$ " if label else ""
