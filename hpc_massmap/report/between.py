"""Between simulations: every model on the test maps of every simulation, beside two predictions without a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_massmap.diagnostics.estimate import Estimate, mean_of
from hpc_massmap.metrics.baselines import BASELINES, PREDICTORS, read_baselines
from hpc_massmap.metrics.crosschecks import simulations_of
from hpc_massmap.metrics.predictions import training_of
from hpc_massmap.metrics.sample import by_simulation
from hpc_massmap.report import style
from hpc_massmap.report.inputs import Inputs
from hpc_massmap.report.likeness import unlike_of
from hpc_massmap.report.tables import Cell, Table
from hpc_massmap.views import title_of

NOTE = (
    "L1: sum of |predicted - true| over the pixels of a map, over that of the truth; means over the test maps of a "
    "simulation. ± is half the 68 % interval, from a bootstrap over n regions with Student's t. The mean training map "
    "and the richness of the best view (the floor) know the same training maps as the network, and are no network. "
    "Unlike: share of maps with p < 0.05 of looking like the training's"
)
BETWEEN = (
    "Mean L1 (left) and b200 (right) of each model on the test maps of each simulation, filled, beside the mean "
    "training map and the richness of the best view, open; with errors by region."
)
MARKS = {"network": "o", "mean_map": "s", "richness": "^"}


@dataclass(frozen=True)
class Tried:
    """One predictor on the test maps of one simulation."""

    model: str
    trained_on: str
    tested_on: str
    predictor: str
    halos: int
    l1: Estimate
    b200: Estimate
    unlike: float | None


def tried_of(runs: list[tuple[str, Inputs]], target: str) -> list[Tried]:
    """All that is known, by model, simulation that is tested on, and predictor; runs without baselines are left out."""
    return [one for name, run in runs for one in _of_run(name, run, target)]


def _of_run(model: str, run: Inputs, target: str) -> Iterator[Tried]:
    training = training_of(run.predictions)
    found = read_baselines(run.run.metrics.with_name(BASELINES), run.predictions)
    if training is None or found is None or target not in found:
        return
    trained_on, region = simulations_of(run.predictions.maps, training.rows), run.metrics.maps["region"]
    unlike = unlike_of(run.predictions)
    for simulation, chosen in by_simulation(run.metrics).items():
        halos = len(np.unique(run.metrics.maps["halo"][chosen]))
        share = None if unlike is None else float(unlike[chosen].mean())
        for predictor, of in found[target].items():
            l1, b200 = (mean_of(values[chosen], region[chosen]) for values in (of.l1, of.b200))
            yield Tried(model, trained_on, simulation, predictor, halos, l1, b200, share)


def between_table(tried: list[Tried], target: str) -> Table:
    """The matrix of training and test simulations in numbers."""
    columns = ["model", "trained on", "tested on", "by", "test halos", "L1", "mean b200", "unlike"]
    rows: list[list[Cell]] = []
    for one in tried:
        unlike = one.unlike if one.predictor == "network" else None
        row: list[Cell] = [one.model, one.trained_on, one.tested_on, PREDICTORS[one.predictor], one.halos]
        rows.append([*row, one.l1.text(), one.b200.text(), unlike])
    return Table(f"between_{target}", f"Between simulations, {title_of(target)} maps", f"{NOTE}.", columns, rows)


def between_figure(tried: list[Tried]) -> Figure:
    """The same as points: a row a model and test simulation."""
    rows = list(dict.fromkeys((one.model, one.tested_on) for one in tried))
    with style.applied():
        figure = style.canvas(0.9 + 0.28 * len(rows))
        panels: list[Axes] = list(figure.subplots(1, 2, sharey=True))
        for predictor, mark in MARKS.items():
            of = [one for one in tried if one.predictor == predictor]
            places = np.array([len(rows) - 1 - rows.index((one.model, one.tested_on)) for one in of])
            for panel, found in zip(panels, ([one.l1 for one in of], [one.b200 for one in of]), strict=True):
                values, errors = (np.array([float(getattr(one, of)) for one in found]) for of in ("value", "error"))
                face = style.TRUTH if predictor == "network" else "white"
                look: dict[str, Any] = {"marker": mark, "ms": 4, "mfc": face, "color": style.TRUTH, "capsize": 2}
                label = PREDICTORS[predictor]
                panel.errorbar(values, places, xerr=np.nan_to_num(errors), ls="none", label=label, **look)
        panels[0].set_yticks(range(len(rows)), [f"{model} on {simulation}" for model, simulation in reversed(rows)])
        panels[0].set(xlabel="mean L1", xlim=(0, None))
        panels[1].set(xlabel=r"mean $b_{200}$")
        panels[1].axvline(0, color=style.GUIDE, ls="--", lw=0.8)
        panels[1].legend(loc="best")
    return figure
