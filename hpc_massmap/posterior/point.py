"""One map and no error: the paper's, trained by L1 (section 3.2), so that each pixel is about a median."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Config
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.errors import InputError
from hpc_massmap.model.build import Needs
from hpc_massmap.posterior.distribution import Asked, Kind, Loss, Network
from hpc_massmap.posterior.losses import loss_of


@dataclass(frozen=True)
class Point:
    """All of the probability on one map, of which the errors are not known.

    Attributes
    ----------
    maps : (n, targets, 80, 80)
    """

    maps: FloatArray
    by_samples: bool = False

    def mean(self) -> FloatArray:
        return self.maps

    def quantiles(self, levels: Sequence[float]) -> FloatArray:
        raise InputError("model.output = point: it says one map, without quantiles; train with quantiles or flow")

    def samples(self, count: int, seed: int) -> Iterator[FloatArray]:
        raise InputError("model.output = point: it says one map, without samples; train with flow, or join members")


def _loss(config: Config, normalisation: Normalisation) -> Loss:
    between = loss_of(config.train, normalisation, config.model.targets)

    def loss(network: Network, batch: Batch) -> torch.Tensor:
        return between(network(batch.views.contiguous(memory_format=torch.channels_last)), batch.targets)

    return loss


def _says(network: nn.Module, asked: Asked) -> Point:
    with asked.precise():
        predicted = network(asked.views).float()
    return Point(asked.physical(predicted))


POINT = Kind(lambda model: Needs(), _loss, _says)
