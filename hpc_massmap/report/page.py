"""The report: draws the figures, writes the tables, and puts all of it into one HTML page that needs no other file."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hpc_massmap.diagnostics.likeness import UNLIKE
from hpc_massmap.metrics import summary
from hpc_massmap.metrics.crosschecks import trends as trends_of
from hpc_massmap.metrics.floor import FLOOR
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import read_metrics
from hpc_massmap.metrics.sample import by_simulation, interval_labels
from hpc_massmap.report import (
    browser,
    captions,
    contents,
    crosschecks,
    curves,
    drawn,
    error_bars,
    figures,
    paper,
    sample,
    style,
    tuning,
)
from hpc_massmap.report.between import BETWEEN, Tried, between_figure, between_table, tried_of
from hpc_massmap.report.comparison import (
    Comparison,
    compare,
    comparison_figures,
    comparison_tables,
    model_of_paper,
    models_table,
    place_of,
    runs_table,
    shown_name,
)
from hpc_massmap.report.examples import RULE, read_examples
from hpc_massmap.report.gallery import CUT, example_figure
from hpc_massmap.report.inputs import Inputs
from hpc_massmap.report.likeness import likeness_table, unlike_of
from hpc_massmap.report.maps import maps_figure
from hpc_massmap.report.noise import mmd_table
from hpc_massmap.report.style import Drawing
from hpc_massmap.report.tables import Measured, Table, to_csv, to_html, write_table
from hpc_massmap.run import Run
from hpc_massmap.storage import write_text
from hpc_massmap.tune.best import said_of_best
from hpc_massmap.tune.documents import best_of
from hpc_massmap.views import title_of, view_of

INDEX = "index.html"


@dataclass(frozen=True)
class Card:
    """A number to see first; `value` is HTML."""

    label: str
    value: Markup
    note: str


def write_report(inputs: Inputs, folder: Path, others: Sequence[Run] = (), notes: Sequence[str] = ()) -> Path:
    """Write figures/, tables/ and index.html; returns the path of the page.

    Parameters
    ----------
    others : runs to compare with, such as the paper's other models
    notes : lines to show above the comparison, such as why a run is not in it
    """
    metrics, runs = inputs.metrics, compare(inputs, list(others))
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(_source("page.html"))
    text = template.render(
        name=metrics.name,
        model=_model_sentence(inputs),
        data=inputs.run.config.data,
        intervals=[label.replace("<=", "≤") for label in interval_labels(metrics)],
        n_maps=len(metrics),
        n_halos=inputs.test_halos,
        split_by_map=inputs.run.config.split.policy == "map",
        cards=list(_cards(inputs)),
        results=[
            (
                title_of(target),
                [_embedded(drawing, folder) for drawing in _result_figures(inputs, target)],
                [_written(table, folder) for table in _result_tables(inputs, target)],
                _browser(runs, inputs, target),
            )
            for target in metrics.targets
        ],
        missing=[*runs.missing, *notes],
        compared=[
            _written(table, folder)
            for target in metrics.targets
            for table in (*comparison_tables(inputs, runs, target), *_between_tables(runs, target))
        ],
        compared_figures=[
            _embedded(drawing, folder)
            for target in metrics.targets
            for drawing in (*comparison_figures(inputs, runs, target), *_between_figures(runs, target))
        ],
        sample=[_written(table, folder) for table in _sample_tables(inputs)],
        sample_figures=[_embedded(drawing, folder) for drawing in _sample_figures(inputs)],
        history=[_embedded(drawing, folder) for drawing in _history_figures(inputs)],
        models=_written(models_table(runs), folder),
        tuning=[_written(table, folder) for table in _tuning_tables(inputs)],
        provenance=[_written(table, folder) for table in (*_provenance_tables(inputs), *runs_table(runs))],
        css=Markup(_source("tabulator/tabulator_simple.min.css") + _source("page.css")),
        library=Markup(f"/*\n{_source('tabulator/LICENSE')}*/\n{_source('tabulator/tabulator.min.js')}"),
        script=Markup(_source("page.js")),
    )
    write_text(folder / INDEX, text)
    return folder / INDEX


def closing_lines(inputs: Inputs) -> Iterator[str]:
    """What a person wants to know when all is done: the best trial and the headline metrics."""
    if line := said_of_best(inputs.trials):
        yield line
    yield from summary.headline(inputs.metrics)


def _tried(runs: Comparison, target: str) -> list[Tried]:
    ordered = sorted((*runs.same, *runs.apart), key=place_of)  # all trainings of a model together
    return tried_of([(shown_name(run), run) for run in ordered], target)


def _between_tables(runs: Comparison, target: str) -> Iterator[Table]:
    if tried := _tried(runs, target):
        yield between_table(tried, target)


def _between_figures(runs: Comparison, target: str) -> Iterator[Drawing]:
    if tried := _tried(runs, target):
        yield Drawing(f"between_{target}", BETWEEN, between_figure(tried))


def _source(name: str) -> str:
    """A file of this package that goes into the page."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _browser(runs: Comparison, inputs: Inputs, target: str) -> dict[str, str | Markup | bool]:
    others = [run for run in runs.same if run is not inputs and target in run.metrics.targets]
    has_errors = error_bars.judged(inputs.metrics, target) is not None
    samples = min(inputs.predictions.n_samples, browser.SAMPLES_SHOWN)
    panels = len(inputs.run.config.model.views) + 1 + 2 * (1 + len(others)) + samples + has_errors
    at_most = browser.PANELS // panels // len(inputs.metrics.targets)
    data = browser.browser_data([inputs, *others], target, at_most)
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # so that no text in it ends the script
    rule = browser.rule_of_choice(len(data["maps"]), len(inputs.metrics))
    return {"rule": rule, "json": Markup(text), "several": bool(others), "enclosed": view_of(target).enclosed}


def _embedded(drawing: Drawing, folder: Path) -> dict[str, str | float | list[str]]:
    image = style.write_figure(drawing.figure, folder / "figures" / drawing.name)
    share = drawing.figure.get_figwidth() / style.WIDTH
    if drawing.curves is not None:
        write_text(folder / "figures" / f"{drawing.name}.csv", to_csv(drawing.curves))
    return {
        "name": drawing.name,
        "caption": drawing.caption,
        "png": base64.b64encode(image).decode(),
        "share": share,
        "endings": ["pdf", "png", *["csv"] * (drawing.curves is not None)],
    }


def _written(table: Table, folder: Path) -> dict[str, Table | Markup]:
    write_table(table, folder / "tables")
    return {"table": table, "html": Markup(to_html(table))}


def _model_sentence(inputs: Inputs) -> str:
    model = inputs.run.config.model
    views = ", ".join(title_of(view) for view in model.views)
    targets = ", ".join(title_of(target) for target in model.targets)
    key = model_of_paper(inputs)
    like = f"; the paper's {paper.NAMES[key]}" if key and paper.TARGET in model.targets else ""
    encoders = "one encoder" if model.encoders == "one" or len(model.views) == 1 else "one encoder a view"
    return f"A U-Net that predicts {targets} from {views} with {encoders}{like}.{_restriction(inputs)}"


def _restriction(inputs: Inputs) -> str:
    split, kinds = inputs.run.config.split, list[str]()
    if split.log_m200 is not None:
        kinds.append("of log10 M200/(h⁻¹ M☉) from {:g} to {:g}".format(*split.log_m200))
    if split.only:
        kinds.append(f"of {', '.join(split.only)}")
    return f" It was trained on halos {' '.join(kinds)} only, and is tested here on all." if kinds else ""


def _cards(inputs: Inputs) -> Iterator[Card]:
    metrics = inputs.metrics
    for target in metrics.targets:
        b200 = summary.b200_by_mass(metrics, target)
        for label, value in zip(interval_labels(metrics), b200, strict=True):
            number = contents.measured(value)
            yield Card(f"b200, {title_of(target)}", _shown(number), label.replace("<=", "≤"))
        number = contents.measured(summary.pixels(metrics, target, "whole"))
        yield Card(f"pixels, {title_of(target)}", _shown(number), "relative difference, whole map")
    unlike = unlike_of(inputs.predictions)
    if unlike is not None and unlike.any():
        note = f"of {len(unlike)} test maps (p < {UNLIKE:g}): their error bars are not calibrated"
        yield Card("unlike the training maps", Markup(int(unlike.sum())), note)
    best = best_of(inputs.trials)
    if best is not None:
        yield Card("best trial", Markup(best.tid), f"of {len(inputs.trials)}, validation loss {best.best:.4f}")
    log = inputs.training
    yield Card("final training", Markup(len(log.epoch)), f"epochs, the best is {log.epoch[log.best]}")


def _shown(number: Measured | None) -> Markup:
    if number is None:
        return Markup("no test halos")
    median, plus, minus = (part.replace("-", "−") for part in number.parts())
    spread = Markup('{}<span class="error"><span>{}</span><span>{}</span></span>').format(median, plus, minus)
    return spread + Markup(' <span class="standard">{}</span>').format(number.shown_error())


def _result_figures(inputs: Inputs, target: str) -> Iterator[Drawing]:
    metrics, model = inputs.metrics, inputs.run.config.model
    result, colour = metrics.targets[target], style.colour_of(model)
    edges = ", ".join(f"{edge:g}" for edge in metrics.mass_intervals)
    of_run = f" Model {metrics.name}, {title_of(target)}; log10 M200 intervals: {edges}."
    examples = read_examples(inputs.predictions, metrics, model.views, target)
    if examples:
        caption = (
            "What the model sees, the truth, its prediction, and prediction minus truth (fig. 5). Which maps: "
            f"{RULE}. Truth and prediction share one scale; the residual's ends at the {CUT:g}th percentile of its "
            "size. Dashed circles: R500."
        )
        figure = example_figure(examples, target, inputs.predictions.maps.units)
        yield Drawing(f"fig5_examples_{target}", caption + of_run, figure)
    apertures = result[Pixels].apertures
    pixels, curves = figures.pixel_figure(apertures, colour), drawn.pixel_curves(apertures)
    yield Drawing(f"fig6_pixels_{target}", captions.PIXELS + of_run, pixels, curves)
    bias = figures.bias_figure(
        result[Profiles].radii,
        summary.bias_by_mass(metrics, target),
        interval_labels(metrics),
        contents.halos_by_mass(metrics),
        target,
        colour,
    )
    caption = captions.BIAS.format(quantity=view_of(target).enclosed) + of_run
    yield Drawing(f"fig7_bias_{target}", caption, bias, drawn.bias_curves(metrics, target))
    unit = inputs.predictions.maps.units[target]
    spectra, difference = summary.power_spectra(metrics, target), summary.power_difference(metrics, target)
    of_samples = summary.sample_power(metrics, target)
    power = figures.power_figure(result[Power].wavelength, spectra, difference, unit, colour, of_samples)
    caption = captions.power(target, of_samples is not None) + of_run
    yield Drawing(f"fig8_power_{target}", caption, power, drawn.power_curves(metrics, target))
    value, calibration = summary.mmd_by_mass(metrics, target), summary.calibration_by_mass(metrics, target)
    mmd = figures.mmd_figure(summary.mass_bins(metrics), value, calibration, result[Mmd].noise, colour)
    yield Drawing(f"fig9_mmd_{target}", captions.MMD + of_run, mmd, drawn.mmd_curves(metrics, target))
    yield from _error_figures(inputs, target, colour, of_run)
    trends = trends_of(metrics, inputs.predictions.maps, target)
    if trends:
        yield Drawing(f"trends_{target}", crosschecks.TRENDS + of_run, crosschecks.trends_figure(trends, colour))


def _error_figures(inputs: Inputs, target: str, colour: str, of_run: str) -> Iterator[Drawing]:
    metrics = inputs.metrics
    if error_bars.judged(metrics, target) is None:
        return
    figure = error_bars.coverage_figure(metrics, target, colour)
    yield Drawing(f"coverage_{target}", error_bars.COVERAGE + of_run, figure)
    pits = error_bars.pit_figure(metrics, target, colour)
    if pits is not None:
        yield Drawing(f"pit_{target}", error_bars.PIT + of_run, pits)
    examples = read_examples(inputs.predictions, metrics, inputs.run.config.model.views, target)
    masses = error_bars.masses_figure(metrics, examples, target, colour)
    if masses is not None:
        yield Drawing(f"masses_{target}", error_bars.MASSES.format(quantity=view_of(target).enclosed) + of_run, masses)


def _result_tables(inputs: Inputs, target: str) -> Iterator[Table]:
    key, data = model_of_paper(inputs), inputs.run.config.data.rstrip(".")
    yield contents.b200_table(inputs.metrics, target, key, data)
    floor = inputs.run.metrics.with_name(FLOOR)
    coverage = error_bars.coverage_table(inputs.metrics, target, data, unlike_of(inputs.predictions))
    scores = error_bars.scores_table(inputs.metrics, read_metrics(floor) if floor.exists() else None, target, data)
    yield from (table for table in (coverage, scores) if table is not None)
    yield contents.pixel_table(inputs.metrics, target, key, data)
    yield mmd_table([(shown_name(inputs), inputs.metrics)], target, data)
    if len(by_simulation(inputs.metrics)) > 1:
        yield contents.simulation_table(inputs.metrics, target, data)
    yield contents.projection_table(inputs.metrics, target, data)
    yield from crosschecks.check_tables(inputs.metrics, inputs.predictions, target)


def _sample_figures(inputs: Inputs) -> Iterator[Drawing]:
    halos = inputs.predictions.maps.halos
    by_mass = sample.sample_by_mass(halos)
    yield Drawing("fig1_sample", captions.SAMPLE, sample.sample_figure(by_mass, sample.terciles(halos)))
    yield Drawing("fig2_maps", captions.MAPS, maps_figure(inputs.predictions.maps, sample.spread_by_mass(halos), 0))
    yield Drawing("figA1_simulations", captions.SIMULATIONS, sample.simulations_figure(by_mass))
    for number, (name, of_paper) in enumerate(captions.FRACTIONS.items(), 2):
        caption = (
            f"{name.capitalize()} fraction inside R200 by mass and simulation (fig. A{number}): median, and 16th to "
            f"84th percentile as a band. {of_paper}"
        )
        yield Drawing(f"figA{number}_{name}_fraction", caption, sample.fraction_figure(by_mass, f"f_{name}"))


def _sample_tables(inputs: Inputs) -> Iterator[Table]:
    maps = inputs.predictions.maps
    yield sample.sample_table(maps)
    yield sample.by_mass_table(sample.sample_by_mass(maps.halos))
    unlike = likeness_table(inputs.metrics, unlike_of(inputs.predictions), inputs.run.config.data.rstrip("."))
    if unlike is not None:
        yield unlike


def _history_figures(inputs: Inputs) -> Iterator[Drawing]:
    config = inputs.run.config
    colour = style.colour_of(config.model)
    if inputs.trials:
        figure = curves.trials_figure(inputs.trials, config.tune.startup, colour)
        yield Drawing("trials", "Best validation loss of every trial of the tuning, by evaluation.", figure)
        yield from _tuning_figures(inputs, colour)
    yield Drawing("training", "The final training.", curves.training_figure(inputs.training, colour))


def _tuning_figures(inputs: Inputs, colour: str) -> Iterator[Drawing]:
    """What the trials are enough for; the numbers are in the tables `trials` and `importance`."""
    over_time, parallel = tuning.time_figure(inputs.trials, colour), tuning.parallel_figure(inputs.trials)
    if over_time is not None:
        yield Drawing("best_over_time", "The same losses by the time at which the trials ended.", over_time)
    if parallel is not None:
        yield Drawing("parallel_coordinates", captions.PARALLEL, parallel)
    found = inputs.importance
    if found is not None:
        caption = f"{captions.IMPORTANCE} R² = {found.explained:.2f}, from {found.trials} trials."
        yield Drawing("importance", caption, tuning.importance_figure(found, colour))


def _tuning_tables(inputs: Inputs) -> Iterator[Table]:
    if inputs.trials:
        yield contents.space_table(inputs.run.config.space, inputs.trials)
        if inputs.importance is not None:
            yield contents.importance_table(inputs.importance)
        yield contents.trials_table(inputs.trials)


def _provenance_tables(inputs: Inputs) -> Iterator[Table]:
    yield contents.steps_table(inputs.records)
    yield contents.data_table(inputs.predictions.maps)
    yield contents.versions_table(inputs.records)
    yield contents.settings_table(inputs.records)
