"""What a study looks like at one moment, computed from its documents: for the screen (screen.py) and for scripts.

Pure: nothing here reads a database, a file or a clock. What the database says is shown, not believed: a trial of a
wrong shape is counted and left out, and so is a worker.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated

from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hpc_massmap.config import Space
from hpc_massmap.tune.documents import (
    ENDED,
    FINISHED,
    LONGEST_TRAINING,
    Document,
    TrialRecord,
    believable,
    best_of,
    date_of,
    fault_of,
    finished,
    label_of,
    record_of,
)
from hpc_massmap.tune.study import SECONDS_UNSEEN

DATABASE = "database"  # as the source of what is shown
RECENT = 50  # finished trials whose mean duration tells what the next will take
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Reading:
    """What a study's database, or its export, held at one moment.

    Attributes
    ----------
    source : `DATABASE`, or why it is not that and what it is instead
    now : of the same clock as the dates in the documents
    study : the document of the study; empty if there is none
    trials : with histories at least where a trial runs or is one of the last that ended
    workers : empty where it is from an export
    unreadable : lines that were no documents at all
    """

    source: str
    now: datetime
    study: Document
    trials: list[Document]
    workers: list[Document]
    unreadable: int = 0


@dataclass(frozen=True)
class WorkerNow:
    """A worker.

    Its `state` is `idle`, `training`, `leaving`, `waiting` for the end of a fault of the machine, `ended`, or `silent`
    if it was not seen for a minute.
    """

    id: str
    label: str  # host and the last part of the id, short
    host: str
    slurm_job: str | None
    ranks: int
    gpus: int
    state: str
    tid: int | None
    seen: float  # seconds ago

    @property
    def is_live(self) -> bool:
        return self.state not in ("silent", "ended")


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment; trials: those that run, then those that wait, then the ended, the latest first.

    Attributes
    ----------
    left : trials that nobody has started
    per_hour : trials that the live workers finish in an hour if each takes as long as the last `RECENT` did
    seconds_left : until all trials have ended at that rate
    """

    name: str
    source: str
    time: datetime
    evaluations: int
    done: int
    pruned: int
    failed: int
    running: int
    waiting: int
    left: int
    best: TrialRecord | None
    per_hour: float | None
    seconds_left: float | None
    stopped: str | None
    left_out: int
    workers: list[WorkerNow]
    trials: list[TrialRecord]

    @property
    def live_workers(self) -> list[WorkerNow]:
        return [worker for worker in self.workers if worker.is_live]

    @property
    def failures(self) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.state == "failed"]


class _Worker(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    id: Annotated[str, Field(alias="_id")]
    host: str
    slurm_job: str | None
    ranks: int
    gpus: int
    state: str
    tid: int | None
    seen: datetime


def snapshot(reading: Reading, name: str, evaluations: int, space: Space, lease: float) -> Snapshot:
    """A study as it is.

    Parameters
    ----------
    evaluations : the config's; the database's own number counts where it has one
    lease : seconds after which a trial without a heartbeat is anybody's
    """
    workers = sorted(_workers(reading), key=lambda worker: (0.0 if worker.is_live else 1 + worker.seen, worker.label))
    asked = reading.study.get("evaluations")
    known = asked if type(asked) is int else None
    sound = [document for document in reading.trials if fault_of(document, known) is None]
    alive_since = reading.now - timedelta(seconds=min(lease, LONGEST_TRAINING))
    if (date_of(reading.study.get("opened")) or LONG_AGO) > alive_since:
        alive_since = LONG_AGO  # the database was away: every trial has a whole lease again
    trials = sorted((_now(document, reading.now, space, alive_since) for document in sound), key=_order)
    evaluations = max(evaluations, len(trials)) if known is None else known
    count = _counter(trials)
    ended, open_ = count(*ENDED), count("running", "expired", "waiting")
    per_hour = _rate(finished(trials), sum(worker.is_live for worker in workers))
    remaining = max(0, evaluations - ended)
    stopped = reading.study.get("stopped")
    return Snapshot(
        name=name,
        source=reading.source,
        time=reading.now,
        evaluations=evaluations,
        done=count(*FINISHED),
        pruned=count("pruned"),
        failed=count("failed"),
        running=count("running"),
        waiting=count("waiting", "expired"),
        left=max(0, evaluations - ended - open_),
        best=best_of(trials),
        per_hour=per_hour,
        seconds_left=3600 * remaining / per_hour if per_hour else None,
        stopped=None if stopped is None else str(stopped),
        left_out=len(reading.trials) + len(reading.workers) - len(sound) - len(workers) + reading.unreadable,
        workers=workers,
        trials=trials,
    )


def last_ended(documents: list[Document], count: int) -> list[Document]:
    """The trials that ended last."""
    ended = [document for document in documents if document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR)]
    return sorted(ended, key=lambda document: date_of(document.get("refresh_time")) or LONG_AGO, reverse=True)[:count]


def _workers(reading: Reading) -> list[WorkerNow]:
    found = []
    for document in reading.workers:
        try:
            worker = _Worker.model_validate(document)
        except ValidationError:
            continue
        seen = (reading.now - (date_of(worker.seen) or LONG_AGO)).total_seconds()
        silent = worker.state != "ended" and seen > SECONDS_UNSEEN
        found.append(
            WorkerNow(
                id=worker.id,
                label=label_of(worker.id, worker.host),
                host=worker.host,
                slurm_job=worker.slurm_job,
                ranks=worker.ranks,
                gpus=worker.gpus,
                state="silent" if silent else worker.state,
                tid=worker.tid,
                seen=max(0.0, seen),
            )
        )
    return found


def _now(document: Document, now: datetime, space: Space, alive_since: datetime) -> TrialRecord:
    """A trial at this moment: how long one that runs does so, and whether its worker was heard of."""
    trial = record_of(document, space)
    if trial.state in ENDED:
        return trial
    age = (now - trial.started).total_seconds() if trial.started else 0.0
    heard = date_of(document.get("refresh_time")) or LONG_AGO
    state = "expired" if trial.state == "running" and heard < alive_since else trial.state
    return replace(trial, state=state, seconds=age if believable(age) else None)


def _order(trial: TrialRecord) -> tuple[int, float, int]:
    place = {"running": 0, "expired": 1, "waiting": 2}.get(trial.state, 3)
    since = (trial.ended or LONG_AGO) - LONG_AGO
    return place, -since.total_seconds() if place == 3 else 0.0, trial.tid


def _counter(trials: list[TrialRecord]) -> Callable[..., int]:
    return lambda *states: sum(trial.state in states for trial in trials)


def _rate(ended: list[TrialRecord], live_workers: int) -> float | None:
    """Trials an hour; `ended`: those that finished, the latest first."""
    durations = [trial.seconds for trial in ended[:RECENT] if trial.seconds]
    if not durations or not live_workers:
        return None
    return 3600 * live_workers * len(durations) / sum(durations)
