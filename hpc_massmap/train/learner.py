"""A network that learns, without its data: weights and their average, loss, optimiser, and the step that changes them.

Whatever runs a training step runs this one: the training, the search for a batch that fits into memory, the estimate of
what a paper costs.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hpc_massmap.config import Config
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.posterior.kinds import kind_of, network_of
from hpc_massmap.train.average import averaged
from hpc_massmap.train.batch_norm import synchronise
from hpc_massmap.train.precision import autocast
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.recipe import optimiser_of


class Learner:
    """A network and all that a step of its training needs besides maps (n, views, 80, 80), on one rank.

    Parameters
    ----------
    normalisation : of the maps, which the loss may depend on
    group : the processes that take each step together; all ranks, if it is not given
    """

    def __init__(
        self, config: Config, ranks: Ranks, normalisation: Normalisation, group: dist.ProcessGroup | None = None
    ) -> None:
        train = config.train
        self._precision, self._ranks = train.precision, ranks
        torch.manual_seed(config.seed)
        self.model = network_of(config.model).to(ranks.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # before BatchNorm is synchronised: the averaged network only ever predicts
        self.average = averaged(self.model, train.ema) if train.ema is not None else None
        if train.batch_norm == "synchronised" and ranks.world > 1:
            synchronise(self.model, ranks.device, group)
        self.parallel: nn.Module = self.model
        if ranks.world > 1:
            self.parallel = DistributedDataParallel(self.model, process_group=group)
        if train.compile:
            self.parallel = cast(nn.Module, torch.compile(self.parallel))
        self._loss = kind_of(config.model).loss(config, normalisation)
        self.optimiser = optimiser_of(train, self.model.parameters())

    def step(self, batch: Batch, rate: float) -> torch.Tensor:
        """Change the weights once, at that learning rate.

        Returns
        -------
        The mean loss of this rank's maps before the change, without its graph.
        """
        loss = self.loss(self.parallel, batch)
        # DDP averages over ranks: weigh by share, so that uneven batches still give the whole batch's mean
        share = len(batch.views) * self._ranks.world / batch.of_batch
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss * share)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss.detach()

    def loss(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """The mean loss of a network, this one or its average, over the maps of a batch."""

        def called(*inputs: torch.Tensor) -> torch.Tensor:
            with autocast(self._precision, self._ranks.device):
                answer: torch.Tensor = network(*inputs)
            return answer.float()

        return self._loss(called, batch)

    @property
    def validated(self) -> nn.Module:
        """The network whose loss counts and which is kept: the trained one, or the average of its weights."""
        return self.average.module if self.average is not None else self.model

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: weights, optimiser, and the average with the steps that it is over."""
        average = None
        if self.average is not None:
            average = {"model": self.average.module.state_dict(), "steps": int(self.average.n_averaged) - 1}
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "average": average}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"]["model"])
            self.average.n_averaged.fill_(state["average"]["steps"] + 1)
