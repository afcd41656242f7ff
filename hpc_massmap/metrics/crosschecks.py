"""Checks that the paper lacks: what else than mass the bias of b200 goes with, and how it travels between simulations.

A catalogue's relaxation parameters are not among the columns of the map file. The offset of the centroid of the true
mass map from the cluster's centre stands for them: it is what moves in a merger, seen in projection.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.grid import pixel_positions, squared_radii
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.metrics.sample import by_simulation
from hpc_massmap.metrics.spread import Spread, spread
from hpc_massmap.metrics.summary import b200_of

QUARTERS = 4
FEWEST_HALOS = 8  # two in each quarter
MAPS_PER_BLOCK = 256


@dataclass(frozen=True)
class Trend:
    """b200 against a property of the halo.

    Attributes
    ----------
    median : (bins,), of the property, over halos
    b200 : one a bin, over maps
    halos : how many in each bin
    correlation : rank correlation of the property with the halo's mean b200
    at_fixed_mass : the same between what ranks of mass do not explain of both
    """

    name: str
    median: FloatArray
    b200: list[Spread]
    halos: list[int]
    correlation: float
    at_fixed_mass: float


def properties(metrics: Metrics, maps: MapFile) -> dict[str, FloatArray]:
    """What b200 is held against, name -> (n,) one value a test map; NaN where the data do not say."""
    halo = metrics.maps["halo"]
    found = {name: maps.halos[name][halo].astype(np.float64) for name in ("f_gas", "f_star")}
    if "mass" in maps.maps:
        found["centroid_offset"] = over_halos(centroid_offsets(maps, metrics.maps["row"]), halo)
    return {name: values for name, values in found.items() if np.isfinite(values).any()}


def trend(metrics: Metrics, target: str, name: str, values: FloatArray) -> Trend | None:
    """b200 in quarters of the halos by a property; None for too few halos, or a property that does not vary.

    Parameters
    ----------
    values : (n,), the property of each map's halo; maps of a halo with NaN are left out
    """
    bias = metrics.targets[target][Profiles].bias[:, -1]
    known = np.isfinite(values) & np.isfinite(bias)
    b200, values, draws = bias[known], values[known], metrics.draws.of(known)
    halo, log_m200 = metrics.maps["halo"][known], metrics.log_m200[known]
    _, first, place = np.unique(halo, return_index=True, return_inverse=True)
    of_halo = values[first]
    if len(first) < FEWEST_HALOS or np.ptp(of_halo) == 0:
        return None
    parts = np.array_split(np.argsort(of_halo, kind="stable"), QUARTERS)
    mean = np.bincount(place, b200) / np.bincount(place)
    ranks = [rankdata(column) for column in (of_halo, mean, log_m200[first])]
    return Trend(
        name,
        np.array([np.median(of_halo[part]) for part in parts]),
        [spread(b200[chosen], draws.of(chosen)) for chosen in (np.isin(place, part) for part in parts)],
        [len(part) for part in parts],
        _correlation(ranks[0], ranks[1]),
        _correlation(_unexplained(ranks[0], ranks[2]), _unexplained(ranks[1], ranks[2])),
    )


def trends(metrics: Metrics, maps: MapFile, target: str) -> list[Trend]:
    """b200 of a target against every property that the data have."""
    found = [trend(metrics, target, name, values) for name, values in properties(metrics, maps).items()]
    return [one for one in found if one is not None]


def centroid_offsets(maps: MapFile, rows: IntArray) -> FloatArray:
    """Distance of the centroid of the mass inside R200 from the centre, (n,), in R200."""
    position = pixel_positions()
    inside = squared_radii() <= 1
    offsets = np.empty(len(rows))
    for start in range(0, len(rows), MAPS_PER_BLOCK):
        part = slice(start, start + MAPS_PER_BLOCK)
        mass = maps.maps["mass"][rows[part]] * inside.astype(np.float64)
        moments = np.stack([mass.sum(axis=2) @ position, mass.sum(axis=1) @ position])
        offsets[part] = np.hypot(*moments) / mass.sum(axis=(1, 2))
    return offsets


def over_halos(values: FloatArray, halo: IntArray) -> FloatArray:
    """The root mean square over each halo's maps, given to each of them: (n,)."""
    _, place = np.unique(halo, return_inverse=True)
    return np.asarray(np.sqrt(np.bincount(place, values**2) / np.bincount(place))[place])


@dataclass(frozen=True)
class Crossing:
    """b200 of a model's test maps of one simulation."""

    model: str
    trained_on: str
    tested_on: str
    b200: Spread
    halos: int


def crossings(models: list[tuple[str, Metrics]], target: str) -> list[Crossing]:
    """Every model on the test maps of every simulation: the matrix of training and test simulations, row by row.

    Parameters
    ----------
    models : what each was trained on (`simulations_of` the rows that `training_of` gives), and its metrics
    """
    return [
        Crossing(
            metrics.name,
            trained_on,
            name,
            b200_of(metrics, target, inside),
            len(np.unique(metrics.maps["halo"][inside])),
        )
        for trained_on, metrics in models
        for name, inside in by_simulation(metrics).items()
    ]


def simulations_of(maps: MapFile, rows: IntArray) -> str:
    """The simulations that some maps, rows (n,) of the map file, are from, as text."""
    names: npt.NDArray[np.str_] = maps.halos["simulation"][np.unique(maps.halo[rows])]
    return " + ".join(sorted({str(name) for name in names}))


def _unexplained(ranks: FloatArray, by: FloatArray) -> FloatArray:
    """What is left of ranks after a straight line through those of another quantity."""
    centred, other = ranks - ranks.mean(), by - by.mean()
    size = np.dot(other, other)
    return np.asarray(centred - other * (np.dot(centred, other) / size if size else 0.0))


def _correlation(a: FloatArray, b: FloatArray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt(np.dot(a, a) * np.dot(b, b))
    # what rounding leaves of a quantity that the other explains wholly is no quantity
    return float(np.dot(a, b) / size) if size > 1e-9 * len(a) ** 2 else 0.0
