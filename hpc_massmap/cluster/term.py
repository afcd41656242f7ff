"""TERM, for every job: it ends as by an exception, so that what it started is shut down."""

import signal
import sys

from hpc_massmap.errors import EXIT_TERMINATED


def end_at_term() -> None:
    """From now on the first TERM ends this process as an exception would."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # batch script and Slurm both say it: once is enough
        sys.exit(EXIT_TERMINATED)

    signal.signal(signal.SIGTERM, end)
