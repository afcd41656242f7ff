"""Trainings that go wrong in the ways that trainings do, for workers to be given in place of the true one."""

import os
import signal
from pathlib import Path

import torch

from hpc_massmap.train.recipe import Epoch
from hpc_massmap.tune.attempt import OnEpoch, Task, train_task


def _trial(task: Task) -> int:
    return int(Path(task.folder).parent.name)


def each_in_its_way(task: Task, on_epoch: OnEpoch) -> list[Epoch]:
    """Trials 0 to 3 fail, each for another reason; the others are trained."""
    if _trial(task) == 0:
        config = task.config.with_values("train", learning_rate=1e30)
        return train_task(Task(config, task.maps, task.folder, task.normalisation, False, task.meeting), on_epoch)
    if _trial(task) == 1:
        bytearray(1 << 60)
    if _trial(task) == 2:
        torch.nn.Conv2d(3, 1, 3)(torch.zeros(1, 2, 80, 80))
    if _trial(task) == 3:
        return [dict[str, Epoch]()["a bug"]]
    return train_task(task, on_epoch)


def always(task: Task, on_epoch: OnEpoch) -> list[Epoch]:
    raise ValueError("\x1b[31ma bug")


def crash(task: Task, on_epoch: OnEpoch) -> list[Epoch]:
    """Trial 0 takes its process down, every time."""
    if _trial(task) == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    return train_task(task, on_epoch)


def on_one_rank_only(task: Task, on_epoch: OnEpoch) -> list[Epoch]:
    """In trial 0 rank 1 fails after an epoch, in trial 1 it dies once, while rank 0 waits for it."""

    def fail(history: list[Epoch]) -> None:
        on_epoch(history)
        if os.environ["RANK"] == "1" and len(history) == 1:
            if _trial(task) == 0:
                raise ValueError("this rank is out of luck")
            died = Path(task.folder).parent / "died"
            if _trial(task) == 1 and not died.exists():
                died.touch()  # rank 0 may be ended before it has written this epoch: then it comes again
                os.kill(os.getpid(), signal.SIGKILL)

    return train_task(task, fail)
