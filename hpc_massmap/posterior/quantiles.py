"""The mean of each pixel and its quantiles, from one network and one training.

The channels of a target are its mean and one number for each level: the quantile in the middle, and steps from it
up and down that cannot be negative (softplus), so that quantiles never cross.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from scipy.special import ndtri
from torch import nn

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Config, Model
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.errors import InputError
from hpc_massmap.model.build import Needs
from hpc_massmap.posterior.distribution import Asked, Kind, Loss, Network


@dataclass(frozen=True)
class Quantiles:
    """Each pixel by itself: how pixels go together is not said, so there are no samples.

    Attributes
    ----------
    means : (n, targets, 80, 80)
    levels : (k,), increasing within (0, 1)
    values : (k, n, targets, 80, 80), increasing along the levels
    """

    means: FloatArray
    levels: Sequence[float]
    values: FloatArray
    by_samples: bool = False

    def mean(self) -> FloatArray:
        return self.means

    def quantiles(self, levels: Sequence[float]) -> FloatArray:
        """At its own levels what the network says, between them linear in the deviates of a normal distribution.

        Beyond the first and the last, the line through the outermost two goes on.
        """
        own, asked = ndtri(np.asarray(self.levels)), ndtri(np.asarray(levels))
        below = np.clip(np.searchsorted(own, asked, side="right") - 1, 0, len(own) - 2)
        share = (asked - own[below]) / (own[below + 1] - own[below])
        share = share[:, None, None, None, None].astype(np.float32)
        return np.asarray((1 - share) * self.values[below] + share * self.values[below + 1])

    def samples(self, count: int, seed: int) -> Iterator[FloatArray]:
        raise InputError("model.output = quantiles: it says of each pixel alone, without samples; train with flow")


def ordered(raw: torch.Tensor) -> torch.Tensor:
    """Quantiles that do not cross, of any numbers: (n, targets, k, 80, 80), increasing along the third axis."""
    middle = raw.shape[2] // 2
    steps = nn.functional.softplus(raw)
    centre = raw[:, :, middle : middle + 1]
    up = centre + steps[:, :, middle + 1 :].cumsum(2)
    down = centre - steps[:, :, :middle].flip(2).cumsum(2).flip(2)
    return torch.cat([down, centre, up], dim=2)


def split(answer: torch.Tensor, model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    """Means (n, targets, 80, 80) and quantiles (n, targets, k, 80, 80), normalised, of what the network gives."""
    n, _, height, width = answer.shape
    of_targets = answer.view(n, len(model.targets), 1 + len(model.levels), height, width)
    return of_targets[:, :, 0], ordered(of_targets[:, :, 1:])


def pinball(quantiles: torch.Tensor, true: torch.Tensor, levels: Sequence[float]) -> torch.Tensor:
    """The pinball loss (Koenker & Bassett 1978), a mean over pixels and levels; twice it, for many levels, is the CRPS.

    Parameters
    ----------
    quantiles : (n, targets, k, 80, 80)
    true : (n, targets, 80, 80)
    """
    level = torch.tensor(levels, device=true.device)[:, None, None]
    above = true[:, :, None] - quantiles
    return torch.maximum(level * above, (level - 1) * above).mean()


def _loss(config: Config, normalisation: Normalisation) -> Loss:
    model = config.model
    decades = log(10) * torch.tensor([normalisation.std[name] for name in model.targets])[:, None, None]

    def of_mean(mean: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        if normalisation.kind == "linear":
            return nn.functional.mse_loss(mean, true)
        # Itakura & Saito's divergence is least at the mean of the maps themselves, not at that of their logarithms
        ratio = (true - mean) * decades.to(true.device)
        return (ratio.exp() - ratio - 1).mean()

    def loss(network: Network, batch: Batch) -> torch.Tensor:
        mean, quantiles = split(network(batch.views.contiguous(memory_format=torch.channels_last)), model)
        return 2 * pinball(quantiles, batch.targets, model.levels) + of_mean(mean, batch.targets)

    return loss


def _says(network: nn.Module, asked: Asked) -> Quantiles:
    with asked.precise():
        mean, quantiles = split(network(asked.views).float(), asked.model)
    values = np.stack([asked.physical(quantiles[:, :, n]) for n in range(quantiles.shape[2])])
    return Quantiles(asked.physical(mean), asked.model.levels, values)


QUANTILES = Kind(
    lambda model: Needs(maps_per_target=1 + len(model.levels)), _loss, _says, levels=lambda model: model.levels
)
