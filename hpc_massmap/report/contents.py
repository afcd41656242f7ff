"""The rows of the report's tables: the run's numbers, and the paper's beside them where it has the same model."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from hpc_massmap import config
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.metrics import summary
from hpc_massmap.metrics.pixels import BINS
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.metrics.sample import BoolArray, by_projection, by_simulation, in_intervals, interval_labels
from hpc_massmap.metrics.spread import NOTE, Spread
from hpc_massmap.metrics.summary import b200_by_mass
from hpc_massmap.report import paper
from hpc_massmap.report.error_bars import held_text, judged
from hpc_massmap.report.history import hours_to_loss
from hpc_massmap.report.importance import Importance
from hpc_massmap.report.tables import Cell, Measured, Table
from hpc_massmap.tune.documents import FINISHED, TrialRecord, best_of
from hpc_massmap.views import title_of, view_of

SPREAD = f"Median, and its distances to the 84th and 16th percentile. {NOTE}."
PARTS = f"Pixels of a part of the maps are interpolated in bins of 1/{BINS} of all pixels."
MMD_UNIT = 1e-3  # of MMD^2 in tables, which show three digits after the point
PAPER_DATA = "The paper's numbers are of its own sample of The Three Hundred simulations; other data need not agree."
APERTURES = {"whole": "whole map", "r500": "R < R500", "half_r500": "R < R500/2"}
DIGITS = 12  # shown of a digest or a commit


def halos_by_mass(metrics: Metrics) -> list[int]:
    """How many test halos each mass interval holds."""
    return [len(np.unique(metrics.maps["halo"][inside])) for inside in in_intervals(metrics)]


def measured(of: Spread, unit: float = 1.0) -> Measured | None:
    """A single quantity of the summary, in some unit, as a cell; None where there is no map."""
    if not of.count:
        return None
    median, plus, minus = (float(x / unit) for x in (of.median, of.p84 - of.median, of.median - of.p16))
    error = None if np.isnan(of.error) else float(of.error / unit)
    return Measured(median, plus, minus, error, int(of.regions) or None)


def of_b200(target: str) -> str:
    """What b200 is of a target, to begin a title with."""
    return f"Bias b200 of the {view_of(target).enclosed} inside R200"


def b200_table(metrics: Metrics, target: str, model: str | None, data: str) -> Table:
    """Mass bias inside R200 by mass interval (table 4); the paper's in the rows of its own intervals."""
    rows: dict[tuple[float, float], list[Cell]] = {}
    intervals = list(pairwise(metrics.mass_intervals))
    of_this_run = zip(
        intervals, interval_labels(metrics), halos_by_mass(metrics), b200_by_mass(metrics, target), strict=True
    )
    for interval, label, halos, b200 in of_this_run:
        rows[interval] = [_readable(label), halos, int(b200.count), measured(b200)]
    columns = ["mass interval (Msun/h)", "test halos", "test maps", "this run"]
    title, note = f"{of_b200(target)} by mass interval, {title_of(target)} maps (table 4)", SPREAD
    if target == paper.TARGET and model in paper.B200:
        for n, (interval, number) in enumerate(zip(pairwise(paper.MASS_INTERVALS), paper.B200[model], strict=True)):
            sign = "≤" if n == len(paper.B200[model]) - 1 else "<"
            label = f"{interval[0]:g} ≤ log10 M200 {sign} {interval[1]:g}"
            rows.setdefault(interval, [label, None, None, None]).append(number)
        rows = {interval: [*row, *[None] * (5 - len(row))] for interval, row in sorted(rows.items())}
        columns.append(f"paper's {paper.NAMES[model]}")
        note += f" {PAPER_DATA}" + f" {paper.SIGNS}" * (model in paper.OTHER_SIGNS)
    coverage = judged(metrics, target)
    if coverage is not None:
        held = {
            of: held_text(metrics, target, inside) for of, inside in zip(intervals, in_intervals(metrics), strict=True)
        }
        rows = {interval: [*row, held.get(interval)] for interval, row in rows.items()}
        columns.append("b200 in 68 % intervals")
        note += f" Intervals: {coverage.words}."
    return Table(f"b200_{target}", title, note, columns, list(rows.values()), f"Data of this run: {data}.")


def _readable(label: str) -> str:
    return label.replace("<=", "≤")


def pixel_table(metrics: Metrics, target: str, model: str | None, data: str) -> Table:
    """Relative difference of pixels in each aperture (legend of fig. 6)."""
    title = f"Relative difference of pixels, {title_of(target)} maps (legend of fig. 6)"
    note = SPREAD
    columns, rows = ["aperture", "pixels", "this run"], list[list[Cell]]()
    for name, shown in APERTURES.items():
        of = summary.pixels(metrics, target, name)
        rows.append([shown, int(of.count), measured(of)])
    if target == paper.TARGET and model in paper.PIXEL_SCATTER:
        columns.append(f"paper's {paper.NAMES[model]}")
        rows = [[*row, paper.pixels(model, name)] for row, name in zip(rows, APERTURES, strict=True)]
        note += f" {PAPER_DATA}"
    return Table(f"pixels_{target}", title, note, columns, rows, f"Data of this run: {data}.")


def simulation_table(metrics: Metrics, target: str, data: str) -> Table:
    """The headline numbers of each simulation and of all, in each mass interval and in all."""
    columns = ["simulation", "masses", "test halos", "test maps", "b200", "pixels, whole map", "1000 MMD²"]
    groups: list[tuple[str, BoolArray]] = [("all", np.ones(len(metrics), bool))]
    labels = [_readable(label) for label in interval_labels(metrics)]
    groups += zip(labels, in_intervals(metrics), strict=True)
    rows: list[list[Cell]] = []
    simulations = by_simulation(metrics)
    if len(simulations) > 1:
        simulations |= {"all": np.ones(len(metrics), bool)}
    for simulation, of_simulation in simulations.items():
        for label, inside in groups:
            chosen = of_simulation & inside
            numbers: list[Cell] = [
                measured(summary.b200_of(metrics, target, chosen)),
                measured(summary.pixels_of(metrics, target, "whole", chosen)),
                measured(summary.mmd_of(metrics, target, chosen), MMD_UNIT),
            ]
            halos = len(np.unique(metrics.maps["halo"][chosen]))
            rows.append([simulation, label, halos, int(chosen.sum()), *numbers])
    title = f"The metrics by simulation, {title_of(target)} maps"
    note = f"{SPREAD} {PARTS}"
    return Table(f"simulations_{target}", title, note, columns, rows, f"Data of this run: {data}.")


def projection_table(metrics: Metrics, target: str, data: str) -> Table:
    """Whether a line of sight is unlike the others: the medians of each, in a few numbers."""
    projections = by_projection(metrics).values()
    everything = np.ones(len(metrics), bool)
    kinds: dict[str, tuple[Callable[[BoolArray], Spread], float]] = {
        "b200": (lambda chosen: summary.b200_of(metrics, target, chosen), 1.0),
        "pixels, whole map": (lambda chosen: summary.pixels_of(metrics, target, "whole", chosen), 1.0),
        "1000 MMD²": (lambda chosen: summary.mmd_of(metrics, target, chosen), MMD_UNIT),
    }
    rows: list[list[Cell]] = []
    for name, (number, unit) in kinds.items():
        medians = np.array([number(chosen).median for chosen in projections]) / unit
        spread = float(medians.std(ddof=1)) if len(medians) > 1 else None
        rows.append([name, measured(number(everything), unit), float(medians.min()), float(medians.max()), spread])
    columns = ["", "all lines of sight", "lowest median", "highest median", "standard deviation of the medians"]
    title = f"Medians along each of {len(projections)} lines of sight, {title_of(target)} maps"
    note = f"{SPREAD} {PARTS}"
    return Table(f"projections_{target}", title, note, columns, rows, f"Data of this run: {data}.")


def trials_table(trials: list[TrialRecord]) -> Table:
    """Every trial of the tuning."""
    columns = ["trial", "state", *config.HYPERPARAMETERS, "loss", "epochs", "ended (h)", "attempts", "worker", "error"]
    hours = {trial.tid: hour for hour, trial in hours_to_loss(trials)}
    rows: list[list[Cell]] = [
        [
            trial.tid,
            trial.state,
            *(trial.values.get(name) for name in config.HYPERPARAMETERS),
            trial.best if trial.state in FINISHED else None,
            trial.epochs,
            hours.get(trial.tid),
            trial.attempt,
            trial.worker,
            trial.error or "",
        ]
        for trial in trials
    ]
    note = "Loss: the best validation loss, normalised. Hours are since the first trial was started."
    return Table("trials", "Every trial of the tuning", note, columns, rows)


def importance_table(found: Importance) -> Table:
    """The share of the variance of the trials' ranks that each hyperparameter explains."""
    rows: list[list[Cell]] = [[name, share] for name, share in found.share.items()]
    rows.append(["several together", found.together])
    note = f"From {found.trials} trials; the forest explains R2 = {found.explained:.2f} of trials it was not grown on."
    return Table("importance", "Importance of the hyperparameters", note, ["hyperparameter", "share"], rows)


def space_table(space: config.Space, trials: list[TrialRecord]) -> Table:
    """The search space beside the paper's (table 3), with the best trial."""
    best = best_of(trials)
    rows: list[list[Cell]] = []
    for name in config.HYPERPARAMETERS:
        bounds: config.Range = getattr(space, name)
        found = best.values.get(name) if best else None
        rows.append([name, paper.SEARCH_SPACE.get(name), f"{bounds.low:g} to {bounds.high:g}", found])
    rows.append(["evaluations", str(paper.EVALUATIONS), str(len(trials)), None])
    columns = ["hyperparameter", "paper", "this run", f"best (trial {best.tid})" if best else "best"]
    return Table("search_space", "Search space (table 3) and best trial", "", columns, rows)


def settings_table(records: list[dict[str, Any]]) -> Table:
    """Every setting with which the steps were done, and the default where it differs: the paper's, if it has one."""
    sections = (config.Split, config.Model, config.Train, config.Space, config.Evaluate)
    defaults = dict(_flat({section.__name__.lower(): section().model_dump(mode="json") for section in sections}))
    used: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for key, value in _flat(record.get("settings") or {}):
            used.setdefault((key, str(value)), []).append(str(record.get("step")))
    rows: list[list[Cell]] = [
        [key, value, str(defaults[key]) if key in defaults and str(defaults[key]) != value else None, ", ".join(steps)]
        for (key, value), steps in used.items()
    ]
    return Table(
        "settings",
        "Settings of the steps",
        "The default, which is the paper's where it states one, is given where it differs.",
        ["setting", "this run", "default", "steps"],
        rows,
    )


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def steps_table(records: list[dict[str, Any]]) -> Table:
    """When, where and from what each step was done."""
    columns = ["step", "finished", "commit", "host", "Slurm job", "Python", "inputs (SHA-256)"]
    rows: list[list[Cell]] = []
    for record in records:
        inputs = (record.get("inputs") or {}).items()
        texts = [record.get(key) for key in ("step", "finished", "git_commit", "host", "slurm_job", "python")]
        cells: list[Cell] = [None if text is None else str(text) for text in texts]
        cells[2] = cells[2] and _short_commit(str(cells[2]))
        rows.append([*cells, "; ".join(f"{name} {str(digest)[:DIGITS]}" for name, digest in inputs)])
    return Table("steps", "Steps", "The source was changed after a commit with a +.", columns, rows)


def _short_commit(commit: str) -> str:
    return commit[:DIGITS] + "+" * commit.endswith("+")


def versions_table(records: list[dict[str, Any]]) -> Table:
    """The versions of the packages that the steps ran with; more than one if they differ."""
    found: dict[str, set[str]] = {}
    for record in records:
        for package, version in (record.get("versions") or {}).items():
            found.setdefault(str(package), set()).update([str(version)] if version else [])
    rows: list[list[Cell]] = [[package, ", ".join(sorted(versions))] for package, versions in found.items()]
    return Table("versions", "Packages", "", ["package", "version"], rows)


def data_table(maps: MapFile) -> Table:
    """What the map file says about itself."""
    attributes: list[list[Cell]] = [[name, str(value)] for name, value in sorted(maps.attributes.items())]
    rows: list[list[Cell]] = [
        ["file", str(maps.path)],
        ["digest (SHA-256)", maps.digest],
        ["maps", str(len(maps))],
        ["halos", str(len(maps.halos["m200"]))],
        ["simulations", ", ".join(sorted(set(maps.halos["simulation"].tolist())))],
        *attributes,
    ]
    return Table("data", "Map file", "", ["", "value"], rows)
