"""The training recipe (section 3.2): learning rate, optimiser, early stopping."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from hpc_massmap.config import Train
from hpc_massmap.errors import InputError


@dataclass(frozen=True)
class Epoch:
    """One line of the training log; losses are the mean of what the model is trained by, of a point of the paper L1."""

    epoch: int  # from 1
    train_loss: float
    validation_loss: float
    learning_rate: float
    seconds: float
    images_per_second: float


def check_shares(train: Train, n_maps: int, ranks: int) -> None:
    """Raise an InputError if a batch of an epoch over `n_maps` cannot give every rank a map."""
    largest = min(train.batch_size, n_maps, train.maps_per_epoch or n_maps)
    if largest < ranks:
        raise InputError(
            f"train.batch_size = {train.batch_size}: {ranks} ranks cannot share batches of {largest} maps; train on "
            "fewer ranks, or on larger batches"
        )


def is_over(history: list[Epoch], train: Train) -> bool:
    """Whether training ends after these epochs: there are `epochs`, or `patience` since the best validation loss."""
    if not history:
        return False
    best = min(range(len(history)), key=lambda n: history[n].validation_loss)
    return len(history) >= train.epochs or len(history) - 1 - best >= train.patience


def learning_rate(train: Train, epoch: int, done: float = 1.0) -> float:
    """The rate of a step in epoch 0, 1, ...

    Parameters
    ----------
    done : fraction of the epoch that is done with this step; 1 is its last step

    Notes
    -----
    `step`: the first `late_after` epochs train faster. `cosine`: half a wave from `learning_rate` to
    `late_learning_rate` over the epochs after the warm-up (Loshchilov & Hutter 2017, eq. 5, without restarts). In both
    the rate rises linearly from zero over the epochs of the warm-up.
    """
    at = epoch + done
    if train.schedule == "cosine":
        way = min(max(at - train.warmup, 0.0) / (train.epochs - train.warmup), 1.0)
        above = train.learning_rate - train.late_learning_rate
        rate = train.late_learning_rate + above * (1 + math.cos(math.pi * way)) / 2
    else:
        rate = train.learning_rate if epoch < train.late_after else train.late_learning_rate
    return rate * min(1.0, at / train.warmup) if train.warmup else rate


def optimiser_of(train: Train, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam over these parameters; `adam_fused` updates all of them in one kernel, which rounds otherwise."""
    fused = True if train.optimiser == "adam_fused" else None
    return torch.optim.Adam(parameters, lr=train.learning_rate, fused=fused)
