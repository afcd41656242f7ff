"""The training loop (section 3.2): epochs until the recipe ends them, checkpoints between and within them."""

import csv
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.normalisation import Normalisation, fit_normalisation
from hpc_massmap.dataset.split import Rows
from hpc_massmap.errors import InputError
from hpc_massmap.observe.observation import observed
from hpc_massmap.storage import write_text
from hpc_massmap.train.checkpoint import load_checkpoint, save_checkpoint
from hpc_massmap.train.memory import within_memory
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.recipe import Epoch, check_shares, is_over
from hpc_massmap.train.trainer import EpochProgress, Trainer

LAST, BEST, LOG = "last.pt", "best.pt", "log.csv"


class Pause(Exception):
    """Raised by a callback: the training writes a checkpoint of the step it has done and ends."""


@dataclass(frozen=True)
class Fit:
    """The result of a training; the weights of its best epoch are in `folder`/best.pt."""

    history: list[Epoch]

    @property
    def best(self) -> Epoch:
        return min(self.history, key=lambda epoch: epoch.validation_loss)


@dataclass(frozen=True)
class Callbacks:
    """Called after each step (epoch, step, steps), each epoch (history) and each batch of a validation.

    Each may raise to end the training; with `Pause`, but for `on_epoch`, a checkpoint is written first.
    """

    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    on_epoch: Callable[[list[Epoch]], None] = lambda history: None
    on_validation: Callable[[], None] = lambda: None


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
    OutOfMemory
        If a step does not fit; it names the batch that does.
    InputError
        If the checkpoint in `folder` is damaged or belongs to another model, recipe or map file, or if there are more
        ranks than maps in a batch.
    """
    callbacks = callbacks or Callbacks()
    check_shares(config.train, len(rows.train), ranks.world)
    identity = identity_of(config, maps, ranks.world)
    # read once: on a shared file system another node may not see the newest yet, and go on at another step
    state = ranks.from_first(lambda: load_checkpoint(folder / LAST) if (folder / LAST).exists() else None)
    if state is not None and state["identity"] != identity:
        raise InputError(f"{folder / LAST}: a checkpoint of another model, recipe or map file; --force starts anew")
    names = [*config.model.views, *config.model.targets]
    if state:
        normalisation = Normalisation(**state["normalisation"])
    elif normalisation is None:
        seen = observed(maps, config.observe, config.model.views)
        normalisation = fit_normalisation(seen, rows.train, names, config.train.normalisation)
    trainer = Trainer(maps, rows, config, ranks, normalisation)
    history: list[Epoch] = []
    progress = None
    if state:
        trainer.learner.load(state)
        history = [Epoch(**epoch) for epoch in state["history"]]
        progress = EpochProgress(**state["begun"]) if state.get("begun") else None
        if is_over(history, config.train):  # it ended before its last epoch was told, or is asked for once more
            callbacks.on_epoch(history)
    written = time.monotonic()

    @contextmanager
    def saved_at_a_pause() -> Iterator[None]:
        try:
            yield
        except Pause:
            if ranks.is_first:
                _save_last(folder, trainer, history, identity, trainer.epoch_progress())
            raise

    def on_validation() -> None:
        with saved_at_a_pause():
            callbacks.on_validation()

    def on_step(epoch: int, step: int, steps: int) -> None:
        nonlocal written
        with saved_at_a_pause():
            callbacks.on_step(epoch, step, steps)
        if ranks.is_first and step < steps and time.monotonic() - written > config.train.checkpoint_seconds:
            _save_last(folder, trainer, history, identity, trainer.epoch_progress())
            written = time.monotonic()

    while not is_over(history, config.train):
        one = partial(trainer.epoch, len(history), on_step, progress, on_validation)
        history.append(within_memory(config, ranks, one))
        progress = None
        if ranks.is_first:
            _save(folder, trainer, history, identity)
            written = time.monotonic()
        callbacks.on_epoch(history)
    return Fit(history)


def identity_of(config: Config, maps: MapFile, world: int) -> dict[str, Any]:
    """All that the losses of a training depend on; a checkpoint of another identity is not resumed."""
    return {**settings_of(config), "maps": maps.digest, "world": world}


def settings_of(config: Config) -> dict[str, Any]:
    """The keys of a config that the losses of a training depend on."""
    observe = ("observe",) if config.observe.is_on else ()  # else it is not there, as before there were any
    settings = config.part("model", "train", "split", "seed", *observe)
    del settings["train"]["checkpoint_seconds"]
    return settings


def _save_last(
    folder: Path, trainer: Trainer, history: list[Epoch], identity: dict[str, Any], progress: EpochProgress | None
) -> None:
    state = {**trainer.learner.state(), **_common(trainer, history, identity)}
    save_checkpoint(folder / LAST, {**state, "begun": asdict(progress) if progress else None})


def _common(trainer: Trainer, history: list[Epoch], identity: dict[str, Any]) -> dict[str, Any]:
    return {
        "identity": identity,
        "normalisation": trainer.normalisation.as_dict(),
        "history": [asdict(epoch) for epoch in history],
    }


def _save(folder: Path, trainer: Trainer, history: list[Epoch], identity: dict[str, Any]) -> None:
    # the last at the end: after a crash before it the epoch is done again, and the others are written again
    if history[-1] is min(history, key=lambda epoch: epoch.validation_loss):
        save_checkpoint(
            folder / BEST, {"model": trainer.learner.validated.state_dict(), **_common(trainer, history, identity)}
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(history[0])))
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    write_text(folder / LOG, text.getvalue())
    _save_last(folder, trainer, history, identity, None)
