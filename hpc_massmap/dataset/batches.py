"""Batches of normalised maps: one gather from the memory-mapped file each, no per-sample Python.

The order of an epoch follows from (seed, epoch) alone, so a resumed run sees the batches an undisturbed one would.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hpc_massmap.arrays import IntArray
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.normalisation import Normalisation


@dataclass(frozen=True)
class Batch:
    """One rank's share of a batch; `of_batch` is the number of maps on all ranks."""

    views: torch.Tensor  # (n, views, 80, 80)
    targets: torch.Tensor  # (n, targets, 80, 80)
    of_batch: int


@dataclass(frozen=True)
class Batches:
    """The batches of one rank.

    Attributes
    ----------
    rows : rows of the map file to draw from
    batch_size : over all ranks
    """

    maps: MapFile
    rows: IntArray
    views: list[str]
    targets: list[str]
    normalisation: Normalisation
    batch_size: int
    rank: int = 0
    world: int = 1

    def gather(self, rows: IntArray, names: list[str]) -> torch.Tensor:
        """Normalised maps, (len(rows), len(names), 80, 80) float32."""
        physical = np.stack([self.maps.maps[name][rows] for name in names], axis=1)
        return self.normalisation.apply(torch.from_numpy(physical), names)

    def _batch(self, rows: IntArray) -> Batch:
        share = np.array_split(rows, self.world)[self.rank]
        return Batch(self.gather(share, self.views), self.gather(share, self.targets), len(rows))

    def shuffled(self, seed: int, epoch: int, maps_per_epoch: int | None, first_step: int = 0) -> Iterator[Batch]:
        """A training epoch from one of its steps on. A last batch too small to give every rank a map is left out."""
        order = np.random.default_rng([seed, epoch]).permutation(self.rows)[:maps_per_epoch]
        for start in range(first_step * self.batch_size, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            if len(rows) >= self.world:
                yield self._batch(rows)

    def steps(self, maps_per_epoch: int | None) -> int:
        """Batches of a training epoch."""
        n_maps = min(len(self.rows), maps_per_epoch or len(self.rows))
        full, rest = divmod(n_maps, self.batch_size)
        return full + (rest >= self.world and rest > 0)

    def in_order(self) -> Iterator[Batch]:
        """This rank's share of all rows, once; for validation."""
        share = np.array_split(self.rows, self.world)[self.rank]
        for start in range(0, len(share), self.batch_size):
            rows = share[start : start + self.batch_size]
            yield Batch(self.gather(rows, self.views), self.gather(rows, self.targets), len(rows))
