"""A training step on made-up maps, to measure its time and memory without a map file or the other ranks."""

from collections.abc import Callable

import numpy as np
import torch
import torch.distributed as dist

from hpc_massmap.arrays import PIXELS
from hpc_massmap.config import Config
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.train.learner import Learner
from hpc_massmap.train.ranks import Ranks


def rehearsed_step(
    config: Config, n_maps: int, ranks: Ranks, group: dist.ProcessGroup | None = None
) -> Callable[[], None]:
    """A function that trains a fresh network one step on noise each time that it is called.

    Parameters
    ----------
    n_maps : of this rank
    group : the processes that take each step together; all ranks, if it is not given
    """
    ones = dict.fromkeys(config.model.targets, 1.0)
    learner = Learner(config, ranks, Normalisation("linear", ones, ones, ones), group)
    views, targets = (
        torch.randn(n_maps, len(names), PIXELS, PIXELS, device=ranks.device)
        for names in (config.model.views, config.model.targets)
    )
    batch = Batch(views, targets, n_maps * ranks.world, np.arange(n_maps))

    def step() -> None:
        learner.step(batch, config.train.learning_rate)

    return step
