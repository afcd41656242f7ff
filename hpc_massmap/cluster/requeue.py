"""Requeueing: a job that must end before its work is done shuts down what it holds and has Slurm queue it again.

Slurm tells a batch job by USR1, as `#SBATCH --signal=B:USR1@120` asks it to.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hpc_massmap.cluster.slurm import requeue
from hpc_massmap.errors import EXIT_TERMINATED, InputError
from hpc_massmap.progress import say

EXIT_HANDED_OVER = 0


class TimeIsUp(BaseException):
    """This job was told that it is about to end; not an Exception, so that nothing takes it for an error."""


@contextmanager
def handing_over() -> Iterator[None]:
    """A block that USR1 ends as an exception would; when all is shut down the job is requeued and ends.

    Raises
    ------
    InputError
        If Slurm does not requeue it.
    """

    def end(*_: object) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # once: what is shut down is not disturbed
        raise TimeIsUp

    signal.signal(signal.SIGUSR1, end)
    try:
        yield
    except TimeIsUp:
        job = os.environ.get("SLURM_JOB_ID")
        if job is None:
            say("told to end; run the same command again to continue")
            sys.exit(EXIT_TERMINATED)
        say(f"the time of job {job} is up: it is requeued and continues; workers wait for it")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm's, as it requeues us: nothing is left to shut down
        try:
            requeue(job)
        except InputError as error:  # whoever waits for this job must not take it for done
            raise InputError(f"job {job} is not requeued ({error}); submit it again to continue") from None
        sys.exit(EXIT_HANDED_OVER)
