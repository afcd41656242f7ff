"""What Slurm tells a worker or a training about its end, and when that end is.

Signals only set a flag: the process looks at it where it is safe to stop. USR2 (submitit's, by --signal before the
time limit, or at a preemption) asks to leave and come back; TERM asks to leave.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from hpc_massmap.cluster.environment import environment
from hpc_massmap.cluster.slurm import seconds_of

COME_BACK, LEAVE = signal.SIGUSR2, signal.SIGTERM
MARGIN = 20.0  # seconds to put things in order before Slurm kills


class Notice:
    """The notice given to this process; it replaces submitit's handlers until `come_back` calls the one it deferred."""

    def __init__(self, signal_seconds: float) -> None:
        self._signal_seconds = signal_seconds
        self.given: int | None = None
        self.ends = _end_of_job()
        self._submitit: Any = signal.getsignal(COME_BACK)
        for number in (COME_BACK, LEAVE):
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.given != LEAVE:
            self.given = number
            self.ends = self.ends if self._is_time_limit() else None

    def _is_time_limit(self) -> bool:
        """Whether the notice is of the time limit; Slurm gives that up to a minute early. Else it is a preemption."""
        return self.ends is not None and self.ends - time.monotonic() < self._signal_seconds + 70

    def seconds_left(self) -> float:
        """Until this worker should have stopped; 0 if it was told to go and knows no end."""
        if self.ends is not None and self.given != LEAVE:
            return max(0.0, self.ends - time.monotonic() - MARGIN)
        return 0.0 if self.given else float("inf")

    def come_back(self) -> None:
        """Let submitit requeue this job, if it was started by it; may not return."""
        if callable(self._submitit):
            handler: Callable[[int, None], Any] = self._submitit
            handler(COME_BACK, None)


def _end_of_job() -> float | None:
    """When Slurm ends this job, by the clock that nobody sets; None outside of Slurm or without a limit."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    given = os.environ.get("SLURM_JOB_END_TIME")  # since Slurm 23.02
    if given and given.isdigit():
        return time.monotonic() + float(given) - time.time()
    try:
        command = ["squeue", "--noheader", f"--jobs={job}", "--format=%L"]
        told = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    seconds = seconds_of(told)
    return None if seconds is None else time.monotonic() + seconds
