"""The interface of all kinds: what is asked of a distribution over maps, and what a kind has to declare.

Arrays have one axis for the n maps of a batch and one for the targets of the model; they are in physical units.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Config, Model
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.model.build import Needs

SAMPLES = 16  # of each map, unless a config says how many


class MapDistribution(Protocol):
    """What a network says of a batch of n clusters."""

    @property
    def by_samples(self) -> bool:
        """Whether its mean is known by samples alone."""
        ...

    def mean(self) -> FloatArray:
        """The map that stands for all, (n, targets, 80, 80): the mean, or what a point model was trained to say."""
        ...

    def quantiles(self, levels: Sequence[float]) -> FloatArray:
        """Of each pixel: (levels, n, targets, 80, 80), in the order of the levels, which increase within (0, 1).

        Raises
        ------
        InputError
            If this kind has none.
        """
        ...

    def samples(self, count: int, seed: int) -> Iterator[FloatArray]:
        """Whole maps, one of each cluster at a time: `count` times (n, targets, 80, 80).

        Sample k of a map follows from (seed, its row, k) alone, whatever the batch.

        Raises
        ------
        InputError
            If this kind has none.
        """
        ...


@dataclass(frozen=True)
class Asked:
    """A batch of clusters that a trained network is asked about.

    Attributes
    ----------
    views : (n, views, 80, 80), normalised, on the device of the network
    rows : (n,), what tells each cluster from all others, as its row in a map file
    precise : a context in which the network is to be called, of its precision and without gradients
    """

    views: torch.Tensor
    rows: IntArray
    model: Model
    normalisation: Normalisation
    precise: Callable[[], AbstractContextManager[object]]

    def physical(self, maps: torch.Tensor) -> FloatArray:
        """Maps of the targets in physical units: (n, targets, 80, 80) float32."""
        found: FloatArray = self.normalisation.invert(maps, self.model.targets).cpu().numpy()
        return found


Network = Callable[..., torch.Tensor]  # called in the precision of the training, its answer in fp32
Loss = Callable[[Network, Batch], torch.Tensor]


@dataclass(frozen=True)
class Kind:
    """A kind of distribution, as training and prediction know it.

    Attributes
    ----------
    needs : which network it takes
    loss : of a config and the normalisation of its maps: the mean loss of a network over the maps of a batch
    says : the distribution that a trained network gives for a batch
    draws : whether it has samples
    levels : of a model: those at which the network itself gives quantiles
    """

    needs: Callable[[Model], Needs]
    loss: Callable[[Config, Normalisation], Loss]
    says: Callable[[nn.Module, Asked], MapDistribution]
    draws: bool = False
    levels: Callable[[Model], Sequence[float]] = lambda model: ()
