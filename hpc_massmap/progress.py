"""Live progress: a rich bar on a terminal, a plain line in a log file, ever more seldom."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hpc_massmap.storage import OUT_OF_SPACE

SECONDS_BETWEEN_LINES, MOST_SECONDS_BETWEEN_LINES = 10.0, 600.0
LONGER = 0.1  # each pause, as a part of what has passed

# mpirun gives every rank a terminal of its own, whether or not its own output is one: lines are right for both
UNDER_MPIRUN = "OMPI_COMM_WORLD_SIZE" in os.environ
console = Console(highlight=False, soft_wrap=True, force_terminal=False if UNDER_MPIRUN else None)


def say(text: str) -> None:
    """One line for the person who watches; a full disk, where it goes to a log, is no reason to end."""
    try:
        console.print(text, markup=False)
    except OSError as error:
        if error.errno not in OUT_OF_SPACE:
            raise


@cache
def say_once(text: str) -> None:
    """The same, but one that is the same for many files only once in a process."""
    say(text)


def clock() -> str:
    """The time of day, as lines of logs begin with it."""
    return f"{datetime.now():%m-%d %H:%M:%S}"


class Bar:
    """What a step tells about itself: how many of `total` are done, how long the rest takes, and a short note."""

    def __init__(self, title: str, total: int, unit: str, show: bool, rich_bar: Progress | None = None) -> None:
        self.title, self.total, self.unit, self.done, self.note = title, total, unit, 0, ""
        self._left: float | None = None
        self._show = show
        self._rich = rich_bar
        self._task = rich_bar.add_task(title, total=total, unit=unit, note="", left="") if rich_bar else None
        self._start = self._last_line = time.monotonic()

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        self.update(self.done + steps, note)

    def update(self, done: int, note: str | None = None, left: float | None = None) -> None:
        """Tell how many are done.

        Parameters
        ----------
        left : seconds, where somebody knows better than by what is done
        """
        self.done, self._left = done, left
        self.note = self.note if note is None else note
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=done, note=self.note, left=self._time_left())
        elif time.monotonic() - self._last_line > self._pause():
            self.print_line()

    def print_line(self) -> None:
        """A line of a log, with the time of day."""
        if not self._show:
            return
        self._last_line = time.monotonic()
        elapsed = timedelta(seconds=round(self._last_line - self._start))
        left = f", {told}" if (told := self._time_left()) else ""
        say(f"{clock()} {self.title}: {self.done}/{self.total} {self.unit}, {elapsed}{left}  {self.note}".rstrip())

    def _pause(self) -> float:
        """Seconds until the next line: a day has some hundred, not one every ten seconds."""
        return min(max(SECONDS_BETWEEN_LINES, (self._last_line - self._start) * LONGER), MOST_SECONDS_BETWEEN_LINES)

    def _time_left(self) -> str:
        """What remains, at the speed of all that was done; nothing as long as nobody can tell."""
        left = self._left
        if left is None and 0 < self.done < self.total:
            left = (time.monotonic() - self._start) / self.done * (self.total - self.done)
        return "" if left is None or self.done >= self.total else f"{timedelta(seconds=round(left))} left"


@contextmanager
def progress(title: str, total: int, unit: str, show: bool = True) -> Iterator[Bar]:
    """A bar for `total` units of work; `show` is false on every rank but the first."""
    if show and console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),  # rich forgets its speed on steps of more than 30 seconds
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console) as rich_bar:
            yield Bar(title, total, unit, show, rich_bar)
        return
    if show:
        say(f"{title}: {total} {unit}")
    bar = Bar(title, total, unit, show)
    yield bar
    bar.print_line()
