"""Between simulations: every model on the test maps of every simulation, beside two predictions without a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from hpc_massmap.diagnostics.coverage import LEVELS
from hpc_massmap.diagnostics.estimate import Estimate, mean_of, share_of
from hpc_massmap.metrics.baselines import BASELINES, PREDICTORS, read_baselines
from hpc_massmap.metrics.crosschecks import simulations_of
from hpc_massmap.metrics.predictions import training_of
from hpc_massmap.metrics.sample import by_simulation
from hpc_massmap.report import paper, style
from hpc_massmap.report.error_bars import ONE_SIGMA, judged
from hpc_massmap.report.inputs import Inputs
from hpc_massmap.report.likeness import unlike_of
from hpc_massmap.report.tables import Cell, Table
from hpc_massmap.views import title_of

NOTE = (
    "L1: sum of |predicted - true| over the pixels of a map, over that of the truth. Power: log10 of predicted over "
    "true at a quarter of R200, in dex. Held: share of maps whose b200 lies in the 68 % interval: of the network as it "
    "is calibrated, or as it gives it, of the others of constant width, from the maps that validated. Means over the "
    "test maps of a simulation; ± is half the 68 % interval, from a bootstrap over n regions with Student's t. The "
    "mean training map and the richness of the best view (the floor) know the same training maps as the network, and "
    "are no network. Unlike: share of maps with p < 0.05 of looking like the training's"
)
BETWEEN = (
    "L1, b200, power at a quarter of R200 and the share of maps that the 68 % interval holds, of each model trained on "
    "some simulations (left of the arrow) and tested on one (right of it): filled, beside the mean training map and "
    "the richness of the best view, open; with errors by region."
)
MARKS = {"network": "o", "mean_map": "s", "richness": "^"}
AXES = {"l1": "L1", "b200": r"$b_{200}$", "power": "power, dex", "held": "held by 68 %"}
LINEAR = 0.5  # |b200| beyond which its axis is logarithmic
L1_TICKS, B200_TICKS = (0.1, 0.2, 0.4, 1, 3, 10), (-2, -0.5, 0, 0.5, 2, 10)
ROW = 0.2  # inches of a row of the figure


@dataclass(frozen=True)
class Tried:
    """One predictor on the test maps of one simulation.

    Attributes
    ----------
    model : as tables call it
    architecture : the paper's name of it, or as `model`
    held : of b200 by the 68 % interval; None of a network without error bars
    """

    model: str
    architecture: str
    trained_on: str
    tested_on: str
    predictor: str
    halos: int
    l1: Estimate
    b200: Estimate
    power: Estimate
    held: Estimate | None
    unlike: float | None


def tried_of(runs: list[tuple[str, Inputs]], target: str) -> list[Tried]:
    """All that is known, by model, simulation that is tested on, and predictor; runs without baselines are left out."""
    return [one for name, run in runs for one in _of_run(name, run, target)]


def _of_run(model: str, run: Inputs, target: str) -> Iterator[Tried]:
    training = training_of(run.predictions)
    found = read_baselines(run.run.metrics.with_name(BASELINES), run.predictions)
    if training is None or found is None or target not in found:
        return
    key = style.model_key(run.run.config.model)
    names = model, paper.NAMES[key] if key else model, simulations_of(run.predictions.maps, training.rows)
    region, unlike = run.metrics.maps["region"], unlike_of(run.predictions)
    for simulation, chosen in by_simulation(run.metrics).items():
        halos = len(np.unique(run.metrics.maps["halo"][chosen]))
        share = None if unlike is None else float(unlike[chosen].mean())
        for predictor, of in found[target].items():
            l1, b200, power = (mean_of(values[chosen], region[chosen]) for values in (of.l1, of.b200, of.power))
            held: Estimate | None = share_of(of.held[chosen], region[chosen])
            if predictor == "network":
                coverage = judged(run.metrics, target)
                held = None if coverage is None else coverage.b200_of(run.metrics, chosen).at(ONE_SIGMA)
            yield Tried(*names, simulation, predictor, halos, l1, b200, power, held, share)


def between_table(tried: list[Tried], target: str) -> Table:
    """The matrix of training and test simulations in numbers."""
    columns = ["model", "trained on", "tested on", "by", "test halos", "L1", "mean b200", "power", "held", "unlike"]
    rows: list[list[Cell]] = []
    for one in tried:
        unlike = one.unlike if one.predictor == "network" else None
        row: list[Cell] = [one.model, one.trained_on, one.tested_on, PREDICTORS[one.predictor], one.halos]
        row += [found.text() if found else None for found in (one.l1, one.b200, one.power, one.held)]
        rows.append([*row, unlike])
    return Table(f"between_{target}", f"Between simulations, {title_of(target)} maps", f"{NOTE}.", columns, rows)


def between_figure(tried: list[Tried]) -> Figure:
    """The same as points: a row a model and test simulation."""
    rows = {(one.model, one.tested_on): f"{one.architecture}, {one.trained_on} → {one.tested_on}" for one in tried}
    place = {row: len(rows) - 1 - n for n, row in enumerate(rows)}
    with style.applied():
        figure = style.canvas(1.1 + ROW * len(rows))
        panels: list[Axes] = list(figure.subplots(1, len(AXES), sharey=True))
        for predictor, mark in MARKS.items():
            face = style.TRUTH if predictor == "network" else "white"
            look: dict[str, Any] = {"marker": mark, "ms": 3.5, "mfc": face, "color": style.TRUTH, "capsize": 1.5}
            for panel, quantity in zip(panels, AXES, strict=True):
                there = [(place[one.model, one.tested_on], getattr(one, quantity), one.predictor) for one in tried]
                shown = [(y, found) for y, found, by in there if by == predictor and found is not None]
                values, errors = (
                    np.array([float(getattr(of, part)) for _, of in shown]) for part in ("value", "error")
                )
                places = np.array([y for y, _ in shown])
                label = PREDICTORS[predictor]
                panel.errorbar(values, places, xerr=np.nan_to_num(errors), ls="none", label=label, lw=0.8, **look)
        for panel, (quantity, axis) in zip(panels, AXES.items(), strict=True):
            panel.set_xlabel(axis)
            if quantity != "l1":
                panel.axvline(LEVELS[ONE_SIGMA] if quantity == "held" else 0, color=style.GUIDE, ls="--", lw=0.8)
        panels[0].set_yticks(list(place.values()), list(rows.values()))
        panels[0].set_xscale("log")  # one that fails altogether leaves room to the others
        panels[1].set_xscale("symlog", linthresh=LINEAR)
        for panel, ticks in zip(panels[:2], (L1_TICKS, B200_TICKS), strict=True):
            panel.xaxis.set_major_locator(FixedLocator(ticks))
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.xaxis.set_minor_locator(NullLocator())
        panels[3].set_xlim(-0.05, 1.05)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(MARKS))
    return figure
