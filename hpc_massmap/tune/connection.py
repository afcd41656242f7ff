"""A connection to a study that outlives its server: what it asks is asked again until there is an answer, or no time.

A server that moved to another node is found by its endpoint, which is read anew each time.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from hpc_massmap.progress import say
from hpc_massmap.run import Run
from hpc_massmap.tune.database.connect import DatabaseUnreachable, connect, is_transient
from hpc_massmap.tune.study import Study

Answer = TypeVar("Answer")
PAUSES = (0.2, 1.0)  # seconds between questions to a silent server: the first, the longest
BEATS_PER_LEASE, LONGEST_BEAT = 4, 10.0  # a trial is said to be alive that often, and after so many seconds at most
SHORTEST_PATIENCE = 0.5  # seconds for an answer, however short the lease


def seconds_between_beats(lease: float) -> float:
    """How often a worker says that its trial is alive."""
    return min(LONGEST_BEAT, lease / BEATS_PER_LEASE)


def open_study(run: Run, patience: float | None = None) -> Study:
    """The study of a run, whose database answers; raises what `connect` does.

    Parameters
    ----------
    patience : seconds for every answer; None: those between two beats
    """
    tune = run.config.tune
    timeout = max(SHORTEST_PATIENCE, seconds_between_beats(tune.lease)) if patience is None else patience
    return Study(connect(run.config.database, run.database, timeout), run.config.name, tune.lease, tune.attempts)


def join_study(run: Run) -> Study:
    """The study of a run, for a worker, which may come to a new database before its launcher has filled it.

    Raises
    ------
    DatabaseUnreachable
        Besides what `connect` raises: if there is no study yet.
    """
    study = open_study(run)
    if not study.exists():
        raise DatabaseUnreachable(f"study {study.key}: not there yet; massmap tune makes it")
    return study


class DatabaseSilent(DatabaseUnreachable):
    """The database did not answer for as long as we were willing to wait."""


class StudyConnection:
    """Calls verbs of a study.

    Parameters
    ----------
    open_study : connects anew
    patience : seconds to wait for a server that does not answer
    hurry : whether there is no time to wait, since this worker has to leave
    """

    def __init__(
        self, open_study: Callable[[], Study], patience: float, hurry: Callable[[], bool] = lambda: False
    ) -> None:
        self._open, self._patience, self._hurry = open_study, patience, hurry
        self._study: Study | None = None

    def __call__(self, ask: Callable[[Study], Answer]) -> Answer:
        """The answer to `ask(study)`, which may be asked more than once.

        Raises
        ------
        DatabaseSilent
            If there is none in time.
        """
        start, pause = time.monotonic(), PAUSES[0]
        while True:
            try:
                if self._study is None:
                    self._study = self._open()
                return ask(self._study)
            except Exception as error:
                if not (isinstance(error, DatabaseUnreachable) or is_transient(error)):
                    raise
                waited = time.monotonic() - start
                if self._hurry() or waited > self._patience:
                    raise DatabaseSilent(
                        f"the database has not answered for {waited:.0f} s ({_short(error)})"
                    ) from None
                if pause == PAUSES[0]:
                    say(f"the database does not answer ({_short(error)}); waiting for it")
                self._study = None
                time.sleep(pause * random.uniform(0.5, 1))  # not all workers at once
                pause = min(2 * pause, PAUSES[1])


def _short(error: Exception) -> str:
    """Without pymongo's description of its whole topology."""
    return str(error).partition(" (configured")[0]
