"""Figures 1 and A1 to A3 of the paper and their tables: the halos of the map file, by mass and by simulation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.metrics.spread import Spread, spread
from hpc_massmap.report import contents, figures, paper, style
from hpc_massmap.report.tables import Cell, Table

BINS_PER_DEX = 10
FRACTIONS = {"f_gas": r"$M_\mathrm{gas}\,/\,M_{200}$", "f_star": r"$M_\mathrm{star}\,/\,M_{200}$"}


@dataclass(frozen=True)
class ByMass:
    """The halos of one simulation in bins of log10 M200.

    Attributes
    ----------
    edges : (n + 1,), log10 M200/(Msun/h), the same for all simulations of a file
    count : (n,), halos
    fractions : f_gas and f_star -> (n,), over the halos that have one
    """

    simulation: str
    edges: FloatArray
    count: IntArray
    fractions: dict[str, Spread]

    @property
    def centre(self) -> FloatArray:
        return (self.edges[1:] + self.edges[:-1]) / 2


def sample_by_mass(halos: dict[str, npt.NDArray[Any]]) -> list[ByMass]:
    """The halo table, column -> (n_halos,), by mass, for each simulation in the order of the table."""
    log_m200 = np.log10(halos["m200"])
    edges = _edges(log_m200)
    mass_bin = np.clip(np.searchsorted(edges, log_m200, side="right") - 1, 0, len(edges) - 2)
    inside = mass_bin[:, None] == np.arange(len(edges) - 1)
    found = []
    for simulation in dict.fromkeys(halos["simulation"].tolist()):
        own = inside & (halos["simulation"] == simulation)[:, None]
        fractions = {name: spread(np.where(own, halos[name][:, None], np.nan)) for name in FRACTIONS}
        found.append(ByMass(simulation, edges, np.count_nonzero(own, axis=0), fractions))
    return found


def terciles(halos: dict[str, npt.NDArray[Any]]) -> FloatArray:
    """The masses that split the sample in three equal parts: (2,), log10 M200/(Msun/h)."""
    return np.asarray(np.quantile(np.log10(halos["m200"]), [1 / 3, 2 / 3]))


def spread_by_mass(halos: dict[str, npt.NDArray[Any]], number: int = 4) -> list[int]:
    """Rows of at most `number` halos of a table, column -> (n,), least massive first, evenly spaced in log10 M200."""
    log_m200 = np.log10(halos["m200"])
    wanted = np.linspace(log_m200.min(), log_m200.max(), number)
    return list(dict.fromkeys(int(np.argmin(np.abs(log_m200 - mass))) for mass in wanted))


def _edges(log_m200: FloatArray) -> FloatArray:
    low = np.floor(log_m200.min() * BINS_PER_DEX)
    high = max(np.ceil(log_m200.max() * BINS_PER_DEX), low + 1)
    return np.arange(low, high + 1) / BINS_PER_DEX


def sample_figure(by_mass: list[ByMass], split_at: FloatArray) -> Figure:
    """Number of halos against mass, and the masses, (2,) in Msun/h, that split them in three (fig. 1)."""
    with style.applied():
        figure, panel = _panel("number of halos", by_mass[0].edges)
        total = np.sum([of.count for of in by_mass], axis=0)
        panel.stairs(total, by_mass[0].edges, color=style.GUIDE, fill=True, alpha=figures.BAND)
        panel.stairs(total, by_mass[0].edges, color=style.TRUTH, lw=1.2)
        for mass in split_at:
            panel.axvline(mass, color="black", ls="--", lw=1)
            above = panel.get_xaxis_transform()
            panel.text(mass, 1.01, f"{mass:.2f}", transform=above, ha="center", fontsize=7, color=style.TRUTH)
        _from_zero(panel, total)
    return figure


def simulations_figure(by_mass: list[ByMass]) -> Figure:
    """Number of halos of each simulation against mass (fig. A1)."""
    with style.applied():
        figure, panel = _panel("number of halos", by_mass[0].edges)
        for n, of in enumerate(by_mass):
            panel.stairs(of.count, of.edges, **style.of_simulation(n), label=of.simulation)
        _from_zero(panel, np.concatenate([of.count for of in by_mass]))
        figure.legend(loc="outside upper center", ncols=len(by_mass))
    return figure


def fraction_figure(by_mass: list[ByMass], fraction: str) -> Figure:
    """Median gas or star fraction of each simulation against mass (fig. A2, A3)."""
    with style.applied():
        figure, panel = _panel(FRACTIONS[fraction], by_mass[0].edges)
        if not any(of.fractions[fraction].count.any() for of in by_mass):
            figures.say(panel, "not in the map file")
            return figure
        for n, of in enumerate(by_mass):
            line, some = style.of_simulation(n), of.fractions[fraction].count > 0
            values = of.fractions[fraction]
            colour = line["color"]
            panel.fill_between(
                of.centre[some], values.p16[some], values.p84[some], color=colour, alpha=figures.BAND, lw=0
            )
            panel.plot(of.centre[some], values.median[some], **line, marker="o", ms=3, label=of.simulation)
        panel.set_ylim(0, None)
        figure.legend(loc="outside upper center", ncols=len(by_mass))
    return figure


def _panel(ylabel: str, edges: FloatArray) -> tuple[Figure, Axes]:
    figure = style.canvas(2.8, width=style.WIDTH * 0.6)
    panel = figure.subplots()
    panel.set(xlabel=figures.LOG_MASS, ylabel=ylabel, xlim=(edges[0], edges[-1]))
    return figure, panel


def _from_zero(panel: Axes, counts: IntArray) -> None:
    panel.set_ylim(0, 1.08 * counts.max())
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))


def sample_table(maps: MapFile) -> Table:
    """The sample in a few numbers, the paper's beside them (section 2.1, fig. 1)."""
    halos, log_m200 = maps.halos, np.log10(maps.halos["m200"])
    numbers = {name: int(np.sum(halos["simulation"] == name)) for name in dict.fromkeys(halos["simulation"].tolist())}
    low, high = (float(mass) for mass in terciles(halos))
    rows: list[list[Cell]] = [[f"halos of {name}", number, paper.HALOS.get(name)] for name, number in numbers.items()]
    rows += [
        ["halos", len(log_m200), sum(paper.HALOS.values())],
        ["lines of sight", len(maps.rotations), paper.LINES_OF_SIGHT],
        ["maps of each kind", len(maps), paper.MAPS],
        ["lowest log10 M200", float(log_m200.min()), paper.MASS_INTERVALS[0]],
        ["lower tercile of log10 M200", low, paper.TERCILES[0]],
        ["upper tercile of log10 M200", high, paper.TERCILES[1]],
        ["highest log10 M200", float(log_m200.max()), paper.MASS_INTERVALS[-1]],
        ["highest redshift", float(halos["redshift"].max()), paper.HIGHEST_REDSHIFT],
    ]
    note = "Masses in Msun/h. The paper's lowest and highest mass are the ends of its mass intervals."
    return Table("sample", "The sample", note, ["", "this run", "paper"], rows)


def by_mass_table(by_mass: list[ByMass]) -> Table:
    """What figures 1 and A1 to A3 draw."""
    rows: list[list[Cell]] = [
        [
            of.simulation,
            float(of.edges[n]),
            float(of.edges[n + 1]),
            int(of.count[n]),
            *(contents.measured(of.fractions[name].at(n)) for name in FRACTIONS),
        ]
        for of in by_mass
        for n in range(len(of.count))
    ]
    columns = ["simulation", "log10 M200 from", "to", "halos", "gas fraction", "star fraction"]
    note = "Fractions of M200: the median, and its distances to the 84th and 16th percentile."
    return Table("sample_by_mass", "Halos by mass and simulation", note, columns, rows)
