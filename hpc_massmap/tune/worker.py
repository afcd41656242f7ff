"""A tuning worker: claim a trial, suggest, train, report, until nothing is left to do.

Every worker is equal and there is no driver to lose. Of its ranks the first talks to the database; all train, each
in a child process (attempt.py).
"""

from itertools import count
from pathlib import Path
from typing import Any

from hpc_massmap.cluster.preemption import COME_BACK, Notice
from hpc_massmap.config import Config
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.run import Run
from hpc_massmap.train.meeting import ToldToLeave
from hpc_massmap.tune.attempt import Attempt, Message, Task, TrainTask, await_forking, start_forking, train_task
from hpc_massmap.tune.folders import common_normalisation
from hpc_massmap.tune.leader import SECONDS_BETWEEN_LOOKS, Leader
from hpc_massmap.tune.machine import outlast, say_fault
from hpc_massmap.tune.rank_store import RankStore


class Worker:
    """What each rank of a worker's job runs; submitit may requeue it, and it goes on."""

    def __init__(self, run: Run, signal_seconds: float = 0.0, train: TrainTask = train_task, secret: str = "") -> None:
        self.run, self.signal_seconds, self.train, self.secret = run, signal_seconds, train, secret

    def __call__(self) -> int:
        return work(self.run, self.signal_seconds, self.train, self.secret)

    def checkpoint(self) -> Any:
        """Submitit's protocol; what there is to save is saved, trials are in the database."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def work(run: Run, signal_seconds: float = 0.0, train: TrainTask = train_task, secret: str = "") -> int:
    """Work until the study is over or this job must end; returns how many trials this worker finished.

    Raises
    ------
    InputError
        If maps or database cannot be used, or the database stays silent for `tune.wait` seconds.
    """
    notice = Notice(signal_seconds)
    try:
        rank_store = RankStore(lambda: notice.given is not None, secret)
    except ToldToLeave:
        if notice.given == COME_BACK:
            notice.come_back()
        return 0
    start_forking()
    normalisation = _normalisation(run, rank_store.is_first)
    await_forking()
    if rank_store.is_first:
        return Leader(run, rank_store, notice, normalisation, train).lead()
    _follow(run, rank_store, normalisation, train)
    return 0


def _normalisation(run: Run, write: bool) -> Normalisation:
    """The one that all trials share; a map file that is away, or a full disk, may come back."""
    found: list[Normalisation] = []
    outlast(lambda: found.append(common_normalisation(run, write)), run.config.tune.wait, say_fault)
    return found[0]


def _follow(run: Run, rank_store: RankStore, normalisation: Normalisation, train: TrainTask) -> None:
    """What every rank but the first does: train what it is told, report how it ended."""
    for number in count():
        key = f"round/{number}"
        order = rank_store.wait_for(key)
        if order.get("end"):
            rank_store.leave()
            return
        config = Config.model_validate_json(order["config"])
        task = Task(config, run.maps, Path(order["folder"]), normalisation, order["resumes"], f"{key}/training")
        rank_store.write(f"{key}/end/{rank_store.rank}", _train_until_stopped(Attempt(train, task), rank_store, key))


def _train_until_stopped(attempt: Attempt, rank_store: RankStore, key: str) -> Message:
    with attempt as own:
        while own.outcome is None and rank_store.read(f"{key}/stop") is None:
            own.new_epochs(SECONDS_BETWEEN_LOOKS)
        return own.stop()
