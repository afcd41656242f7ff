"""The report's cross-checks: b200 against what else a halo is, between simulations, and beside the floor."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_massmap.metrics.crosschecks import Crossing, Trend, crossings, simulations_of
from hpc_massmap.metrics.crosschecks import trends as trends_of
from hpc_massmap.metrics.floor import FLOOR
from hpc_massmap.metrics.predictions import Predictions, training_of
from hpc_massmap.metrics.results import Metrics, read_metrics
from hpc_massmap.metrics.sample import interval_labels
from hpc_massmap.metrics.spread import Spread
from hpc_massmap.metrics.summary import b200_by_mass, pixels
from hpc_massmap.report import style
from hpc_massmap.report.contents import APERTURES, SPREAD, measured
from hpc_massmap.report.tables import Cell, Table
from hpc_massmap.views import title_of

PROPERTIES = {
    "f_gas": ("gas fraction", r"$M_\mathrm{gas}\,/\,M_{200}$"),
    "f_star": ("stellar fraction", r"$M_\mathrm{star}\,/\,M_{200}$"),
    "centroid_offset": ("centroid offset (R200)", r"centroid offset $[R_{200}]$"),
}
TRENDS = (
    f"{SPREAD} Quarters of the test halos by each property. Rank correlation: of the property with the mean b200 of a "
    "halo; at fixed mass: of what the rank of M200 does not explain of either. Centroid offset: of the true mass "
    "inside R200 from the centre, rms over the test projections; it stands for the relaxation state, which the map "
    "file does not hold."
)
FLOOR_NOTE = (
    f"{SPREAD} The floor has no network: a straight line through the logarithms of a view's sums in three apertures "
    "gives the mass, and training maps of that mass the profile. Of each view alone and all together it takes the best "
    "on validation maps: {floor}."
)


def check_tables(metrics: Metrics, predictions: Predictions, target: str) -> Iterator[Table]:
    """All the cross-checks that a run's files allow; the floor is read beside the predictions, if it was evaluated."""
    trends, training = trends_of(metrics, predictions.maps, target), training_of(predictions)
    floor = predictions.path.with_name(FLOOR)
    if training is not None:
        if floor.exists():
            yield floor_table(metrics, read_metrics(floor), target)
        found = crossings([(simulations_of(predictions.maps, training.rows), metrics)], target)
        yield crossings_table(found, target, target)
    if trends:
        yield trends_table(trends, target)


def trends_table(trends: list[Trend], target: str) -> Table:
    """b200 in quarters of the test halos by each property."""
    rows: list[list[Cell]] = []
    for trend in trends:
        for n, (median, b200, halos) in enumerate(zip(trend.median, trend.b200, trend.halos, strict=True)):
            correlations: list[Cell] = [None, None] if n else [trend.correlation, trend.at_fixed_mass]
            rows.append([PROPERTIES[trend.name][0], float(median), halos, measured(b200), *correlations])
    columns = ["property", "its median", "test halos", "b200", "rank correlation", "at fixed mass"]
    title = f"b200 against gas, stars and relaxation, {title_of(target)} maps"
    return Table(f"trends_{target}", title, f"{TRENDS}", columns, rows)


def trends_figure(trends: list[Trend], colour: str) -> Figure:
    """b200 against each property: median, and 16th to 84th percentile as bars; at least one trend."""
    with style.applied():
        figure = style.canvas(2.4)
        panels: list[Axes] = list(figure.subplots(1, len(trends), sharey=True, squeeze=False)[0])
        for panel, trend in zip(panels, trends, strict=True):
            middle = np.array([b200.median for b200 in trend.b200])
            below = middle - np.array([b200.p16 for b200 in trend.b200])
            above = np.array([b200.p84 for b200 in trend.b200]) - middle
            panel.axhline(0, color=style.GUIDE, ls="--", lw=0.8)
            panel.errorbar(trend.median, middle, [below, above], color=colour, marker="o", ms=3.5, capsize=2)
            panel.set_xlabel(PROPERTIES[trend.name][1])
            panel.set_title(f"rank corr. {trend.correlation:+.2f}, fixed mass {trend.at_fixed_mass:+.2f}")
        panels[0].set_ylabel(r"$b_{200}$")
    return figure


def crossings_table(found: list[Crossing], name: str, target: str) -> Table:
    """b200 of every model on every simulation; `name` ends that of its files."""
    rows: list[list[Cell]] = [
        [one.model, one.trained_on, one.tested_on, one.halos, measured(one.b200)] for one in found
    ]
    title = f"b200 by training and test simulation, {title_of(target)} maps"
    columns = ["model", "trained on", "tested on", "test halos", "b200"]
    return Table(f"trained_on_{name}", title, f"{SPREAD}", columns, rows)


def floor_table(metrics: Metrics, floor: Metrics, target: str) -> Table:
    """b200 and pixels of a model beside those of the floor."""
    rows: list[list[Cell]] = [
        [f"b200, {label.replace('<=', '≤')}", measured(own), measured(under), _gain(own, under)]
        for label, own, under in zip(
            interval_labels(metrics), b200_by_mass(metrics, target), b200_by_mass(floor, target), strict=True
        )
    ]
    for aperture, aperture_name in APERTURES.items():
        own, under = (pixels(one, target, aperture) for one in (metrics, floor))
        rows.append([f"pixels, {aperture_name}", measured(own), measured(under), _gain(own, under)])
    title = f"What the network adds, {title_of(target)} maps"
    columns = ["quantity", metrics.name, "floor", "scatter of the floor / of the model"]
    return Table(f"floor_{target}", title, FLOOR_NOTE.format(floor=floor.name), columns, rows)


def _gain(own: Spread, floor: Spread) -> float | None:
    """How many times wider the floor's 16th to 84th percentile is; None where there is nothing to divide by."""
    width = float(own.p84 - own.p16)
    return float(floor.p84 - floor.p16) / width if own.count and width > 0 else None
