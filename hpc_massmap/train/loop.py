"""The training loop (section 3.2): L1 on normalised pixels, Adam, early stopping, checkpoints.

All randomness of a step follows from (seed, epoch, rank, step), so a run that was killed anywhere and resumed ends with
the weights of one that was not.
"""

import csv
import io
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from hpc_massmap.config import Config, Train
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.normalisation import Normalisation, fit_normalisation
from hpc_massmap.dataset.split import Rows
from hpc_massmap.errors import InputError
from hpc_massmap.model.unet import UNet
from hpc_massmap.storage import write_text
from hpc_massmap.train.batch_norm import synchronise
from hpc_massmap.train.checkpoint import load_checkpoint, save_checkpoint
from hpc_massmap.train.ranks import Ranks

LAST, BEST, LOG = "last.pt", "best.pt", "log.csv"


class Diverged(Exception):
    """The loss is no longer a number."""


class Pause(Exception):
    """A callback raises it after a step: the training writes its checkpoint there and ends."""


@dataclass(frozen=True)
class Begun:
    """How far an unfinished epoch has come: what a checkpoint within it holds besides weights and optimiser."""

    steps: int
    loss_sum: float  # over the maps of all ranks
    maps: int
    seconds: float


@dataclass(frozen=True)
class Epoch:
    """One line of the training log; losses are mean absolute errors of normalised pixels."""

    epoch: int  # from 1
    train_loss: float
    validation_loss: float
    learning_rate: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Fit:
    """What a training gave; the weights of the best epoch are in `folder`/best.pt."""

    history: list[Epoch]

    @property
    def best(self) -> Epoch:
        return min(self.history, key=lambda epoch: epoch.validation_loss)


@dataclass(frozen=True)
class Callbacks:
    """What a caller hears of a training while it runs; either may raise to end it, `on_step` with `Pause`."""

    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    on_epoch: Callable[[list[Epoch]], None] = lambda history: None


def fit(
    maps: MapFile,
    rows: Rows,
    config: Config,
    ranks: Ranks,
    folder: Path,
    callbacks: Callbacks | None = None,
    normalisation: Normalisation | None = None,
) -> Fit:
    """Train one model, resuming the checkpoint in `folder` if there is one.

    Parameters
    ----------
    normalisation : of these maps and rows, where it is known; it is measured otherwise

    Raises
    ------
    Diverged
        If a loss is NaN or infinite.
    Pause
        If a callback raised it; the checkpoint of that step is written.
    InputError
        If the checkpoint in `folder` is damaged or belongs to another model, recipe or map file.
    """
    callbacks = callbacks or Callbacks()
    identity = identity_of(config, maps, ranks.world)
    state = load_checkpoint(folder / LAST) if (folder / LAST).exists() else None
    if state is not None and state["identity"] != identity:
        raise InputError(f"{folder / LAST}: a checkpoint of another model, recipe or map file; --force starts anew")
    names = [*config.model.views, *config.model.targets]
    if state:
        normalisation = Normalisation(**state["normalisation"])
    elif normalisation is None:
        normalisation = fit_normalisation(maps, rows.train, names, config.train.normalisation)
    trainer = Trainer(maps, rows, config, ranks, normalisation)
    history: list[Epoch] = []
    begun = None
    if state:
        trainer.load(state)
        history = [Epoch(**epoch) for epoch in state["history"]]
        begun = Begun(**state["begun"]) if state.get("begun") else None
    written = time.monotonic()

    def on_step(epoch: int, step: int, steps: int) -> None:
        nonlocal written
        try:
            callbacks.on_step(epoch, step, steps)
        except Pause:
            if ranks.is_first:
                _save_last(folder, trainer, history, identity, trainer.begun())
            raise
        if ranks.is_first and step < steps and time.monotonic() - written > config.train.checkpoint_seconds:
            _save_last(folder, trainer, history, identity, trainer.begun())
            written = time.monotonic()

    while not is_over(history, config.train):
        history.append(trainer.epoch(len(history), on_step, begun))
        begun = None
        if ranks.is_first:
            _save(folder, trainer, history, identity)
            written = time.monotonic()
        callbacks.on_epoch(history)
    return Fit(history)


def identity_of(config: Config, maps: MapFile, world: int) -> dict[str, Any]:
    """All that the losses of a training depend on; a checkpoint of another identity is not resumed."""
    return {**config.part("model", "train", "split", "seed"), "maps": maps.digest, "world": world}


def is_over(history: list[Epoch], train: Train) -> bool:
    """At most `epochs`, and no more than `patience` since the best validation loss."""
    if not history:
        return False
    best = min(range(len(history)), key=lambda n: history[n].validation_loss)
    return len(history) >= train.epochs or len(history) - 1 - best >= train.patience


def learning_rate(train: Train, epoch: int) -> float:
    """The rate of epoch 0, 1, ...: the first `late_after` epochs train faster."""
    return train.learning_rate if epoch < train.late_after else train.late_learning_rate


class Trainer:
    """A model with its optimiser and its data, on one rank."""

    def __init__(self, maps: MapFile, rows: Rows, config: Config, ranks: Ranks, normalisation: Normalisation) -> None:
        self.config, self.ranks, self.normalisation = config, ranks, normalisation
        data = (config.model.views, config.model.targets, normalisation, config.train.batch_size)
        self.training = Batches(maps, rows.train, *data, ranks.rank, ranks.world, config.train.augment)
        self.validation = Batches(maps, rows.validation, *data, ranks.rank, ranks.world)
        torch.manual_seed(config.seed)
        self.model = UNet(config.model).to(ranks.device)
        if config.train.batch_norm == "synchronised" and ranks.world > 1:
            synchronise(self.model, ranks.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parallel: nn.Module = DistributedDataParallel(self.model) if ranks.world > 1 else self.model
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.train.learning_rate)
        self._at = 0, torch.zeros(()), 0, 0.0  # of the epoch that runs: steps, sum of losses, maps, time of its start

    def epoch(self, epoch: int, on_step: Callable[[int, int, int], None], begun: Begun | None = None) -> Epoch:
        """Train and validate once; with `begun` only what is left of an epoch."""
        train = self.config.train
        begun = begun or Begun(0, 0.0, 0, 0.0)
        start = time.perf_counter() - begun.seconds
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(train, epoch)
        train_loss, n_maps = self._train(epoch, on_step, begun, start)
        training_seconds = time.perf_counter() - start
        validation_loss = self._validate()
        if not np.isfinite([train_loss, validation_loss]).all():
            raise Diverged(f"the loss became {train_loss} (training), {validation_loss} (validation) in epoch {epoch}")
        return Epoch(
            epoch + 1,
            train_loss,
            validation_loss,
            learning_rate(train, epoch),
            round(time.perf_counter() - start, 3),
            round(n_maps / training_seconds, 2),
        )

    def _train(
        self, epoch: int, on_step: Callable[[int, int, int], None], begun: Begun, start: float
    ) -> tuple[float, int]:
        train, ranks, seed = self.config.train, self.ranks, self.config.seed
        self.parallel.train()
        steps = self.training.steps(train.maps_per_epoch)
        total, n_maps = torch.tensor(begun.loss_sum, dtype=torch.float64, device=ranks.device), begun.maps
        batches = self.training.shuffled(seed, epoch, train.maps_per_epoch, begun.steps)
        for step, batch in enumerate(batches, start=begun.steps):
            # dropout: its own stream for every step and rank, none to be stored
            torch.manual_seed(int(np.random.SeedSequence([seed, epoch, ranks.rank, step]).generate_state(1)[0]))
            loss = self._loss(self.parallel, batch.views, batch.targets)
            # DDP averages over ranks: weigh by share, so that uneven batches still give the whole batch's mean
            share = len(batch.views) * ranks.world / batch.of_batch
            self.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss * share)
            self.optimiser.step()
            # summed over ranks at each step, so that the first alone can write a checkpoint at any
            total += ranks.sum_tensor(loss.detach().double() * len(batch.views))
            n_maps += batch.of_batch
            self._at = step + 1, total, n_maps, start
            on_step(epoch, step + 1, steps)
        return float(total) / n_maps, n_maps

    def begun(self) -> Begun:
        """How far the epoch has come that runs."""
        steps, total, maps, start = self._at
        return Begun(steps, float(total), maps, time.perf_counter() - start)

    @torch.no_grad()
    def _validate(self) -> float:
        if (
            self.ranks.world > 1
        ):  # BatchNorm's running statistics are each rank's own: validate the first's, which is saved
            for buffer in self.model.buffers():
                dist.broadcast(buffer, src=0)
        self.model.eval()
        total, count = 0.0, 0
        for batch in self.validation.in_order():
            total += float(self._loss(self.model, batch.views, batch.targets)) * len(batch.views)
            count += len(batch.views)
        loss_sum, n_maps = self.ranks.sum(total, count)
        return loss_sum / n_maps

    def _loss(self, model: nn.Module, views: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        device = self.ranks.device
        views = views.to(device, memory_format=torch.channels_last, non_blocking=True)
        with autocast(self.config.train.precision, device):
            predicted = model(views)
        return nn.functional.l1_loss(predicted.float(), targets.to(device, non_blocking=True))

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])


def autocast(precision: str, device: torch.device) -> Any:
    """bf16 convolutions under fp32 weights, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def _save_last(
    folder: Path, trainer: Trainer, history: list[Epoch], identity: dict[str, Any], begun: Begun | None
) -> None:
    state = {**trainer.state(), **_common(trainer, history, identity)}
    save_checkpoint(folder / LAST, {**state, "begun": asdict(begun) if begun else None})


def _common(trainer: Trainer, history: list[Epoch], identity: dict[str, Any]) -> dict[str, Any]:
    return {
        "identity": identity,
        "normalisation": trainer.normalisation.as_dict(),
        "history": [asdict(epoch) for epoch in history],
    }


def _save(folder: Path, trainer: Trainer, history: list[Epoch], identity: dict[str, Any]) -> None:
    # the best first: after a crash between the two, the epoch is done again and the best is written again
    if history[-1] is min(history, key=lambda epoch: epoch.validation_loss):
        save_checkpoint(folder / BEST, {"model": trainer.model.state_dict(), **_common(trainer, history, identity)})
    _save_last(folder, trainer, history, identity, None)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(history[0])))
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    write_text(folder / LOG, text.getvalue())
