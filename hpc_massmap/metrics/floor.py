"""The floor: what a prediction without a network would score, so that what the network adds can be seen.

Each test map is given the mean radial profile of training maps that are equally rich. Richness is the sum of one view's
pixels, which is what the network sees too; R200, which would give M200 away, is used by neither.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.errors import InputError
from hpc_massmap.grid import squared_radii
from hpc_massmap.metrics.predictions import Predictions, training_of
from hpc_massmap.mpi import share

if TYPE_CHECKING:
    from mpi4py import MPI

RINGS = (np.sqrt(squared_radii()) * PIXELS / 2).astype(np.int64)  # a pixel wide, by the distance of a pixel's centre
N_RINGS = int(RINGS.max()) + 1
BINS = 20  # of richness, equally full
FEWEST = 10  # training maps in each
MAPS_PER_BLOCK = 256
NAME = "mean profile by richness"
FLOOR = "floor.h5"  # its metrics, beside the predictions
RICHNESS = ("star", "sz", "xray")  # in this order


@dataclass(frozen=True)
class MeanProfiles:
    """Mean profiles of training maps, by richness.

    Attributes
    ----------
    richness : (bins,), mean log10 of the sum of a view's pixels, ascending
    profiles : (bins, rings), in the target's unit
    """

    richness: FloatArray
    profiles: FloatArray

    def maps(self, richness: FloatArray) -> FloatArray:
        """The profile at each richness, interpolated between bins and constant beyond them, as (n, 80, 80) maps."""
        place = np.interp(richness, self.richness, np.arange(len(self.richness)))
        below = np.minimum(place.astype(np.int64), max(len(self.richness) - 2, 0))
        above = np.minimum(below + 1, len(self.richness) - 1)
        part = (place - below)[:, None]
        return np.asarray(((1 - part) * self.profiles[below] + part * self.profiles[above])[:, RINGS])


@dataclass(frozen=True)
class Floor(Predictions):
    """Predictions that were never written: the mean profiles, for the test maps of a model."""

    view: str
    means: dict[str, MeanProfiles]

    def block(self, target: str, part: slice) -> tuple[FloatArray, FloatArray]:
        """The mean profiles as maps and the true maps of some rows, each (n, 80, 80), in physical units."""
        true = self.maps.maps[target][self.rows[part]].astype(np.float64)
        predicted = self.means[target].maps(log_richness(self.maps, self.rows[part], self.view))
        # as a file of predictions would hold them
        return predicted.astype(np.float32).astype(np.float64), true


def richness_view(views: list[str]) -> str:
    """Which of a model's views tells how rich a cluster is."""
    return next((name for name in RICHNESS if name in views), views[0])


def floor_of(predictions: Predictions, comm: "MPI.Intracomm") -> Floor | None:
    """The floor under some predictions, for `evaluate`; None if they do not say what trained. Call it on all ranks.

    Raises
    ------
    InputError
        If a test map is among the training maps.
    """
    training = training_of(predictions)
    if training is None:
        return None
    train, views = training
    view, maps = richness_view(views), predictions.maps
    both = np.intersect1d(train, predictions.rows)
    if len(both):
        raise InputError(f"{predictions.path}: map {both[0]} is in the training and the test set; predict again")
    own = train[share(len(train), comm)]
    richness = np.concatenate(comm.allgather(log_richness(maps, own, view)))
    means = {
        target: mean_profiles(richness, np.concatenate(comm.allgather(_profiles_of(maps, own, target))))
        for target in predictions.targets
    }
    return Floor(predictions.path, maps, NAME, predictions.targets, predictions.rows, view, means)


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


def log_richness(maps: MapFile, rows: IntArray, view: str) -> FloatArray:
    """log10 of the sum of a view's pixels, (n,); of an empty map that of the smallest number."""
    sums = np.empty(len(rows))
    for start in range(0, len(rows), MAPS_PER_BLOCK):
        part = slice(start, start + MAPS_PER_BLOCK)
        sums[part] = maps.maps[view][rows[part]].astype(np.float64).sum(axis=(1, 2))
    return np.asarray(np.log10(np.maximum(sums, np.finfo(np.float64).tiny)))


def _profiles_of(maps: MapFile, rows: IntArray, target: str) -> FloatArray:
    blocks = [
        radial_profiles(maps.maps[target][rows[start : start + MAPS_PER_BLOCK]].astype(np.float64))
        for start in range(0, len(rows), MAPS_PER_BLOCK)
    ]
    return np.concatenate([np.empty((0, N_RINGS)), *blocks])
