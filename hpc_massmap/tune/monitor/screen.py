"""A study on a terminal: one screen that fits, whatever its size and whatever the database holds.

Names, hosts and messages come from a database that others write to: they are shown as text, one line, without
control characters, and never as markup.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpc_massmap.config import HYPERPARAMETERS
from hpc_massmap.tune.documents import ENDED, TrialRecord, plain
from hpc_massmap.tune.monitor.snapshot import DATABASE, Snapshot, WorkerNow

BLOCKS = "▁▂▃▄▅▆▇█"
LONGEST_BAR = 60
CURVE, LONGEST_CURVE = "by epoch", 24  # title of the sparklines' column; characters
TINY = 1e-300  # in place of what has no logarithm
GAP = 2  # spaces between columns
COLOURS = {"running": "green", "training": "green", "failed": "red", "expired": "yellow", "silent": "yellow"}
LONGEST_TITLE = 4  # of a hyperparameter


class Column(NamedTuple):
    """A column of a table; those of a high `rank` go first where there is no room."""

    title: str
    width: int
    rank: int = 0
    to_the_left: bool = False


WORKERS = [
    Column("worker", 13, 0, True),
    Column("host", 16, 3, True),
    Column("Slurm job", 12, 1, True),
    Column("ranks", 5, 2),
    Column("GPUs", 4, 2),
    Column("state", 8, 0, True),
    Column("trial", 5),
    Column("seen", 10),
]
BEFORE_VALUES = [
    Column("trial", 5),
    Column("state", 7, 0, True),
    Column("attempt", 7, 4),
    Column("epoch", 5, 1),
    Column("loss", 7, 3),
    Column("best", 7),
]
AFTER_VALUES = [
    Column(CURVE, len(CURVE), 2, True),
    Column("worker", 13, 5, True),
    Column("time", 6, 2),
]


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them: 45s, 12m, 4h05m, 2d03h; - if unknown."""
    if seconds is None or not 0 <= seconds < 1e9:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes}m"
    return (
        f"{minutes // 60}h{minutes % 60:02d}m" if minutes < 1440 else f"{minutes // 1440}d{minutes % 1440 // 60:02d}h"
    )


def sparkline(history: list[float], width: int) -> str:
    """The course of a loss in blocks, by its logarithm between its own extremes; the means of neighbours if long."""
    if not history:
        return ""
    edges = [n * len(history) // width for n in range(width + 1)] if len(history) > width else range(len(history) + 1)
    means = [math.log(max(TINY, sum(history[a:b]) / (b - a))) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    if not high - low > 0 or not math.isfinite(high):
        return BLOCKS[0] * len(means)
    return "".join(BLOCKS[round((mean - low) / (high - low) * (len(BLOCKS) - 1))] for mean in means)


def screen(study: Snapshot, width: int, height: int) -> RenderableType:
    """All of a study in `width` x `height` characters."""
    workers = [worker for worker in study.workers if worker.state != "ended"]
    parts = _header(study, width)
    rows = _allot(height - len(parts), [len(study.trials), len(workers), len(study.failures)])
    if workers:
        cells = [_worker_cells(worker) for worker in workers[: rows[1]]]
        parts += _table("workers", WORKERS, cells, width)
        parts += _more({"": len(workers) - rows[1]})
    if study.trials:
        parts += _trials(study, rows[0], width)
    if study.failures:
        parts += [Text(), Text("failures, the latest first", "bold")]
        latest = study.failures[: rows[2]]
        parts += [one_line(f"trial {t.tid}, attempt {t.attempt}: {t.error}", width, "red") for t in latest]
        parts += _more({"": len(study.failures) - rows[2]})
    return Group(*parts)


def _trials(study: Snapshot, rows: int, width: int) -> list[RenderableType]:
    """Those that have not ended, and at least a third of the rows for the last that have."""
    ended = [trial for trial in study.trials if trial.state in ENDED]
    active = [trial for trial in study.trials if trial.state not in ENDED]
    of_ended = min(len(ended), max(rows - len(active), rows // 3))
    active_shown, ended_shown = active[: rows - of_ended], ended[:of_ended]
    rows_shown = active_shown + ended_shown
    columns = _trial_columns(rows_shown)
    spark = _curve_width(columns, width)
    cells = [_trial_cells(trial, columns, spark) for trial in rows_shown]
    parts = _table("trials", columns, cells, width)
    return parts + _more({"active": len(active) - len(active_shown), "ended": len(ended) - len(ended_shown)})


def _header(study: Snapshot, width: int) -> list[RenderableType]:
    counts = f"{study.done} of {study.evaluations} done"
    counts += f" ({study.pruned} pruned)" if study.pruned else ""
    counts += f", {study.failed} failed, {study.running} running"
    counts += f", {study.waiting} waiting" if study.waiting else ""
    rate = "-" if study.per_hour is None else f"{study.per_hour:.3g}"
    source = f"database, {study.time.astimezone():%H:%M:%S}" if study.source == DATABASE else study.source
    lines: list[RenderableType] = [
        one_line(f"{study.name}: {source}", width, "bold"),
        _bar(study.done + study.failed, study.evaluations, width),
        one_line(f"{counts}, {study.left} left", width),
        one_line(f"best {_best(study.best)}", width),
        one_line(
            f"{len(study.live_workers)} workers, {rate} trials per hour, time left {duration(study.seconds_left)}",
            width,
        ),
    ]
    if study.stopped is not None:
        lines.append(one_line(f"stopped: {study.stopped}", width, "bold red"))
    if study.left_out:
        lines.append(one_line(f"{study.left_out} documents are damaged and left out", width, "yellow"))
    return lines


def _bar(ended: int, of: int, width: int) -> Table:
    line = Table.grid()  # a bar alone does not end its line
    line.add_row(ProgressBar(max(1, of), max(0, min(ended, of)), width=min(LONGEST_BAR, width)))
    return line


def _best(trial: TrialRecord | None) -> str:
    if trial is None or trial.best is None:
        return "-"
    values = ", ".join(f"{said.short} {_value(trial, name)}" for name, said in HYPERPARAMETERS.items())
    return f"{trial.best:.5g} of trial {trial.tid}: {values}"


def _value(trial: TrialRecord, name: str) -> str:
    value = trial.values.get(name)
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.3f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.0e}"


def _trial_columns(trials: list[TrialRecord]) -> list[Column]:
    """Those of the hyperparameters as wide as their values."""
    values = []
    for name, said in HYPERPARAMETERS.items():
        title = said.short[:LONGEST_TITLE]
        values.append(Column(title, max(len(title), *(len(_value(trial, name)) for trial in trials)), 1))
    return [*BEFORE_VALUES, *values, *AFTER_VALUES]


def _worker_cells(worker: WorkerNow) -> list[Text]:
    ago = f"{duration(worker.seen)} ago"
    job, trial = worker.slurm_job or "-", "-" if worker.tid is None else worker.tid
    cells = [worker.label, worker.host, job, worker.ranks, worker.gpus, worker.state, trial, ago]
    return _cells(cells, WORKERS, COLOURS.get(worker.state, ""))


def _trial_cells(trial: TrialRecord, columns: list[Column], spark: int) -> list[Text]:
    loss, best = ("-" if value is None else f"{value:.5g}" for value in (trial.loss, trial.best))
    values = [_value(trial, name) for name in HYPERPARAMETERS]
    curve = sparkline(trial.history, spark)
    time_ = duration(trial.seconds)
    cells = [
        trial.tid,
        trial.state,
        trial.attempt,
        trial.epochs or "-",
        loss,
        best,
        *values,
        curve,
        trial.worker,
        time_,
    ]
    return _cells(cells, columns, COLOURS.get(trial.state, ""))


def _cells(values: Sequence[object], columns: list[Column], colour: str) -> list[Text]:
    return [
        Text(plain(value, 99 if column.to_the_left else column.width), colour if column.title == "state" else "")
        for value, column in zip(values, columns, strict=True)
    ]


def _table(title: str, columns: list[Column], rows: list[list[Text]], width: int) -> list[RenderableType]:
    """A table of the columns there is room for, each row one line."""
    kept = _fitting(columns, width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for column in kept:
        table.add_column(
            column.title,
            justify="left" if column.to_the_left else "right",
            min_width=len(column.title) if column.to_the_left else column.width,
            max_width=LONGEST_CURVE if column.title == CURVE else column.width,
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*(cell for cell, column in zip(row, columns, strict=True) if column in kept))
    return [Text(), Text(title, "bold"), table]


def _fitting(columns: list[Column], width: int) -> list[Column]:
    kept = list(columns)
    while len(kept) > 1 and sum(column.width + GAP for column in kept) > width:
        kept.remove(max(reversed(kept), key=lambda column: column.rank))
    return kept


def _curve_width(columns: list[Column], width: int) -> int:
    room = width - sum(column.width + GAP for column in _fitting(columns, width))
    return min(LONGEST_CURVE, len(CURVE) + max(0, room))


def _more(hidden: dict[str, int]) -> list[RenderableType]:
    counts = ", ".join(f"{number} more {what}".rstrip() for what, number in hidden.items() if number > 0)
    return [Text(f"and {counts}", "dim")] if counts else []


def one_line(text: str, width: int, style: str = "") -> Text:
    """Text cut to a line of this width."""
    return Text(plain(text, width), style, no_wrap=True, overflow="ellipsis")  # of wide characters fewer fit


def _allot(height: int, wanted: list[int]) -> list[int]:
    """How many rows trials, workers and failures get; each table needs up to four lines besides."""
    free = height - sum(4 for number in wanted if number) - 1
    failures = min(wanted[2], max(1, free // 6))
    workers = min(wanted[1], max(1, free // 3))
    return [min(wanted[0], max(1, free - failures - workers)), workers, failures]
