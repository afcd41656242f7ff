"""The training loop (section 3.2): L1 on normalised pixels, Adam, early stopping, a checkpoint every epoch.

All randomness of an epoch follows from (seed, epoch, rank), so a run that was killed and resumed ends with the
weights of one that was not.
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

from hpc_massmap.config import Config, Model, Split, Train
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.normalisation import Normalisation, fit_normalisation
from hpc_massmap.dataset.split import Rows
from hpc_massmap.errors import InputError
from hpc_massmap.model.unet import UNet
from hpc_massmap.storage import write_text
from hpc_massmap.train.checkpoint import load_checkpoint, save_checkpoint
from hpc_massmap.train.ranks import Ranks

LAST, BEST, LOG = "last.pt", "best.pt", "log.csv"


class Diverged(Exception):
    """The loss is no longer a number."""


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
    """What a caller hears of a training while it runs; either may raise to end it."""

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
    if state:
        trainer.load(state)
        history = [Epoch(**epoch) for epoch in state["history"]]
    while not is_over(history, config.train):
        history.append(trainer.epoch(len(history), callbacks.on_step))
        if ranks.is_first:
            _save(folder, trainer, history, identity)
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
        self.training = Batches(maps, rows.train, *data, ranks.rank, ranks.world)
        self.validation = Batches(maps, rows.validation, *data, ranks.rank, ranks.world)
        torch.manual_seed(config.seed)
        self.model = UNet(config.model).to(ranks.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parallel: nn.Module = DistributedDataParallel(self.model) if ranks.world > 1 else self.model
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.train.learning_rate)

    def epoch(self, epoch: int, on_step: Callable[[int, int, int], None]) -> Epoch:
        """Train and validate once."""
        train = self.config.train
        start = time.perf_counter()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(train, epoch)
        # dropout: its own stream for every epoch and rank, none to be stored
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, epoch, self.ranks.rank]).generate_state(1)[0]))
        train_loss, n_maps = self._train(epoch, on_step)
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

    def _train(self, epoch: int, on_step: Callable[[int, int, int], None]) -> tuple[float, int]:
        train, ranks = self.config.train, self.ranks
        self.parallel.train()
        steps = self.training.steps(train.maps_per_epoch)
        total, n_own, n_all = torch.zeros((), dtype=torch.float64, device=ranks.device), 0, 0
        for step, batch in enumerate(self.training.shuffled(self.config.seed, epoch, train.maps_per_epoch)):
            loss = self._loss(self.parallel, batch.views, batch.targets)
            # DDP averages over ranks: weigh by share, so that uneven batches still give the whole batch's mean
            share = len(batch.views) * ranks.world / batch.of_batch
            self.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss * share)
            self.optimiser.step()
            total += loss.detach() * len(batch.views)
            n_own, n_all = n_own + len(batch.views), n_all + batch.of_batch
            on_step(epoch, step + 1, steps)
        loss_sum, count = ranks.sum(float(total), n_own)
        return loss_sum / count, n_all

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


@dataclass(frozen=True)
class TrainedModel:
    """The best network of a training, in evaluation mode, with all that a prediction needs."""

    network: UNet
    description: Model
    normalisation: Normalisation
    split: Split
    precision: str
    digest: str  # SHA-256 of the checkpoint's content


def load_model(folder: Path) -> TrainedModel:
    """The best model in the folder of a training; raises what `load_checkpoint` does."""
    path = folder / BEST
    state = load_checkpoint(path)
    identity = state["identity"]
    description = Model.model_validate(identity["model"])
    network = UNet(description)
    network.load_state_dict(state["model"])
    return TrainedModel(
        network.eval(),
        description,
        Normalisation(**state["normalisation"]),
        Split.model_validate(identity["split"]),
        identity["train"]["precision"],
        state["digest"],
    )


def _save(folder: Path, trainer: Trainer, history: list[Epoch], identity: dict[str, Any]) -> None:
    # the best first: after a crash between the two, the epoch is done again and the best is written again
    common = {
        "identity": identity,
        "normalisation": trainer.normalisation.as_dict(),
        "history": [asdict(epoch) for epoch in history],
    }
    if history[-1] is min(history, key=lambda epoch: epoch.validation_loss):
        save_checkpoint(folder / BEST, {"model": trainer.model.state_dict(), **common})
    save_checkpoint(folder / LAST, {**trainer.state(), **common})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(history[0])))
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    write_text(folder / LOG, text.getvalue())
