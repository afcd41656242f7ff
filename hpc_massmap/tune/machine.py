"""Faults of the machine, which no trial is charged with: a full disk or quota, a file that is away, a broken GPU.

What the operating system refuses, and what is wrong with a file that all trials share, has nothing to do with the
hyperparameters of the trial that meets it first: it is given back, and goes on when the fault is over.
"""

import errno
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.errors import InputError, first_line, line_of
from hpc_massmap.progress import say
from hpc_massmap.run import Run
from hpc_massmap.storage import replacing
from hpc_massmap.train.loop import LAST
from hpc_massmap.train.memory import OutOfMemory
from hpc_massmap.train.trainer import Diverged
from hpc_massmap.tune.database.connect import DatabaseUnreachable
from hpc_massmap.tune.ownership import OwnershipLost

PAUSES = (1.0, 30.0)  # seconds before files are tried again: the first, the longest
LEAST_TO_WRITE = 2**20  # bytes
# of libraries that give the text of an error of the operating system, and not its number
REFUSALS = re.compile("|".join(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EIO, errno.EROFS))))
# what CUDA says of a GPU that fails, is away or belongs to somebody else; no kernel of ours can bring these about
BROKEN_GPU = re.compile(
    "uncorrectable ECC error|uncorrectable NVLink error|hardware stack error|is/are busy or unavailable"
    "|no CUDA-capable device|CUDA driver initialization failed|system not yet initialized|CUDA error: unknown error"
)


def fault_of_machine(error: BaseException) -> str | None:
    """What is wrong with the machine, in one line; None if the error is no fault of the machine's.

    Training code, network and hyperparameters are at fault when a loss diverges, memory runs out, or there is a bug.
    The database has a patience of its own (connection.py).
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DatabaseUnreachable | OutOfMemory | Diverged | OwnershipLost):
            return None
        if isinstance(cause, InputError) or _is_refused(cause):
            return line_of(error) or first_line(error)
        cause = cause.__cause__
    return None


def _is_refused(error: BaseException) -> bool:
    """Whether a GPU is broken, or the operating system refused something other than memory or a word with a rank."""
    if isinstance(error, OSError):
        of_ranks = isinstance(error, ConnectionError) or (isinstance(error, TimeoutError) and error.errno is None)
        return not of_ranks and error.errno != errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(REFUSALS.search(str(error)) or BROKEN_GPU.search(str(error)))


def check_files(run: Run) -> None:
    """Raise what reading the maps, or writing as much as a checkpoint of a trial, gives."""
    open_maps(run.maps, [*run.config.model.views, *run.config.model.targets])
    size = max((path.stat().st_size for path in run.trials.glob(f"*/*/{LAST}")), default=0)
    probe = run.trials / f"probe-{os.getpid()}"
    try:
        with replacing(probe) as temporary:
            temporary.write_bytes(bytes(max(size, LEAST_TO_WRITE)))
    finally:
        probe.unlink(missing_ok=True)


@dataclass
class Outage:
    """A time in which the machine was at fault whenever something was tried."""

    began: float = field(default_factory=time.monotonic)
    pause: float = PAUSES[0]  # seconds until the next try

    def lasted(self) -> float:
        return time.monotonic() - self.began

    def sleep(self, wakes: Callable[[], bool]) -> None:
        """Pause, each time for longer; not once `wakes` says so."""
        until = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, PAUSES[1])
        while time.monotonic() < until and not wakes():
            time.sleep(0.1)


def say_fault(fault: str) -> None:
    """Tell whoever reads the log that a fault is waited out."""
    say(f"a fault of the machine, which no trial is charged with: {fault}; waiting for its end")


def outlast(act: Callable[[], None], seconds: float, told: Callable[[str], None]) -> None:
    """Act, again and again while the machine is at fault, for at most some seconds; `told` hears of the fault once.

    Raises
    ------
    Exception
        What acting raises, if that is no fault of the machine's or lasts.
    """
    outage = None
    while True:
        try:
            return act()
        except Exception as error:
            fault = fault_of_machine(error)
            if fault is None or (outage is not None and outage.lasted() > seconds):
                raise
            if outage is None:
                outage = Outage()
                told(fault)
        outage.sleep(lambda: False)
