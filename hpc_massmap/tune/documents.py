"""What a trial's document must be, and what it says: plain numbers, strings and lists, or it is not read.

A database that several processes and people write to is not trusted. A document of a wrong shape is left out with
one line, so that it neither breaks a worker nor moves a suggestion.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_NEW, JOB_STATE_RUNNING
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hpc_massmap.config import Space
from hpc_massmap.errors import InputError
from hpc_massmap.progress import say
from hpc_massmap.tune.space import hyperparameters

Document = dict[str, Any]
Count = Annotated[int, Field(ge=0, le=2**53)]  # MongoDB has no larger ones than 2**63
Finite = Annotated[float, Field(allow_inf_nan=False)]
LONGEST = 100_000  # entries of any list; a trial has hundreds of epochs at most
STATES = {JOB_STATE_NEW: "waiting", JOB_STATE_RUNNING: "running", JOB_STATE_DONE: "done", JOB_STATE_ERROR: "failed"}
ENDED, FINISHED = ("done", "pruned", "failed"), ("done", "pruned")
LONGEST_TRAINING = 1e8  # seconds that a trial may take to be believed

_told: set[str] = set()


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Misc(_Strict):
    tid: Count
    vals: dict[str, Annotated[list[Finite], Field(max_length=1)]]


class _Result(_Strict):
    status: Literal["new", "ok", "fail"]
    loss: Finite | None = None
    history: Annotated[list[Finite], Field(max_length=LONGEST)] = []
    seconds: Annotated[list[Finite], Field(max_length=LONGEST)] = []
    pruned: bool = False


class _Worker(_Strict):
    id: str
    host: str
    pid: int
    slurm_job: str | None


class _Error(_Strict):
    type: str
    message: str
    traceback: str


class _Trial(_Strict):
    tid: Count
    state: Annotated[int, Field(ge=0, le=3)]
    version: Count
    attempts: Count
    fruitless: Count = 0
    misc: _Misc
    result: _Result
    worker: _Worker | None = None
    error: _Error | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "_Trial":
        if self.misc.tid != self.tid:
            raise ValueError("misc.tid is not tid")
        if self.state == 2 and (self.result.status != "ok" or self.result.loss is None):
            raise ValueError("done without a loss")
        if self.state == 2 and self.result.history and self.result.loss != min(self.result.history):
            raise ValueError("its loss is not the least of its epochs'")
        return self


def fault_of(document: Document, evaluations: int | None = None) -> str | None:
    """What is wrong with a trial's document, in one line without its control characters; None if it is sound."""
    if evaluations is not None and type(document.get("tid")) is int and document["tid"] >= evaluations:
        return plain(f"trial {document['tid']}: the study has {evaluations} evaluations", 200)
    try:
        _Trial.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "document"
        message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        return plain(f"trial {document.get('tid')!r}: {key}: {message}", 200)
    return None


def sound(documents: list[Document], evaluations: int | None = None) -> list[Document]:
    """The documents that are what they should be; each other one is named in one line, once.

    Parameters
    ----------
    evaluations : of their study: there are no others than those of lower numbers
    """
    kept = []
    for document in documents:
        fault = fault_of(document, evaluations)
        if fault is None:
            kept.append(document)
        elif fault not in _told:
            _told.add(fault)
            say(f"the database holds a document that is left out: {fault}")
    return kept


@dataclass(frozen=True)
class TrialRecord:
    """A trial, as its document says.

    Attributes
    ----------
    state : `running`; `waiting`: given back, for anybody; `done`, `pruned`, `failed`; and `expired` where somebody who
        knows the time finds that its worker was silent for longer than the lease
    values : hyperparameters; empty before a suggestion, or if they are outside the search space
    loss, best : validation loss of the last epoch and of the best one
    seconds : of its training once it has ended; else since its first start, where somebody knows the time
    error : one line
    """

    tid: int
    state: str
    attempt: int
    values: dict[str, float | int]
    epochs: int
    loss: float | None
    best: float | None
    history: list[float]
    worker: str
    seconds: float | None
    started: datetime | None
    ended: datetime | None
    error: str | None


def record_of(document: Document, space: Space | None) -> TrialRecord:
    """What a sound document says; its hyperparameters as `hyperparameters` has them."""
    result, worker, error = document["result"], document.get("worker"), document.get("error")
    history = [float(loss) for loss in result.get("history", [])]
    started, touched = (date_of(document.get(key)) for key in ("book_time", "refresh_time"))
    state = "pruned" if result.get("pruned") and document["state"] == JOB_STATE_DONE else STATES[document["state"]]
    has_ended = state in ENDED
    trained = sum(result.get("seconds", [])) if has_ended else 0.0
    wall = (touched - started).total_seconds() if has_ended and touched and started else 0.0
    return TrialRecord(
        tid=document["tid"],
        state=state,
        attempt=document["attempts"],
        values=_values(document, space),
        epochs=len(history),
        loss=history[-1] if history else None,
        best=float(result["loss"]) if result.get("loss") is not None else min(history, default=None),
        history=history,
        worker=label_of(worker["id"], worker["host"]) if worker else "",
        seconds=next((seconds for seconds in (trained, wall) if believable(seconds)), None),
        started=started,
        ended=touched if has_ended else None,
        error=_last_line(error) if error and state == "failed" else None,
    )


def best_of(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """The finished trial with the lowest loss, the earliest of equals; None if none finished."""
    return min(finished(trials), key=lambda trial: (trial.best, trial.tid), default=None)


def finished(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that are done or were ended early, in the order that they have."""
    return [trial for trial in trials if trial.state in FINISHED and trial.best is not None]


def date_of(value: Any) -> datetime | None:
    """A date of a document or of its export, UTC where it names no zone; None if it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def label_of(identity: str, host: str) -> str:
    """A worker's name, short: its host and the last part of its id."""
    return f"{host.split('.')[0]}:{identity.rpartition(':')[2][:4]}"


def believable(seconds: float) -> bool:
    """Whether a training may take that long."""
    return 1e-3 < seconds < LONGEST_TRAINING


def _values(document: Document, space: Space | None) -> dict[str, float | int]:
    try:
        return hyperparameters(document["misc"]["vals"], space)
    except InputError:
        return {}


def _last_line(error: dict[str, str]) -> str:
    lines = [line for line in error["message"].splitlines() if line.strip()]
    return f"{error['type']}: {lines[-1].strip()}" if lines else error["type"]


def plain(value: object, length: int) -> str:
    """Any text as a terminal shows it as it is: one line, no control characters, not endless."""
    text = " ".join(str(value)[: 10 * length].split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
