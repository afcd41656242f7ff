"""Which test maps do not look like those that the network was made from, in the report."""

from collections.abc import Iterator

from hpc_massmap.diagnostics.estimate import share_of
from hpc_massmap.diagnostics.likeness import UNLIKE
from hpc_massmap.metrics.predictions import Predictions
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.metrics.sample import BoolArray, by_simulation, in_intervals, interval_labels
from hpc_massmap.report.tables import Cell, Table

NOTE = (
    f"Unlike: p < {UNLIKE:g} of belonging to the maps that trained and validated, by their views alone, calibrated by "
    f"region; of new maps of that kind {UNLIKE:.0%} or fewer. No error bar of such a map is calibrated. ± is half the "
    "68 % interval of a share, from a bootstrap over its n regions"
)
LIKE_PART, UNLIKE_PART = "like the training maps", f"unlike them (p < {UNLIKE:g}): not calibrated"


def unlike_of(predictions: Predictions) -> BoolArray | None:
    """Which test maps are unlike: (n,); None if the predictions do not say."""
    return None if predictions.likeness is None else ~(predictions.likeness >= UNLIKE)


def likeness_table(metrics: Metrics, unlike: BoolArray | None, data: str) -> Table | None:
    """How many test maps, of which (n,) are unlike, are so: of all, by mass and by simulation; None if unknown."""
    if unlike is None:
        return None
    rows: list[list[Cell]] = []
    for part, chosen in parts_of(metrics):
        if chosen.any():
            share = share_of(unlike[chosen].astype(float), metrics.maps["region"][chosen])
            rows.append([part, int(chosen.sum()), int(unlike[chosen].sum()), share.text()])
    title = "Test maps that do not look like what the network was trained on"
    columns = ["maps", "test maps", "unlike", "share"]
    return Table("likeness", title, f"{NOTE}.", columns, rows, f"Data of this run: {data}.")


def likeness_parts(unlike: BoolArray | None) -> Iterator[tuple[str, BoolArray]]:
    """The maps that are like the training's and those that are not, (n,) each; nothing where all are, or if unknown."""
    if unlike is not None and unlike.any():
        yield LIKE_PART, ~unlike
        yield UNLIKE_PART, unlike


def parts_of(metrics: Metrics) -> Iterator[tuple[str, BoolArray]]:
    """All maps, those of each mass interval, and those of each simulation if there are several: (n,) each."""
    yield "all", metrics.everything
    yield from zip([label.replace("<=", "≤") for label in interval_labels(metrics)], in_intervals(metrics), strict=True)
    simulations = by_simulation(metrics)
    yield from (simulations if len(simulations) > 1 else {}).items()
