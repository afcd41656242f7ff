"""Batches of normalised maps: one gather from the memory-mapped file each, no per-sample Python.

The gather normalises on the way: each pixel is read once from the page cache and written once into the batch. The order
of an epoch, and how its maps are turned, follow from (seed, epoch) alone, so a resumed run sees the batches an
undisturbed one would, on any number of ranks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from hpc_massmap.arrays import PIXELS, IntArray
from hpc_massmap.compiled import compiled
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.normalisation import Normalisation

SYMMETRIES = 8  # of the square: four turns, each as it is and mirrored

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """One rank's share of a batch; `of_batch` is the number of maps on all ranks.

    Chance that a loss needs, of a map, follows from `stream` and its row.
    """

    views: torch.Tensor  # (n, views, 80, 80)
    targets: torch.Tensor  # (n, targets, 80, 80)
    of_batch: int
    rows: IntArray  # (n,)
    stream: tuple[int, ...] = ()  # seed and epoch of a training; none of a validation, which is the same each time


@dataclass(frozen=True)
class Batches:
    """The batches of one rank.

    Attributes
    ----------
    rows : rows of the map file to draw from
    batch_size : over all ranks
    augment : give every map of a training epoch one of the symmetries of the square, the same in views and targets
    take : gives views and targets of rows, where they are held normalised; they are gathered from the file otherwise
    """

    maps: MapFile
    rows: IntArray
    views: list[str]
    targets: list[str]
    normalisation: Normalisation
    batch_size: int
    rank: int = 0
    world: int = 1
    augment: bool = False
    take: Callable[[IntArray], tuple[torch.Tensor, torch.Tensor]] | None = None

    def gather(self, rows: IntArray, names: list[str]) -> torch.Tensor:
        """Normalised maps, (len(rows), len(names), 80, 80) float32."""
        gathered = np.empty((len(rows), len(names), PIXELS, PIXELS), np.float32)
        fitted = self.normalisation
        for channel, name in enumerate(names):
            stack = self.maps.maps[name]
            source, which = (stack, rows) if isinstance(stack, np.memmap) else (stack[rows], np.arange(len(rows)))
            mean, inverse = np.float32(fitted.mean[name]), np.float32(1 / fitted.std[name])
            if fitted.kind == "log":
                _gather_log(source, which, np.float32(fitted.floor[name]), mean, inverse, gathered, channel)
            else:
                _gather(source, which, mean, inverse, gathered, channel)
        return torch.from_numpy(gathered)

    def _maps(self, rows: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        if self.take is not None:
            return self.take(rows)
        return self.gather(rows, self.views), self.gather(rows, self.targets)

    def _batch(self, rows: IntArray, symmetries: IntArray | None, stream: tuple[int, int]) -> Batch:
        share = np.array_split(rows, self.world)[self.rank]
        views, targets = self._maps(share)
        if symmetries is not None:
            own = np.array_split(symmetries, self.world)[self.rank]
            views, targets = turned(views, own), turned(targets, own)
        return Batch(views, targets, len(rows), share, stream)

    def shuffled(self, seed: int, epoch: int, maps_per_epoch: int | None, first_step: int = 0) -> Iterator[Batch]:
        """A training epoch from one of its steps on. A last batch too small to give every rank a map is left out."""
        stream = np.random.default_rng([seed, epoch])
        order = stream.permutation(self.rows)[:maps_per_epoch]
        symmetries = stream.integers(SYMMETRIES, size=len(order)) if self.augment else None
        for start in range(first_step * self.batch_size, len(order), self.batch_size):
            part = slice(start, start + self.batch_size)
            if len(order[part]) >= self.world:
                yield self._batch(order[part], None if symmetries is None else symmetries[part], (seed, epoch))

    def steps(self, maps_per_epoch: int | None) -> int:
        """How many batches a training epoch has."""
        n_maps = min(len(self.rows), maps_per_epoch or len(self.rows))
        full, rest = divmod(n_maps, self.batch_size)
        return full + (rest >= self.world and rest > 0)

    def in_order(self) -> Iterator[Batch]:
        """This rank's share of all rows, once; for validation."""
        share = np.array_split(self.rows, self.world)[self.rank]
        for start in range(0, len(share), self.batch_size):
            rows = share[start : start + self.batch_size]
            yield Batch(*self._maps(rows), len(rows), rows)


def turned(maps: torch.Tensor, symmetries: IntArray) -> torch.Tensor:
    """Each map turned by one of the symmetries of the square.

    Parameters
    ----------
    maps : (n, channels, 80, 80)
    symmetries : (n,), quarter turns for 0 to 3, quarter turns of the mirror image for 4 to 7
    """
    place = _places(maps.shape[-1], maps.device)[moved(torch.from_numpy(symmetries), maps.device)]
    return maps.flatten(2).gather(2, place[:, None].expand(-1, maps.shape[1], -1)).view_as(maps)


@cache
def _places(side: int, device: torch.device) -> torch.Tensor:
    """Which pixel of a map each pixel of its eight images is, (8, side^2)."""
    plain = np.arange(side**2).reshape(side, side)
    images = [np.rot90(mirrored, turns) for mirrored in (plain, plain[:, ::-1]) for turns in range(4)]
    return torch.from_numpy(np.stack(images).reshape(SYMMETRIES, -1)).to(device)


def moved(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The same values on the device, without waiting for it; any shape."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


@compiled(nogil=True)
def _gather(source: Maps, rows: IntArray, mean: np.float32, inverse: np.float32, gathered: Maps, channel: int) -> None:
    for n in range(len(rows)):
        own = source[rows[n]]
        result = gathered[n, channel]
        for i in range(own.shape[0]):
            for j in range(own.shape[1]):
                result[i, j] = (own[i, j] - mean) * inverse


@compiled(nogil=True)
def _gather_log(
    source: Maps, rows: IntArray, floor: np.float32, mean: np.float32, inverse: np.float32, gathered: Maps, channel: int
) -> None:
    for n in range(len(rows)):
        own = source[rows[n]]
        result = gathered[n, channel]
        for i in range(own.shape[0]):
            for j in range(own.shape[1]):
                result[i, j] = (np.log10(own[i, j] + floor) - mean) * inverse
