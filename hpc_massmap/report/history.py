"""How a run came to its model: the trials of the tuning and the epochs of the final training."""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from hpc_massmap.config import Space
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.tune.documents import TrialRecord, finished, record_of
from hpc_massmap.tune.export import read_export


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


def read_trials(path: Path, space: Space | None = None) -> list[TrialRecord]:
    """The sound trials of a run by number; none if it was not tuned. Raises what `read_export` does.

    Parameters
    ----------
    space : tells the values of hyperparameters that were not varied, which hyperopt stores as 0
    """
    trials = [record_of(document, space) for document in read_export(path)]
    return sorted(trials, key=lambda trial: trial.tid)


def best_so_far(trials: list[TrialRecord]) -> list[tuple[int, float]]:
    """Number and loss of every trial that was better than all with lower numbers."""
    steps: list[tuple[int, float]] = []
    for trial in finished(trials):
        if trial.best is not None and (not steps or trial.best < steps[-1][1]):
            steps.append((trial.tid, trial.best))
    return steps


def hours_to_loss(trials: list[TrialRecord]) -> list[tuple[float, TrialRecord]]:
    """The trials with a loss by the time they ended, in hours since the first was started."""
    starts = [trial.started for trial in trials if trial.started]
    ended = [(trial.ended, trial) for trial in finished(trials) if trial.ended]
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
        raise InputError(f"{path}: no such file; run massmap train first") from None
    complaint = f"{path}: not a training log; run massmap train again"
    with in_one_line(complaint, csv.Error):
        rows = list(csv.DictReader(text.splitlines(), restval=""))
    if not rows:
        raise InputError(f"{path}: has no epochs; run massmap train again")
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
