"""Progress of a training, written into its folder: a JSON file of where it is, and TensorBoard events."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from hpc_massmap.config import Train
from hpc_massmap.run import NOTES
from hpc_massmap.storage import telling, write_json
from hpc_massmap.train.loop import Callbacks
from hpc_massmap.train.memory import peak_memory
from hpc_massmap.train.recipe import Epoch

EVENTS = "events"
SECONDS_BETWEEN_NOTES = 1.0


def logs(folder: Path, train: Train, device: torch.device) -> Callbacks:
    """Callbacks that keep both up to date in `folder`."""
    noting, writing = notes(folder / NOTES, train, device), events(folder / EVENTS, device)

    def on_epoch(history: list[Epoch]) -> None:
        noting.on_epoch(history)
        writing(history)

    return Callbacks(noting.on_step, on_epoch)


def notes(path: Path, train: Train, device: torch.device) -> Callbacks:
    """Callbacks that keep in a JSON file where the training is, written at most once a second.

    Speed and time left are means over what this process has done, validation included; early stopping makes the time
    shorter.
    """
    last = 0.0
    first: tuple[int, float] | None = None
    said: dict[str, Any] = {"validation_loss": None, "best_epoch": None, "best_loss": None}

    def on_step(epoch: int, step: int, steps: int) -> None:
        nonlocal last, first
        now, done = time.monotonic(), epoch * steps + step
        first = first or (done, now)
        if now - last < SECONDS_BETWEEN_NOTES or done == first[0]:
            return
        last = now
        per_second = (done - first[0]) / (now - first[1])
        said.update(
            {
                "epoch": epoch + 1,
                "epochs_done": epoch,
                "step": step,
                "steps": steps,
                "images_per_second": per_second * train.batch_size,
                "seconds_left": (train.epochs * steps - done) / per_second,
                "peak_memory_gib": peak_memory(device),
            }
        )
        write_json(path, said)

    def on_epoch(history: list[Epoch]) -> None:
        best = min(history, key=lambda epoch: epoch.validation_loss)
        said.update(validation_loss=history[-1].validation_loss, best_epoch=best.epoch, best_loss=best.validation_loss)
        if "epochs_done" in said:  # there was time for a note
            said.update(epochs_done=len(history), step=said["steps"])
            write_json(path, said)

    return Callbacks(on_step, on_epoch)


def events(folder: Path, device: torch.device) -> Callable[[list[Epoch]], None]:
    """A callback that writes TensorBoard events of finished epochs.

    A training that is resumed writes its history again and marks what was there before as void: none is missing or
    double, wherever it was killed. tensorboardX' own SummaryWriter leaves the file to a thread that dies with us.
    """
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        writer = event_file_writer.EventsWriter(str(folder / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        writer.write_event(event_pb2.Event(wall_time=time.time(), step=1, session_log=start))
    written = 0

    def on_epoch(history: list[Epoch]) -> None:
        nonlocal written
        with telling(folder):
            for epoch in history[written:]:
                values = {
                    "loss/train": epoch.train_loss,
                    "loss/validation": epoch.validation_loss,
                    "learning_rate": epoch.learning_rate,
                    "images_per_second": epoch.images_per_second,
                }
                if epoch is history[-1]:
                    values["peak_memory_gib"] = peak_memory(device)
                for name, value in values.items():
                    told = summary.scalar(name, value)
                    writer.write_event(event_pb2.Event(wall_time=time.time(), step=epoch.epoch, summary=told))
            writer.flush()
        written = len(history)

    return on_epoch
