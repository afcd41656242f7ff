"""Several runs in one report: models of the same test maps side by side, retrained ones in a panel each (fig. A4).

Retrained is a run that was trained on some halos only, or whose test maps are others. It is judged by test maps of the
kind that it was trained on.

A run that cannot be read does not keep the others from being shown: the page says what is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hpc_massmap.config import load_config
from hpc_massmap.elsewhere import RECORD, elsewhere_at
from hpc_massmap.errors import InputError
from hpc_massmap.metrics import summary
from hpc_massmap.metrics.crosschecks import crossings, simulations_of
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.predictions import training_of
from hpc_massmap.metrics.sample import BoolArray
from hpc_massmap.report import captions, contents, paper, style, together
from hpc_massmap.report.crosschecks import crossings_table
from hpc_massmap.report.examples import read_examples
from hpc_massmap.report.inputs import Inputs, input_digests, read_inputs
from hpc_massmap.report.noise import mmd_table
from hpc_massmap.report.style import Drawing
from hpc_massmap.report.tables import Cell, Table
from hpc_massmap.run import Run
from hpc_massmap.tune.documents import best_of
from hpc_massmap.views import title_of, view_of

ORDER = ["star", "sz", "xray", "multi1", "multi3", "gas2"]  # of the paper's figures and table 4


@dataclass(frozen=True)
class Comparison:
    """The runs of a report.

    Attributes
    ----------
    same : those with the same test maps as the report's own run, which is one of them; in the paper's order
    colours : of `same`, then of `apart`
    apart : the retrained ones
    missing : what could not be shown, and why
    """

    same: list[Inputs]
    colours: list[str]
    apart: list[Inputs]
    missing: list[str]

    def shown(self, runs: list[Inputs]) -> list[together.Shown]:
        colours = dict(zip(map(shown_name, [*self.same, *self.apart]), self.colours, strict=True))
        return [
            together.Shown(name, colours[name], run.metrics, len(run.run.config.model.views) > 1)
            for name, run in zip(map(shown_name, runs), runs, strict=True)
        ]


def run_at(path: Path) -> Run:
    """The run of a config file, of a folder of runs/, or what a model says of another map file."""
    if (path / RECORD).exists():
        return elsewhere_at(path)
    if path.is_dir():
        return Run(load_config(path / "config.yaml"), path)
    config = load_config(path)
    return Run(config, config.runs / config.name)


def digests_of(others: list[Run]) -> dict[str, str]:
    """What a comparison is made from: `<run>/<file>` -> SHA-256, or why there is none."""
    found: dict[str, str] = {}
    for run in others:
        try:
            found |= {f"{run.config.name}/{name}": digest for name, digest in input_digests(run).items()}
        except InputError as error:
            found[run.config.name] = str(error)
    return found


def compare(main: Inputs, others: list[Run]) -> Comparison:
    """Read the other runs and sort them.

    Raises
    ------
    InputError
        If two runs have one name.
    """
    names = [run.config.name for run in (main.run, *others)]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--with: two runs are called {name}; each is drawn once, under its own name")
    same, apart, missing = [main], list[Inputs](), list[str]()
    for run in others:
        try:
            other = read_inputs(run)
        except InputError as error:
            missing.append(f"{run.config.name}: {error}")
            continue
        is_apart = _is_restricted(other) or not _has_test_maps_of(main, other)
        difference = _predicts_others(main, other) or (None if is_apart else _measured_otherwise(main, other))
        if difference:
            missing.append(f"{run.config.name}: {difference}")
        else:
            (apart if is_apart else same).append(other)
    colours = style.colours_of([run.run.config.model for run in [*same, *apart]])
    ordered = sorted(range(len(same)), key=lambda n: place_of(same[n]))
    in_order = [colours[n] for n in ordered] + colours[len(same) :]
    return Comparison([same[n] for n in ordered], in_order, apart, missing)


def _has_test_maps_of(main: Inputs, other: Inputs) -> bool:
    return main.metrics.maps_digest == other.metrics.maps_digest and np.array_equal(
        main.metrics.maps["row"], other.metrics.maps["row"]
    )


def _predicts_others(main: Inputs, other: Inputs) -> str | None:
    """Why two runs have nothing to compare, if they have not."""
    if main.metrics.targets.keys() & other.metrics.targets.keys():
        return None
    ours, others = (", ".join(map(title_of, run.metrics.targets)) for run in (main, other))
    return f"predicts {others}, but {main.metrics.name} {ours}"


def _measured_otherwise(main: Inputs, other: Inputs) -> str | None:
    """Why numbers of two runs do not compare, if they do not."""
    if other.metrics.mass_intervals != main.metrics.mass_intervals:
        return f"evaluated in other mass intervals than {main.metrics.name}"
    ours, others = (next(iter(run.metrics.targets.values()))[Mmd] for run in (main, other))
    is_one_mmd = ours.kernel == others.kernel and np.array_equal(ours.scales, others.scales)
    if not (is_one_mmd and np.array_equal(ours.noise, others.noise)):
        return f"evaluated with another MMD (evaluate.mmd_...) than {main.metrics.name}"
    return None


def model_of_paper(run: Inputs) -> str | None:
    """Whose numbers in the paper stand beside a run's; none do for a model that was trained on some halos only."""
    return None if _is_restricted(run) else style.model_key(run.run.config.model)


def _is_restricted(run: Inputs) -> bool:
    return run.run.config.split.log_m200 is not None or bool(run.run.config.split.only)


def of_its_kind(run: Inputs) -> BoolArray:
    """The test maps of the halos that a run could have been trained on, had they not been set aside: (n,)."""
    split, maps = run.run.config.split, run.metrics.maps
    chosen = np.ones(len(run.metrics), bool)
    if split.log_m200 is not None:
        low, high = split.log_m200
        chosen &= (low <= run.metrics.log_m200) & (run.metrics.log_m200 < high)
    if split.only:
        chosen &= np.isin(maps["simulation"], split.only)
    return chosen


def place_of(run: Inputs) -> int:
    """Of a run among those of the paper's order."""
    key = style.model_key(run.run.config.model)
    return ORDER.index(key) if key else len(ORDER)


def shown_name(run: Inputs) -> str:
    """The paper's name of a model if the run is called as its config is, else the run's."""
    name, key = run.run.config.name, style.model_key(run.run.config.model)
    return paper.NAMES[key] if key and name == key else name


def comparison_figures(main: Inputs, runs: Comparison, target: str) -> Iterator[Drawing]:
    """Figures 5 to 9 of the runs that predict `target` of the same test maps, and figure A4 of the others."""
    same = [run for run in runs.same if target in run.metrics.targets]
    units = main.predictions.maps.units
    if len(same) > 1:
        models = runs.shown(same)
        figure = _example_figure(main, same, target, units)
        if figure is not None:
            yield Drawing(f"fig5_models_{target}", captions.EXAMPLE_OF_MODELS.format(name=shown_name(main)), figure)
        yield Drawing(f"fig6_models_{target}", captions.PIXELS_OF_MODELS, together.pixels_together(models, target))
        caption = captions.BIAS_OF_MODELS.format(quantity=view_of(target).enclosed)
        yield Drawing(f"fig7_models_{target}", caption, together.bias_together(models, target))
        yield Drawing(
            f"fig8_models_{target}",
            captions.POWER_OF_MODELS + captions.power_of_paper(target),
            together.power_together(models, target, units[target]),
        )
        yield Drawing(f"fig9_models_{target}", captions.MMD_OF_MODELS, together.mmd_together(models, target))
    apart = [run for run in runs.apart if target in run.metrics.targets]
    if apart:
        retrained = [(model, of_its_kind(run)) for model, run in zip(runs.shown(apart), apart, strict=True)]
        with_main = [_has_test_maps_of(main, run) for run in apart]
        figure = together.retrained_figure(retrained, runs.shown([main])[0], with_main, target)
        caption = captions.RETRAINED.format(quantity=view_of(target).enclosed, name=shown_name(main))
        yield Drawing(f"figA4_retrained_{target}", caption, figure)


def _example_figure(main: Inputs, same: list[Inputs], target: str, units: dict[str, str]) -> Figure | None:
    views = list(dict.fromkeys(view for run in same for view in run.run.config.model.views))
    examples = read_examples(main.predictions, main.metrics, views, target)
    if not examples:
        return None
    middle = len(examples) // 2
    predicted = {
        shown_name(run): run.predictions.block(target, slice(examples[middle].place, examples[middle].place + 1))[0][0]
        for run in same
    }
    return together.examples_together(examples[middle], predicted, target, units)


def comparison_tables(main: Inputs, runs: Comparison, target: str) -> Iterator[Table]:
    """Table 4, the legend of figure 6 and figure 9 in numbers, a row a model; figure A4 in numbers."""
    same = [run for run in runs.same if target in run.metrics.targets]
    if len(same) > 1:
        yield _b200_of_models(same, target)
        yield _pixels_of_models(same, target)
        data = same[0].run.config.data.rstrip(".")
        yield mmd_table([(shown_name(run), run.metrics) for run in same], target, data)
    apart = [run for run in runs.apart if target in run.metrics.targets]
    if apart:
        yield _retrained_table(main, apart, target)
    known = [(run, training_of(run.predictions)) for run in [*same, *apart]]
    trained = [(simulations_of(run.predictions.maps, found.rows), run.metrics) for run, found in known if found]
    if len(trained) > 1:
        yield crossings_table(crossings(trained, target), f"models_{target}", target)


def _retrained_table(main: Inputs, apart: list[Inputs], target: str) -> Table:
    rows: list[list[Cell]] = []
    for run in apart:
        chosen, split = of_its_kind(run), run.run.config.split
        masses = "all" if split.log_m200 is None else "{:g} to {:g}".format(*split.log_m200)
        row: list[Cell] = [shown_name(run), masses, ", ".join(split.only) or "all"]
        row += [len(np.unique(run.metrics.maps["halo"][chosen])), int(chosen.sum())]
        row.append(contents.measured(summary.b200_of(run.metrics, target, chosen)))
        if _has_test_maps_of(main, run):
            row.append(contents.measured(summary.b200_of(main.metrics, target, chosen)))
        rows.append([*row, None][:7])
    columns = [
        "model",
        "log10 M200",
        "simulations",
        "test halos",
        "test maps",
        "b200",
        f"{shown_name(main)} on the same",
    ]
    note = f"Test maps of the kind each was trained on. {contents.SPREAD}"
    title = f"Retrained models, {title_of(target)} maps (fig. A4 at R200)"
    return Table(f"retrained_{target}", title, note, columns, rows)


def _b200_of_models(runs: list[Inputs], target: str) -> Table:
    columns, with_paper = ["model", *_ranges(runs[0].metrics.mass_intervals)], target == paper.TARGET
    if with_paper:
        columns += [f"paper, {label}" for label in _ranges(paper.MASS_INTERVALS)]
    rows: list[list[Cell]] = []
    for run in runs:
        row: list[Cell] = [
            shown_name(run),
            *(contents.measured(of) for of in summary.b200_by_mass(run.metrics, target)),
        ]
        if with_paper:
            none = [None] * (len(paper.MASS_INTERVALS) - 1)
            row += paper.B200.get(model_of_paper(run) or "", none)
        rows.append(row)
    note = f"Intervals of log10 M200/(Msun/h). {_note(with_paper)}"
    if with_paper and any(model_of_paper(run) in paper.OTHER_SIGNS for run in runs):
        note += f" {paper.SIGNS}"
    title = f"{contents.of_b200(target)} of each model by mass interval, {title_of(target)} maps (table 4)"
    return Table(f"b200_models_{target}", title, note, columns, rows, _data_of(runs))


def _ranges(edges: list[float]) -> list[str]:
    return [f"{low:g} to {high:g}" for low, high in pairwise(edges)]


def _pixels_of_models(runs: list[Inputs], target: str) -> Table:
    columns, with_paper = ["model", *contents.APERTURES.values()], target == paper.TARGET
    rows: list[list[Cell]] = []
    for run in runs:
        row: list[Cell] = [shown_name(run)]
        for name in contents.APERTURES:
            row.append(contents.measured(summary.pixels(run.metrics, target, name)))
        if with_paper:
            row.append(paper.pixels(model_of_paper(run), "whole"))
        rows.append(row)
    columns += ["paper, whole map"] * with_paper
    note = _note(with_paper)
    title = f"Relative difference of pixels of each model, {title_of(target)} maps (legend of fig. 6)"
    return Table(f"pixels_models_{target}", title, note, columns, rows, _data_of(runs))


def _note(with_paper: bool) -> str:
    return f"{contents.SPREAD} {contents.PAPER_DATA}" if with_paper else contents.SPREAD


def _data_of(runs: list[Inputs]) -> str:
    return f"Data of these runs: {runs[0].run.config.data.rstrip('.')}."


def models_table(runs: Comparison) -> Table:
    """What goes into each model, and how far its training came (table 2)."""
    rows: list[list[Cell]] = []
    for run in [*runs.same, *runs.apart]:
        model, log, best = run.run.config.model, run.training, best_of(run.trials)
        encoders = 1 if model.encoders == "one" else len(model.views)
        views, targets = (", ".join(title_of(name) for name in names) for names in (model.views, model.targets))
        loss = best.best if best else None
        rows.append([shown_name(run), views, targets, encoders, len(run.trials), loss, len(log.epoch)])
        rows[-1].append(log.validation_loss[log.best])
    columns = ["model", "input maps", "predicts", "encoders", "trials", "best trial's loss", "epochs", "final loss"]
    note = "Losses are of the validation set: mean absolute errors of normalised pixels."
    return Table("models", "Models (table 2), their tuning and their training", note, columns, rows)


def runs_table(runs: Comparison) -> Iterator[Table]:
    """When, where and from which source the runs of a comparison did each step."""
    shown = [*runs.same, *runs.apart]
    if len(shown) == 1:
        return
    rows: list[list[Cell]] = []
    for run in shown:
        steps = contents.steps_table(run.records)
        rows += [[shown_name(run), *row] for row in steps.rows]
    yield Table("runs", "Steps of all runs", steps.note, ["model", *steps.columns], rows)
