"""The final training of a run: what each of its ranks does, and how the launcher follows it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from submitit.helpers import DelayedSubmission

from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.launch import Job, ended, failure
from hpc_massmap.progress import Bar
from hpc_massmap.storage import read_json, write_json
from hpc_massmap.train.loop import Callbacks, Epoch, fit
from hpc_massmap.train.ranks import join_ranks

NOTES = "progress.json"
SECONDS_BETWEEN_NOTES = 1.0


def notes(path: Path) -> Callbacks:
    """Keep in a JSON file where the training is, at most once a second, for whoever watches the folder."""
    last, loss = 0.0, None

    def on_step(epoch: int, step: int, steps: int) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_NOTES:
            last = time.monotonic()
            write_json(path, {"epoch": epoch + 1, "step": step, "steps": steps, "validation_loss": loss})

    def on_epoch(history: list[Epoch]) -> None:
        nonlocal loss
        loss = history[-1].validation_loss

    return Callbacks(on_step, on_epoch)


def train_rank(config: Config, maps_path: Path, folder: Path) -> None:
    """Train the model of `config` into `folder`; run by every rank.

    Raises
    ------
    InputError
        If another training writes into the folder, one whose launcher was killed for instance.
    """
    with join_ranks(config.train.threads) as ranks, _sole_writer(folder) if ranks.is_first else nullcontext():
        maps = open_maps(maps_path, [*config.model.views, *config.model.targets])
        callbacks = notes(folder / NOTES) if ranks.is_first else Callbacks()
        fit(maps, split_maps(maps, config.split), config, ranks, folder, callbacks)


class FinalTraining:
    """What each rank of the training's job runs; submitit may requeue it, and it goes on at its last epoch."""

    def __init__(self, config: Config, maps_path: Path, folder: Path) -> None:
        self.config, self.maps_path, self.folder = config, maps_path, folder

    def __call__(self) -> None:
        train_rank(self.config, self.maps_path, self.folder)

    def checkpoint(self) -> DelayedSubmission:
        return DelayedSubmission(self)


@contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another process trains here; wait for it to end, or end it") from None
    try:
        yield
    finally:
        lock.release()


def follow(job: Job, config: Config, folder: Path, bar: Bar) -> None:
    """Show the progress of a training job until it ends.

    Raises
    ------
    InputError
        If it ends badly; names its log.
    """
    while not ended(job):
        bar.update(*_where(folder, config))
        time.sleep(SECONDS_BETWEEN_NOTES)
    reason = failure(job)
    if reason:
        raise InputError(f"training: {reason}")
    bar.update(*_where(folder, config))


def _where(folder: Path, config: Config) -> tuple[int, str]:
    path = folder / NOTES
    if not path.exists():
        return 0, "starting"
    at: dict[str, Any] = read_json(path)
    loss = f", validation loss {at['validation_loss']:.4f}" if at["validation_loss"] is not None else ""
    return at["epoch"] - 1, f"epoch {at['epoch']}/{config.train.epochs}, step {at['step']}/{at['steps']}{loss}"
