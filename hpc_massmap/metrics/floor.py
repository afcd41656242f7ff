"""The floor: what the best prediction without a network would score, so that what the network adds can be seen.

It is the scaling relation of the field. Richness is a view summed in apertures; a straight line through its logarithm
gives the target's mass, and training maps of the same mass give the profile. Every view of the model is tried alone,
and all together; the one that is best on the validation maps stands for the floor. R200, which would give M200 away,
is used by neither the floor nor the network.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.errors import InputError
from hpc_massmap.grid import squared_radii
from hpc_massmap.metrics.predictions import Predictions, training_of
from hpc_massmap.mpi import share
from hpc_massmap.views import title_of

if TYPE_CHECKING:
    from mpi4py import MPI

RINGS = (np.sqrt(squared_radii()) * PIXELS / 2).astype(np.int64)  # a pixel wide, by the distance of a pixel's centre
N_RINGS = int(RINGS.max()) + 1
PIXELS_INSIDE = np.bincount(RINGS.ravel())[: PIXELS // 2]  # in each ring of the disc of R200
APERTURES = (0.25, 0.5, 1.0)  # R200, in which a view is summed
BINS = 20  # of mass, equally full
FEWEST = 10  # training maps in each
MAPS_PER_BLOCK = 256
RIDGE = 1e-6  # of the variance: two views that say the same have no line of their own
FLOOR = "floor.h5"  # its metrics, beside the predictions


@dataclass(frozen=True)
class MeanProfiles:
    """Mean profiles of training maps, by richness.

    Attributes
    ----------
    richness : (bins,), mean log10 in each bin, ascending
    profiles : (bins, rings)
    """

    richness: FloatArray
    profiles: FloatArray

    def at(self, richness: FloatArray) -> FloatArray:
        """The profile at each richness, (n, rings), interpolated between bins and constant beyond them."""
        place = np.interp(richness, self.richness, np.arange(len(self.richness)))
        below = np.minimum(place.astype(np.int64), max(len(self.richness) - 2, 0))
        above = np.minimum(below + 1, len(self.richness) - 1)
        part = (place - below)[:, None]
        return np.asarray((1 - part) * self.profiles[below] + part * self.profiles[above])


@dataclass(frozen=True)
class Relation:
    """A scaling relation of one target.

    Attributes
    ----------
    views : whose sums it takes
    least : (f,), the smallest sum of each view and aperture in training; an empty map counts as that
    slopes, offset : (f,) and one number, of log10 mass against log10 sums
    means : profiles over mass, by mass
    """

    views: list[str]
    least: FloatArray
    slopes: FloatArray
    offset: float
    means: MeanProfiles

    def profiles(self, sums: FloatArray) -> FloatArray:
        """Of the target: (n, rings).

        Parameters
        ----------
        sums : (n, f), of `sums_of`
        """
        mass = self.offset + _dot(np.log10(np.maximum(sums, self.least)), self.slopes)
        return self.means.at(mass) * 10.0 ** mass[:, None]


@dataclass(frozen=True)
class Floor(Predictions):
    """Predictions that were never written: those of the best relation, for the test maps of a model.

    Attributes
    ----------
    best : of each target
    validation : (n,), rows of the map file that chose it
    """

    best: dict[str, Relation]
    validation: IntArray

    def of_validation(self) -> "Floor":
        """What it says of the maps that chose it, by which its own errors are known."""
        return replace(self, rows=self.validation)

    def block(self, target: str, part: slice) -> tuple[FloatArray, FloatArray]:
        true = self.maps.maps[target][self.rows[part]].astype(np.float64)
        relation = self.best[target]
        predicted = relation.profiles(sums_of(self.maps, self.rows[part], relation.views))[:, RINGS]
        # as a file of predictions would hold them
        return predicted.astype(np.float32).astype(np.float64), true


def floor_of(predictions: Predictions, comm: "MPI.Intracomm") -> Floor | None:
    """The floor under some predictions, for `evaluate`; None if they do not say what trained. Call it on all ranks.

    Raises
    ------
    InputError
        If a test map is among those that trained or validated.
    """
    training = training_of(predictions)
    if training is None:
        return None
    maps = predictions.maps
    both = np.intersect1d(np.concatenate([training.rows, training.validation]), predictions.rows)
    if len(both):
        raise InputError(f"{predictions.path}: map {both[0]} is in the training and the test set; predict again")
    train, validation = (
        _Seen.of(maps, rows, training.views, predictions.targets, comm) for rows in (training.rows, training.validation)
    )
    best, said = {}, []
    for target in predictions.targets:
        tried = [relation_of(train, target, views) for views in candidates(training.views)]
        scores = [_mean_bias(relation, validation, target) for relation in tried]
        best[target] = tried[int(np.argmin(scores))]
        said.append(_description(target, best[target], dict(zip(_names(training.views), scores, strict=True))))
    return Floor(
        predictions.path, maps, "; ".join(said), predictions.targets, predictions.rows, best, training.validation
    )


def candidates(views: list[str]) -> list[list[str]]:
    """Every view alone, and all together."""
    return [[view] for view in views] + ([views] if len(views) > 1 else [])


def _names(views: list[str]) -> list[str]:
    return [" with ".join(map(title_of, tried)) for tried in candidates(views)]


def _description(target: str, best: Relation, scores: dict[str, float]) -> str:
    chosen = " with ".join(map(title_of, best.views))
    tried = ", ".join(f"{name} {score:.3f}" for name, score in scores.items())
    return f"{title_of(target)} by the richness of {chosen} (mean |b200| on validation maps: {tried})"


@dataclass(frozen=True)
class _Seen:
    """What the floor knows of some maps.

    Attributes
    ----------
    sums : view -> (n, apertures)
    profiles : target -> (n, rings)
    """

    sums: dict[str, FloatArray]
    profiles: dict[str, FloatArray]

    @classmethod
    def of(cls, maps: MapFile, rows: IntArray, views: list[str], targets: list[str], comm: "MPI.Intracomm") -> "_Seen":
        own = rows[share(len(rows), comm)]
        sums = {view: np.concatenate(comm.allgather(sums_of(maps, own, [view]))) for view in views}
        return cls(
            sums, {target: np.concatenate(comm.allgather(_profiles_of(maps, own, target))) for target in targets}
        )

    def sums_of(self, views: list[str]) -> FloatArray:
        return np.concatenate([self.sums[view] for view in views], axis=1)


def relation_of(train: _Seen, target: str, views: list[str]) -> Relation:
    """The straight line of the logarithms, and the mean profiles over mass along it."""
    sums, profiles = train.sums_of(views), train.profiles[target]
    mass = mass_inside(profiles)
    least = np.array([column[column > 0].min(initial=np.inf) for column in sums.T])
    least[np.isinf(least)] = 1.0  # nothing anywhere
    known = mass > 0
    if not known.any():
        return Relation(views, least, np.zeros(len(least)), 0.0, mean_profiles(mass, profiles))
    logs, log_mass = np.log10(np.maximum(sums, least)), np.log10(mass[known])
    slopes, offset = straight_line(logs[known], log_mass)
    predicted = offset + _dot(logs, slopes)
    return Relation(views, least, slopes, offset, mean_profiles(predicted, profiles / 10.0 ** predicted[:, None]))


def straight_line(x: FloatArray, y: FloatArray) -> tuple[FloatArray, float]:
    """Least squares of y, (n,), against all columns of x, (n, f): the slopes and the offset.

    The sums are numpy's own, so that they are the same on any number of threads.
    """
    centre, scale = x.mean(axis=0), x.std(axis=0)
    standard = (x - centre) / np.where(scale > 0, scale, 1.0)
    normal = np.einsum("ni,nj->ij", standard, standard) / len(x) + RIDGE * np.eye(x.shape[1])
    right = np.einsum("ni,n->i", standard, y - y.mean()) / len(x)
    slopes = np.linalg.solve(normal, right) / np.where(scale > 0, scale, 1.0)
    return slopes, float(y.mean() - np.sum(centre * slopes))


def mean_profiles(richness: FloatArray, profiles: FloatArray) -> MeanProfiles:
    """Bins of equally many training maps, and the mean profile in each.

    Parameters
    ----------
    richness : (n,)
    profiles : (n, rings)
    """
    order = np.argsort(richness, kind="stable")
    parts = np.array_split(order, min(BINS, max(1, len(order) // FEWEST)))
    return MeanProfiles(
        np.array([richness[part].mean() for part in parts]), np.stack([profiles[part].mean(axis=0) for part in parts])
    )


def radial_profiles(maps: FloatArray) -> FloatArray:
    """Mean of the pixels in each ring: (n, 80, 80) to (n, rings)."""
    pixels = np.bincount(RINGS.ravel(), minlength=N_RINGS)
    return np.stack([np.bincount(RINGS.ravel(), one.ravel(), minlength=N_RINGS) / pixels for one in maps])


def mass_inside(profiles: FloatArray) -> FloatArray:
    """Sum of the pixels inside R200, from profiles (n, rings): (n,)."""
    return np.asarray((profiles[:, : len(PIXELS_INSIDE)] * PIXELS_INSIDE).sum(axis=1))


def sums_of(maps: MapFile, rows: IntArray, views: list[str]) -> FloatArray:
    """Sums of the pixels of views in each of the apertures: (n, views x apertures)."""
    inside = [squared_radii() <= radius**2 for radius in APERTURES]
    sums = np.empty((len(rows), len(views), len(inside)))
    for start in range(0, len(rows), MAPS_PER_BLOCK):
        part = slice(start, start + MAPS_PER_BLOCK)
        for v, view in enumerate(views):
            pixels = maps.maps[view][rows[part]].astype(np.float64)
            for a, aperture in enumerate(inside):  # one by one, so that no result depends on its neighbours
                sums[part, v, a] = [one[aperture].sum() for one in pixels]
    return sums.reshape(len(rows), -1)


def _dot(columns: FloatArray, slopes: FloatArray) -> FloatArray:
    """Row by row, so that no result depends on its neighbours."""
    return np.asarray((columns * slopes).sum(axis=1))


def _mean_bias(relation: Relation, seen: _Seen, target: str) -> float:
    true = mass_inside(seen.profiles[target])
    predicted = mass_inside(relation.profiles(seen.sums_of(relation.views)))
    known = true > 0
    return float(np.mean(np.abs(predicted[known] / true[known] - 1))) if known.any() else 0.0


def _profiles_of(maps: MapFile, rows: IntArray, target: str) -> FloatArray:
    blocks = [
        radial_profiles(maps.maps[target][rows[start : start + MAPS_PER_BLOCK]].astype(np.float64))
        for start in range(0, len(rows), MAPS_PER_BLOCK)
    ]
    return np.concatenate([np.empty((0, N_RINGS)), *blocks])
