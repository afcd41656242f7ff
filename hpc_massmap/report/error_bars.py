"""The report's error bars: whether they hold, how sharp they are, and the mass profiles that they belong to."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_massmap.apertures import RADII
from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.diagnostics.calibration import read_calibration
from hpc_massmap.diagnostics.coverage import LEVELS
from hpc_massmap.diagnostics.estimate import Estimate, ratio_of
from hpc_massmap.diagnostics.pit import BINS
from hpc_massmap.metrics.calibrate import check_calibration
from hpc_massmap.metrics.coverage import Calibrated, Coverage
from hpc_massmap.metrics.error_bars import Known, error_bars_of
from hpc_massmap.metrics.pit import Pit
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.metrics.sample import BoolArray, by_projection
from hpc_massmap.metrics.scores import Scores
from hpc_massmap.metrics.tarp import CREDIBILITIES, Tarp
from hpc_massmap.report import style
from hpc_massmap.report.examples import Example
from hpc_massmap.report.figures import BAND, say
from hpc_massmap.report.inputs import Inputs
from hpc_massmap.report.likeness import likeness_parts, parts_of
from hpc_massmap.report.tables import Cell, Table
from hpc_massmap.views import title_of, view_of

ONE_SIGMA = LEVELS.index(0.68)
NOTE = (
    "± is half the 68 % interval of a share, from a bootstrap over its n regions with Student's t; where all regions "
    "agree 1/(n + 1). Calibrated: by region, on the maps that validated. A level that so few regions cannot promise "
    "has no interval"
)
COVERAGE = (
    "Left: share of test maps whose b200, and of pixels whose truth, lies in the interval of each level; filled: "
    "calibrated by region, open: as the model gives them. Right: the same of 68 % by radius, of the mass inside R and "
    "of the pixels of the ring that ends there. On the line an error bar is right, below it too small."
)
PIT = (
    "Where in what is said of it the truth lies: density of the PIT of b200 and of all pixels, 1 if all is right; and "
    "TARP over whole maps, the share of maps in credible regions of each level, on the line if pixels go together as "
    "they should."
)
MASSES = (
    "Enclosed {quantity} of the maps of figure 5 with its calibrated intervals of 68 % (dark) and, where so many "
    "regions promise it, 95 % (light), over the true one; points: the predicted map."
)


def judged(metrics: Metrics, target: str) -> Coverage | None:
    """The coverage that counts: calibrated, else as the model gives it; None without error bars."""
    of = metrics.targets[target]
    return of.find(Calibrated) or of.find(Coverage)


def held_text(metrics: Metrics, target: str, chosen: BoolArray) -> str | None:
    """The share of some maps, (n,) of bool, whose 68 % interval holds b200, as a cell; None where nobody knows."""
    coverage = judged(metrics, target)
    if coverage is None or not chosen.any():
        return None
    found = coverage.b200_of(metrics, chosen).at(ONE_SIGMA)
    return None if np.isnan(found.value) else found.text()


def pixel_errors(inputs: Inputs, target: str, places: IntArray) -> FloatArray | None:
    """Half the 68 % interval of the pixels of the test maps at some places, (n, 80, 80); None where there is none."""
    coverage = judged(inputs.metrics, target)
    if coverage is None:
        return None
    predictions, known, found = inputs.predictions, Known(), []
    if isinstance(coverage, Calibrated):
        calibration = read_calibration(inputs.run.calibration)
        check_calibration(inputs.run.calibration, calibration, predictions)
        known = Known.by(calibration)
    for place in places:
        part = slice(place, place + 1)
        mean, _ = predictions.block(target, part)
        intervals = error_bars_of(predictions, target, part, mean, known).pixels()
        assert intervals is not None
        found.append((intervals[1][ONE_SIGMA, 0] - intervals[0][ONE_SIGMA, 0]) / 2)
    errors = np.stack(found)
    return errors if np.isfinite(errors).all() else None


def coverage_figure(metrics: Metrics, target: str, colour: str) -> Figure:
    """Coverage by level, and of 68 % by radius; of a target with error bars."""
    everything, of = metrics.everything, metrics.targets[target]
    with style.applied():
        figure = style.canvas(2.9)
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color=style.GUIDE, ls="--", lw=0.8)
        right.axhline(LEVELS[ONE_SIGMA], color=style.GUIDE, ls="--", lw=0.8)
        for coverage, face in ((of.find(Coverage), "white"), (of.find(Calibrated), None)):
            if coverage is None:
                continue
            found = {"b200": coverage.b200_of(metrics, everything), "pixels": coverage.pixels_of(metrics, everything)}
            masses = coverage.masses_of(metrics, everything).at(ONE_SIGMA)
            rings = coverage.rings_of(metrics, everything).at(ONE_SIGMA).at(slice(len(RADII)))
            by_radius = {"mass inside R": masses, "pixels of the ring": rings}
            for panel, places, shown in ((left, np.array(LEVELS), found), (right, RADII, by_radius)):
                for (name, shares), tone, shift in zip(shown.items(), (colour, style.TRUTH), (-1, 1), strict=True):
                    label = f"{name}, {'calibrated' if face is None else 'by itself'}"
                    points(panel, places + 0.004 * shift, shares, tone, label, face)
        left.set(xlabel="level of the interval", ylabel="share that is held", xlim=(0.4, 1), ylim=(0, 1.02))
        right.set(xlabel=r"$R\,/\,R_{200}$", ylabel="share held by 68 %", ylim=(0, 1.02))
        left.legend(loc="lower right")
        right.legend(loc="lower right")
    return figure


def points(panel: Axes, places: FloatArray, found: Estimate, colour: str, label: str, face: str | None) -> None:
    """Numbers with their errors at places, (k,), where there are any."""
    some = ~np.isnan(found.value)
    if not some.any():
        return
    look: dict[str, Any] = {"marker": "o", "ms": 3.5, "mfc": face, "ls": "none", "capsize": 2}
    panel.errorbar(places[some], found.value[some], np.nan_to_num(found.error[some]), color=colour, label=label, **look)


def pit_figure(metrics: Metrics, target: str, colour: str) -> Figure | None:
    """PITs of b200 and of pixels, and TARP; None of a model that says one map."""
    pit, tarp = metrics.targets[target].find(Pit), metrics.targets[target].find(Tarp)
    if pit is None:
        return None
    everything, edges = metrics.everything, np.linspace(0, 1, BINS + 1)
    with style.applied():
        figure = style.canvas(2.5)
        panels: list[Axes] = list(figure.subplots(1, 3))
        densities = pit.density_of_b200(metrics, everything), pit.density_of_pixels(metrics, everything)
        for panel, name, density in zip(panels[:2], ("b200", "pixels"), densities, strict=True):
            panel.set(xlabel=f"PIT of {name}", xlim=(0, 1))
            if density is None:
                say(panel, "known of pixels alone")
                continue
            panel.stairs(density.value, edges, color=colour, fill=True, alpha=BAND)
            points(panel, (edges[1:] + edges[:-1]) / 2, density, colour, "", None)
            panel.axhline(1, color=style.GUIDE, ls="--", lw=0.8)
            panel.set_ylim(0, None)
        panels[0].set_ylabel("density")
        panels[2].plot([0, 1], [0, 1], color=style.GUIDE, ls="--", lw=0.8)
        panels[2].set(xlabel="credibility", ylabel="share of maps, TARP", xlim=(0, 1), ylim=(0, 1))
        if tarp is None:
            say(panels[2], "known of samples alone")
        else:
            points(panels[2], CREDIBILITIES, tarp.coverage_of(metrics, everything), colour, "", None)
    return figure


def masses_figure(metrics: Metrics, examples: list[Example], target: str, colour: str) -> Figure | None:
    """Calibrated intervals of enclosed masses over the truth, of the example maps; None without a calibration."""
    calibrated, profiles = metrics.targets[target].find(Calibrated), metrics.targets[target][Profiles]
    if calibrated is None or not examples:
        return None
    with style.applied():
        figure = style.canvas(2.4)
        panels: list[Axes] = list(figure.subplots(1, len(examples), sharey=True, squeeze=False)[0])
        for panel, example in zip(panels, examples, strict=True):
            true, predicted = profiles.mass_true[example.place], profiles.mass_predicted[example.place]
            for k, alpha in ((len(LEVELS) - 1, BAND / 2), (ONE_SIGMA, BAND)):
                low, high = calibrated.low[example.place, k] / true, calibrated.high[example.place, k] / true
                if np.isfinite(high).all():
                    panel.fill_between(RADII, low, high, color=colour, alpha=alpha, lw=0)
            panel.plot(RADII, predicted / true, color=colour, marker="o", ms=3, lw=0)
            panel.axhline(1, color=style.TRUTH, lw=1)
            panel.set(xlabel=r"$R\,/\,R_{200}$", title=rf"$\log_{{10}}\,M_{{200}} = {example.log_m200:.2f}$")
        panels[0].set_ylabel(f"{view_of(target).enclosed} inside R / truth")
    return figure


def coverage_table(metrics: Metrics, target: str, data: str, unlike: BoolArray | None = None) -> Table | None:
    """Coverage of b200 and of pixels, over all maps, of which (n,) are unlike the training's, and by parts; or None."""
    coverage = judged(metrics, target)
    if coverage is None:
        return None
    rows: list[list[Cell]] = []
    for part, chosen in (*_parts(metrics), *likeness_parts(unlike)):
        if not chosen.any():
            continue
        b200, pixels = coverage.b200_of(metrics, chosen), coverage.pixels_of(metrics, chosen)
        of_both = [b200.at(k).text() for k in range(len(LEVELS))] + [pixels.at(ONE_SIGMA).text()]
        rows.append([part, int(chosen.sum()), *of_both])
    columns = ["maps", "test maps", *(f"b200, {level:.0%}" for level in LEVELS), "pixels, 68%"]
    title = f"Share of truths in intervals, {coverage.words}, {title_of(target)} maps"
    return Table(f"coverage_{target}", title, f"{NOTE}.", columns, rows, f"Data of this run: {data}.")


def _parts(metrics: Metrics) -> Iterator[tuple[str, BoolArray]]:
    yield from parts_of(metrics)
    yield from ((f"line of sight {number}", chosen) for number, chosen in by_projection(metrics).items())


def scores_table(metrics: Metrics, floor: Metrics | None, target: str, data: str) -> Table | None:
    """CRPS and interval scores, and their ratios to the two baselines; None without error bars."""
    scores = metrics.targets[target].find(Scores)
    if scores is None:
        return None
    under = None if floor is None else floor.targets[target].find(Scores)
    beside = {} if under is None else dict(_scored(under))
    region, rows = metrics.maps["region"], list[list[Cell]]()
    for name, (own, constant) in _scored(scores):
        if not np.isnan(own).all():
            of_floor = _ratio(own, beside[name][0], region) if name in beside else None
            rows.append([name, float(np.nanmean(own)), _ratio(own, constant, region), of_floor])
    columns_shown = ["score, in parts of the truth", "mean", "over that of constant width", "over that of the floor"]
    note = (
        "The less the better. Constant width: the errors of this model's maps over the maps that validated, the same "
        f"for all; floor: no network, with errors by the same rule. {NOTE}."
    )
    title = f"Scores of error bars, {title_of(target)} maps"
    return Table(f"scores_{target}", title, note, columns_shown, rows, f"Data of this run: {data}.")


def _scored(of: Scores) -> Iterator[tuple[str, tuple[FloatArray, FloatArray]]]:
    """Each score of every map, and that of constant width, (n,) each."""
    yield "CRPS of b200", (of.crps_masses[:, -1], of.constant_crps_masses[:, -1])
    yield "CRPS of pixels inside R200", (_inside(of.crps_pixels), _inside(of.constant_crps_pixels))
    for k, level in enumerate(LEVELS):
        both = of.interval_masses[:, k, -1], of.constant_interval_masses[:, k, -1]
        yield f"interval score of b200, {level:.0%}", both


def _inside(of_rings: FloatArray) -> FloatArray:
    return np.asarray(of_rings[:, : len(RADII)].mean(axis=1))


def _ratio(own: FloatArray, other: FloatArray, region: npt.NDArray[np.generic]) -> str | None:
    found = ratio_of(own, other, region)
    return None if np.isnan(found.value) else found.text()
