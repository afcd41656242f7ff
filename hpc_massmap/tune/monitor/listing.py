"""The trials of a study as text, CSV or JSON, and a study at one moment as JSON."""

import csv
import io
import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from hpc_massmap.tune.best import PARAMETERS
from hpc_massmap.tune.documents import Document
from hpc_massmap.tune.monitor.screen import duration, shown
from hpc_massmap.tune.monitor.snapshot import Snapshot, TrialNow

COLUMNS = ("trial", "state", "loss", *PARAMETERS, "epochs", "attempts", "seconds", "ended", "worker", "error")
LONGEST_CELL = 100


def to_json(study: Snapshot) -> str:
    """One object; its keys are the attributes of `Snapshot`, `TrialNow` and `WorkerNow`, dates in ISO 8601."""
    return json.dumps(asdict(study), default=_plain, allow_nan=False)


def to_jsonl(documents: list[Document]) -> str:
    """The documents as they are, one a line, by number; what `trials.jsonl` is."""
    ordered = sorted(documents, key=lambda document: document["tid"])
    return "".join(json.dumps(document, default=_plain) + "\n" for document in ordered)


def by_loss(trials: list[TrialNow]) -> list[TrialNow]:
    """The best first; those without a loss last."""
    return sorted(trials, key=lambda trial: (trial.best is None, trial.best or 0.0, trial.tid))


def trials_as_json(trials: list[TrialNow]) -> str:
    """A list of objects, the best first."""
    return json.dumps([asdict(trial) for trial in by_loss(trials)], default=_plain, allow_nan=False)


def trials_as_csv(trials: list[TrialNow]) -> str:
    """One row a trial, the best first; all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if cell is None else shown(cell, LONGEST_CELL) for cell in _row(t)] for t in by_loss(trials))
    return text.getvalue()


def trials_as_text(trials: list[TrialNow]) -> str:
    """Aligned columns, the best first."""
    rows = [
        list(COLUMNS),
        *([_short(cell, name) for cell, name in zip(_row(t), COLUMNS, strict=True)] for t in by_loss(trials)),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(trial: TrialNow) -> list[Any]:
    values = [trial.values.get(name) for name in PARAMETERS]
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
    return f"{cell:.5g}" if isinstance(cell, float) else shown(cell, LONGEST_CELL)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
