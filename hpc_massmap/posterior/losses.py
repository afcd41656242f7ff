"""Training losses: the mean absolute error of normalised pixels (section 3.2), or one relative to each map's mean."""

from collections.abc import Callable

import torch
from torch import nn

from hpc_massmap.config import Train
from hpc_massmap.dataset.normalisation import Normalisation

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LEAST = 1e-2  # of the mean over the training set; a map that is nearly empty must not outweigh all others


def loss_of(train: Train, normalisation: Normalisation, targets: list[str]) -> Loss:
    """The loss of predicted and true maps, each (n, targets, 80, 80), normalised; a mean over maps.

    Notes
    -----
    `relative` divides the error of each map by its true mean, in units of the training set's. A low-mass halo's error
    is a small part of the mean over maps, but as large a part of its own mass.
    """
    if train.loss == "l1":
        return nn.functional.l1_loss
    in_means = torch.tensor([normalisation.std[name] / normalisation.mean[name] for name in targets])

    def relative(predicted: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        means = 1 + true.mean((2, 3)) * in_means.to(true.device, non_blocking=True)
        return ((predicted - true).abs().mean((2, 3)) / means.clamp(min=LEAST)).mean()

    return relative
