"""The trials of a study as text, CSV or JSON, and a study at one moment as JSON."""

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from hpc_massmap.config import HYPERPARAMETERS
from hpc_massmap.tune.documents import TrialRecord, plain
from hpc_massmap.tune.export import as_text
from hpc_massmap.tune.monitor.screen import duration
from hpc_massmap.tune.monitor.snapshot import Snapshot

COLUMNS = ("trial", "state", "loss", *HYPERPARAMETERS, "epochs", "attempts", "seconds", "ended", "worker", "error")
LONGEST_CELL = 100


def to_json(study: Snapshot) -> str:
    """One object; its keys are the attributes of `Snapshot`, `TrialRecord` and `WorkerNow`, dates in ISO 8601."""
    return json.dumps(asdict(study), default=as_text, allow_nan=False)


def by_loss(trials: list[TrialRecord]) -> list[TrialRecord]:
    """The best first; those without a loss last."""
    return sorted(trials, key=lambda trial: (trial.best is None, trial.best or 0.0, trial.tid))


def trials_as_json(trials: list[TrialRecord]) -> str:
    """A list of objects, the best first."""
    return json.dumps([asdict(trial) for trial in by_loss(trials)], default=as_text, allow_nan=False)


def trials_as_csv(trials: list[TrialRecord]) -> str:
    """One row a trial, the best first; all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if cell is None else plain(cell, LONGEST_CELL) for cell in _row(t)] for t in by_loss(trials))
    return text.getvalue()


def trials_as_text(trials: list[TrialRecord]) -> str:
    """Aligned columns, the best first."""
    rows = [
        list(COLUMNS),
        *([_short(cell, name) for cell, name in zip(_row(t), COLUMNS, strict=True)] for t in by_loss(trials)),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(trial: TrialRecord) -> list[Any]:
    values = [trial.values.get(name) for name in HYPERPARAMETERS]
    ended = trial.ended.isoformat(timespec="seconds") if trial.ended else None
    epochs = trial.epochs or None
    return [
        trial.tid,
        trial.state,
        trial.best,
        *values,
        epochs,
        trial.attempt,
        trial.seconds,
        ended,
        trial.worker,
        trial.error,
    ]


def _short(cell: Any, name: str) -> str:
    if cell is None:
        return "-"
    if name == "seconds":
        return duration(cell)
    return f"{cell:.5g}" if isinstance(cell, float) else plain(cell, LONGEST_CELL)
