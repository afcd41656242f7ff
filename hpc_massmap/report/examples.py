"""Which test maps the report shows (fig. 5), by a rule that leaves no choice, and what is drawn of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.predictions import Predictions
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics

EXAMPLES = 3
RULE = (
    "the test halos, sorted by M200, are cut into three groups of equal number; of each group the map is shown whose "
    "error, the mean |b(R)| over the ten radii of its profile, is the median of the group's maps"
)


@dataclass(frozen=True)
class Example:
    """One test map.

    Attributes
    ----------
    place : in the test set
    views : name -> (80, 80), what the model saw
    true, predicted : (80, 80), physical units
    r500 : in R200
    """

    place: int
    simulation: str
    log_m200: float
    redshift: float
    projection: int
    r500: float
    views: dict[str, npt.NDArray[np.float32]]
    true: FloatArray
    predicted: FloatArray


def typical_maps(metrics: Metrics, target: str) -> list[int]:
    """The places in the test set that `RULE` gives, from low to high mass; fewer if there are fewer halos."""
    with np.errstate(invalid="ignore"):
        error = np.abs(metrics.targets[target][Profiles].bias).mean(axis=1)
    halo, mass = metrics.maps["halo"], metrics.maps["m200"]
    halos, first = np.unique(halo, return_index=True)
    by_mass = halos[np.lexsort((halos, mass[first]))]
    chosen = []
    for group in np.array_split(by_mass, EXAMPLES):
        places = np.flatnonzero(np.isin(halo, group) & np.isfinite(error))
        if len(places):
            order = places[np.argsort(error[places], kind="stable")]
            chosen.append(int(order[(len(order) - 1) // 2]))
    return chosen


def read_examples(predictions: Predictions, metrics: Metrics, views: list[str], target: str) -> list[Example]:
    """The maps of `typical_maps`, which the model whose `views` these are predicted."""
    return [_read(predictions, place, views, target) for place in typical_maps(metrics, target)]


def _read(predictions: Predictions, place: int, views: list[str], target: str) -> Example:
    maps, row = predictions.maps, predictions.rows[place]
    predicted, true = predictions.block(target, slice(place, place + 1))
    halo: dict[str, Any] = {name: column[maps.halo[row]] for name, column in maps.halos.items()}
    return Example(
        place=place,
        simulation=str(halo["simulation"]),
        log_m200=float(np.log10(halo["m200"])),
        redshift=float(halo["redshift"]),
        projection=int(maps.projection[row]),
        r500=float(halo["r500"] / halo["r200"]),
        views={view: np.array(maps.maps[view][row]) for view in views},
        true=true[0],
        predicted=predicted[0],
    )
