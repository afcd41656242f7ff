"""Whole maps drawn from the posterior, by conditional flow matching (Lipman et al. 2023) along straight paths.

A network learns the velocity of maps on straight paths from white noise z, at time 0, to the normalised target x, at
time 1: on the way a map is (1 - t) z + t x, and its velocity x - z. To sample is to follow the learnt velocities from
fresh noise: ten midpoint steps, which shorten towards the end where maps settle. On a normal distribution, whose
velocity is known, the width that they reach is right to 1 % if it is over a twentieth of the noise's, to 3 % at a
fiftieth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import numpy as np
import torch
from torch import nn

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Config
from hpc_massmap.dataset.batches import Batch, moved
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.model.build import Needs
from hpc_massmap.posterior.distribution import SAMPLES, Asked, Kind, Loss, Network

STEPS = 10  # of two calls of the network each
TIMES = 1 - (1 - np.linspace(0, 1, STEPS + 1)) ** 2
OF_TRAINING, OF_SAMPLES = 0, 1  # streams of chance


class Velocity(Protocol):
    """The networks that a flow takes, as `TimedUNet`; shapes and times are its."""

    def encoded(self, views: torch.Tensor) -> object: ...
    def velocity(self, encoded: object, maps: torch.Tensor, times: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Flow:
    """Of n maps, all by drawing."""

    network: Velocity
    asked: Asked
    by_samples: bool = True

    def mean(self) -> FloatArray:
        """That of the first 16 samples of seed 0: (n, targets, 80, 80)."""
        return np.asarray(np.mean(list(self.samples(SAMPLES, 0)), axis=0, dtype=np.float64))

    def quantiles(self, levels: Sequence[float]) -> FloatArray:
        """Those of the first 16 samples of seed 0: (levels, n, targets, 80, 80)."""
        return np.asarray(np.quantile(list(self.samples(SAMPLES, 0)), levels, axis=0))

    def samples(self, count: int, seed: int) -> Iterator[FloatArray]:
        """As of `MapDistribution`: `count` times (n, targets, 80, 80)."""
        views = self.asked.views
        shape = (len(self.asked.model.targets), *views.shape[2:])
        with self.asked.precise():
            encoded = self.network.encoded(views)
        for sample in range(count):
            keys = [(OF_SAMPLES, seed, row, sample) for row in self.asked.rows.tolist()]
            noise, _ = chance(keys, shape)
            yield self.asked.physical(self._carried(encoded, moved(torch.from_numpy(noise), views.device)))

    def _carried(self, encoded: object, maps: torch.Tensor) -> torch.Tensor:
        for begin, end in pairwise(TIMES.tolist()):
            half = self._moved(encoded, maps, maps, begin, (end - begin) / 2)
            maps = self._moved(encoded, maps, half, (begin + end) / 2, end - begin)
        return maps

    def _moved(self, encoded: object, maps: torch.Tensor, at: torch.Tensor, time: float, step: float) -> torch.Tensor:
        times = torch.full((len(maps),), time, device=maps.device)
        with self.asked.precise():
            velocity = self.network.velocity(encoded, at.contiguous(memory_format=torch.channels_last), times)
        return maps + step * velocity.float()


def chance(keys: Sequence[tuple[int, ...]], shape: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """White noise and a time for each of n keys, and of it alone.

    Returns
    -------
    noise, times : (n, *shape) float32 and (n,) float32, uniform in [0, 1)
    """
    noise, times = np.empty((len(keys), *shape), np.float32), np.empty(len(keys), np.float32)
    for n, key in enumerate(keys):
        stream = np.random.default_rng(key)
        stream.standard_normal(out=noise[n], dtype=np.float32)
        times[n] = stream.random(dtype=np.float32)
    return noise, times


def _loss(config: Config, normalisation: Normalisation) -> Loss:
    def loss(network: Network, batch: Batch) -> torch.Tensor:
        keys = [(OF_TRAINING, *batch.stream, row) for row in batch.rows.tolist()]
        noise, times = (
            moved(torch.from_numpy(values), batch.targets.device).to(batch.targets.dtype)
            for values in chance(keys, batch.targets.shape[1:])
        )
        way = times[:, None, None, None]
        maps = (1 - way) * noise + way * batch.targets
        inputs = (one.contiguous(memory_format=torch.channels_last) for one in (batch.views, maps))
        return nn.functional.mse_loss(network(*inputs, times), batch.targets - noise)

    return loss


def _says(network: nn.Module, asked: Asked) -> Flow:
    return Flow(cast(Velocity, network), asked)


FLOW = Kind(lambda model: Needs(timed=True), _loss, _says, draws=True)
