"""One rank's training of one trial, in a process of its own.

Costs a fork a trial, and buys that whatever happens in there, out of memory, a poisoned GPU, a crash, a rank that
hangs, ends with that process: the worker reports it and takes the next trial. To stop it, kill it: checkpoints are
whole at any instruction.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.train.loop import LAST, Callbacks, fit
from hpc_massmap.train.ranks import is_of_another_rank, join_ranks
from hpc_massmap.train.recipe import Epoch
from hpc_massmap.tune.machine import fault_of_machine

Message = dict[str, Any]
FROM_OUTSIDE = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)  # for the worker to decide upon
SECONDS_TO_APPEAR = 30.0  # for a file that another node wrote
GRACE = 5.0

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "torch._dynamo"])  # the second is what the first optimiser would import


@dataclass(frozen=True)
class Task:
    """What a training process has to know."""

    config: Config  # with the trial's hyperparameters, budget and seed
    maps: Path
    folder: Path
    normalisation: Normalisation
    resumes: bool  # a checkpoint is in `folder`
    meeting: str  # names this attempt to the other ranks


OnEpoch = Callable[[list[Epoch]], None]
TrainTask = Callable[[Task, OnEpoch], list[Epoch]]


def train_task(task: Task, on_epoch: OnEpoch) -> list[Epoch]:
    """Train, resuming the checkpoint in the task's folder; `on_epoch` is called after every epoch."""
    config = task.config
    deadline = time.monotonic() + SECONDS_TO_APPEAR
    while task.resumes and not (task.folder / LAST).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with join_ranks(config.train.threads, task.meeting) as ranks:
        maps = open_maps(task.maps, [*config.model.views, *config.model.targets])
        rows = split_maps(maps, config.split)
        callbacks = Callbacks(on_epoch=on_epoch)
        return fit(maps, rows, config, ranks, task.folder, callbacks, task.normalisation).history


def start_forking() -> None:
    """Start the process that training processes are forked from, deaf to the signals that Slurm sends to all."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, FROM_OUTSIDE)
    try:
        resource_tracker.ensure_running()  # it unblocks some for its own ends
        signal.pthread_sigmask(signal.SIG_BLOCK, FROM_OUTSIDE)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def await_forking() -> None:
    """Wait until trainings can be forked at once: no lease should run out while modules are imported."""
    process = CONTEXT.Process(target=_nothing)
    process.start()
    process.join()


def _nothing() -> None:
    pass


class Attempt:
    """A running training process: its messages, and its outcome once it has one.

    An outcome is a message of kind `done` (with history), `failed` (type, message, traceback, secondary), `lost`
    (reason: the process died without a word) or `stopped`. With `machine`, a line, the trial is not to blame.
    """

    def __init__(self, train: TrainTask, task: Task) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_run, args=(theirs, train, task))
        self._process.start()
        theirs.close()
        self.outcome: Message | None = None

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def new_epochs(self, seconds: float) -> list[Message]:
        """The epochs finished within some seconds; sets the outcome when there is one."""
        finished: list[Message] = []
        while self.outcome is None and self._pipe.poll(0.0 if finished else seconds):
            try:
                message: Message = self._pipe.recv()
            except (EOFError, OSError):
                self.outcome = self._how_it_died()
                break
            if message["kind"] == "epoch":
                finished.append(message)
            else:
                self.outcome = message
        return finished

    def stop(self) -> Message:
        """End it, and say how it ended."""
        if self.outcome is None:
            self.outcome = {"kind": "stopped"}
        self._process.join(GRACE if self.outcome["kind"] == "done" else 0.0)
        self._process.kill()
        self._process.join()
        return self.outcome

    def _how_it_died(self) -> Message:
        self._process.join(GRACE)
        code = self._process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with {code}"
        reason = f"a training process {how}"
        # the kernel's word for a mapped file that cannot be read or written any more
        return {"kind": "lost", "reason": reason, "machine": reason if code == -signal.SIGBUS else None}


def epochs_as_message(history: list[Epoch]) -> Message:
    """The validation losses and durations of epochs, as plain numbers."""
    return {"history": [e.validation_loss for e in history], "seconds": [e.seconds for e in history]}


def _run(pipe: Connection, train: TrainTask, task: Task) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, FROM_OUTSIDE)
    threading.Thread(target=_die_with_the_worker, args=(pipe,), daemon=True).start()

    def on_epoch(history: list[Epoch]) -> None:
        pipe.send({"kind": "epoch", **epochs_as_message(history)})

    try:
        history = train(task, on_epoch)
        pipe.send({"kind": "done", **epochs_as_message(history)})
    except BaseException as error:
        pipe.send(
            {
                "kind": "failed",
                "time": time.time(),
                "type": type(error).__name__,
                "message": str(error),
                "traceback": traceback.format_exc(),
                "secondary": is_of_another_rank(error),
                "machine": fault_of_machine(error),
            }
        )
        with suppress(OSError):  # on a full disk
            sys.stdout.flush()
        os._exit(1)  # at once: other ranks wait for us in a collective


def _die_with_the_worker(pipe: Connection) -> None:
    try:
        pipe.recv()  # the worker says nothing: this returns when it is gone
    except (EOFError, OSError):
        os._exit(1)
