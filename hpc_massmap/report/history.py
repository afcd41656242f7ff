"""How a run came to its model: the trials of the tuning and the epochs of the final training.

`trials.jsonl` is an export of a database that others may have written to, so nothing in it is taken for granted.
"""

import csv
import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpc_massmap.config import Range, Space
from hpc_massmap.errors import InputError, in_one_line

STATES = {0: "new", 1: "running", 2: "done", 3: "error"}  # hyperopt's job states
HYPERPARAMETERS = ("filters", "kernel", "layers", "dropout")


@dataclass(frozen=True)
class Trial:
    """One evaluation of the tuning.

    Attributes
    ----------
    values : hyperparameter -> number; those not yet suggested are left out
    loss : best validation loss; None if the trial is not done
    pruned : ended early because others did better
    history : validation loss of every epoch so far
    error : one line; empty if there is none
    started, ended : None where the document does not say, or the trial has not ended
    """

    tid: int
    state: str
    values: dict[str, float]
    loss: float | None
    pruned: bool
    history: list[float]
    attempts: int
    worker: str
    error: str
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class TrainingLog:
    """The final training, one entry an epoch; losses are mean absolute errors of normalised pixels."""

    epoch: list[int]
    train_loss: list[float]
    validation_loss: list[float]
    learning_rate: list[float]
    seconds: list[float]

    @property
    def best(self) -> int:
        """Index of the epoch whose weights are the model's."""
        return min(range(len(self.epoch)), key=lambda n: self.validation_loss[n])


def read_trials(path: Path, space: Space | None = None) -> list[Trial]:
    """The trials of a run by number; none if it was not tuned.

    Parameters
    ----------
    space : tells the values of hyperparameters that were not varied, which hyperopt stores as 0

    Raises
    ------
    InputError
        If a line is not a trial; names the file and the line.
    """
    if not path.exists():
        return []
    trials = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                with _refusing(f"{path}: line {number}", "trial", "run jobs/tune.py again, which rewrites the file"):
                    trials.append(_trial(json.loads(line.strip()), space))
    return sorted(trials, key=lambda trial: trial.tid)


def _trial(document: Any, space: Space | None) -> Trial:
    result, error = document["result"], document.get("error")
    if document["state"] not in STATES:
        raise ValueError(f"state {document['state']} is none of {', '.join(map(str, STATES))}")
    state = STATES[document["state"]]
    loss = _number(result["loss"]) if state == "done" else None
    suggested = document["misc"]["vals"]
    values = {name: _number(suggested[name][0]) for name in HYPERPARAMETERS if suggested.get(name)}
    for name in values.keys() if space else ():
        bounds: Range = getattr(space, name)
        values[name] = bounds.low if bounds.low == bounds.high else values[name]
    return Trial(
        tid=int(document["tid"]),
        state=state,
        values=values,
        loss=loss,
        pruned=bool(result.get("pruned")),
        history=[_number(loss) for loss in result.get("history") or []],
        attempts=int(document.get("attempts") or 1),
        worker=str((document.get("worker") or {}).get("host", "")),
        error=" ".join(f"{error['type']}: {error['message']}".split()) if error else "",
        started=_date(document.get("book_time")),
        ended=_date(document.get("refresh_time")) if state in ("done", "error") else None,
    )


def _date(value: Any) -> datetime | None:
    """A date without a zone is UTC, as MongoDB's are."""
    date = None if value is None else datetime.fromisoformat(value)
    return date.replace(tzinfo=UTC) if date and date.tzinfo is None else date


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def best_trial(trials: list[Trial]) -> Trial | None:
    """The finished trial with the lowest loss, the earliest of equals; None if none finished."""
    return min(with_loss(trials), key=lambda trial: (trial.loss, trial.tid), default=None)


def with_loss(trials: list[Trial]) -> list[Trial]:
    """The trials that finished with a loss that is a number."""
    return [trial for trial in trials if trial.loss is not None and math.isfinite(trial.loss)]


def best_so_far(trials: list[Trial]) -> list[tuple[int, float]]:
    """Number and loss of every trial that was better than all with lower numbers."""
    steps: list[tuple[int, float]] = []
    for trial in with_loss(trials):
        if trial.loss is not None and (not steps or trial.loss < steps[-1][1]):
            steps.append((trial.tid, trial.loss))
    return steps


def hours_to_loss(trials: list[Trial]) -> list[tuple[float, Trial]]:
    """The trials with a loss by the time they ended, in hours since the first was started."""
    starts = [trial.started for trial in trials if trial.started]
    ended = [(trial.ended, trial) for trial in with_loss(trials) if trial.ended]
    timed = [((end - min(starts)).total_seconds() / 3600, trial) for end, trial in ended if starts]
    return sorted(timed, key=lambda item: item[0])


def read_training_log(path: Path) -> TrainingLog:
    """The log of the final training.

    Raises
    ------
    InputError
        If it is missing, empty or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run jobs/train.py first") from None
    complaint = f"{path}: not a training log; run jobs/train.py again"
    with in_one_line(complaint, csv.Error):
        rows = list(csv.DictReader(text.splitlines(), restval=""))
    if not rows:
        raise InputError(f"{path}: not a training log; run jobs/train.py again (it has no epochs)")
    for field in dataclasses.fields(TrainingLog):
        if field.name not in rows[0]:
            raise InputError(f"{complaint} ({field.name!r} is missing)")
    with in_one_line(complaint):
        return TrainingLog(
            epoch=[int(row["epoch"]) for row in rows],
            train_loss=[float(row["train_loss"]) for row in rows],
            validation_loss=[float(row["validation_loss"]) for row in rows],
            learning_rate=[float(row["learning_rate"]) for row in rows],
            seconds=[float(row["seconds"]) for row in rows],
        )


@contextmanager
def _refusing(where: str, what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InputError(f"{where}: not a {what} ({reason}); {remedy}") from None
