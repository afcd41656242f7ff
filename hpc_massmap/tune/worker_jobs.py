"""The workers' jobs of a study, written down, so that a launcher that is started again finds them at work."""

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hpc_massmap.cluster.submit import Job, cancel, dismiss, ended, failure, interrupt
from hpc_massmap.progress import say
from hpc_massmap.storage import read_json, write_json

SECONDS_TO_LEAVE = 60.0
PAUSES = (1.0, 300.0)  # seconds before workers that ended are replaced: the first, the longest
TOLD_TO_LEAVE = "it was told to leave"
# ends that say nothing of the worker: Slurm's words for a job that somebody or something else ended
TAKEN_AWAY = ("CANCELLED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REQUEUED", "REVOKED", TOLD_TO_LEAVE)


class WorkerJobs:
    """The jobs that were submitted and have not ended.

    Parameters
    ----------
    record : the file that names them
    submit : submits that many
    reattach : the jobs of these names, as another launcher submitted them
    check : raises if the workers are not ours any more
    """

    def __init__(
        self,
        record: Path,
        submit: Callable[[int], list[Job]],
        reattach: Callable[[list[str]], list[Job]],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._record, self._submit, self._check = record, submit, check
        self._folder = str(record.parent.resolve())
        known = read_json(record) if record.exists() else {"jobs": []}
        names = known["jobs"]
        if names and (other := known.get("folder", self._folder)) != self._folder:
            say(f"{record}: its jobs work in {other}, from where this run was moved or copied; they are not this run's")
            names = []
        self.jobs = [job for job in reattach(names) if not ended(job)] if names else []

    def add(self, workers: int) -> None:
        """Submit more workers."""
        self._check()
        self.jobs += self._submit(workers)
        self._write()

    def forget_ended(self) -> list[str]:
        """Forget the jobs that have ended; why they did, a line each."""
        self._check()
        over = [job for job in self.jobs if ended(job)]
        if not over:
            return []
        self.jobs = [job for job in self.jobs if job not in over]
        self._write()
        return [failure(job) or f"job {job.job_id}: {TOLD_TO_LEAVE}" for job in over]

    def cancel(self) -> None:
        """End all workers at once, whatever they do: they know no settings but those they were submitted with."""
        cancel(self.jobs)
        self.jobs = []
        self._write()

    def interrupt(self) -> None:
        """After a Ctrl-C: workers on this machine give their trials back and end; those on Slurm go on."""
        interrupt(self.jobs)

    def dismiss(self) -> None:
        """After the study: whoever works sees its end and leaves, whoever still queues is not needed any more."""
        self._check()
        dismiss(self.jobs, SECONDS_TO_LEAVE)
        self.jobs = []
        self._write()

    def _write(self) -> None:
        write_json(self._record, {"folder": self._folder, "jobs": [job.job_id for job in self.jobs]})


class Losses:
    """The workers lost since any of them finished an epoch, by cause: when to replace them, and when it is no use.

    Parameters
    ----------
    workers : how many there should be; when twice as many have ended for one cause, more would too
    wait : seconds for which a replacement may be refused
    """

    def __init__(self, workers: int, wait: float) -> None:
        self._limit, self._wait = 2 * workers, wait
        self.forget()

    def forget(self) -> None:
        """A worker has finished an epoch: what workers need is there."""
        self._ends: Counter[str] = Counter()
        self._last = ""
        self._rounds, self._replace_at = 0, 0.0
        self._refused_since: float | None = None

    def add(self, reasons: list[str]) -> None:
        """Note why jobs ended; those that were taken away do not count, but what replaces them has to wait as well."""
        for reason in reasons:
            if not any(words in reason for words in TAKEN_AWAY):
                self._ends[_cause(reason)] += 1
                self._last = reason
        if reasons:
            self._pause()

    def replaced(self) -> None:
        """Note that jobs were submitted in their place."""
        self._refused_since = None

    def refuse(self, reason: str) -> bool:
        """Note that no job could be submitted; whether that is new."""
        is_new = self._refused_since is None
        self._refused_since = self._refused_since or time.monotonic()
        self._last = reason
        self._pause()
        return is_new

    def may_replace(self) -> bool:
        return time.monotonic() >= self._replace_at

    def too_many(self) -> str | None:
        """The last reason, if so many have ended for one cause that the next would too."""
        return self._last if max(self._ends.values(), default=0) > self._limit else None

    def refused_for_long(self) -> str | None:
        """The reason, if no job could be submitted for as long as we are willing to wait."""
        is_long = self._refused_since is not None and time.monotonic() - self._refused_since > self._wait
        return self._last if is_long else None

    def _pause(self) -> None:
        self._replace_at = time.monotonic() + min(PAUSES[0] * 2**self._rounds, PAUSES[1])
        self._rounds += 1


def _cause(reason: str) -> str:
    """A reason without what differs from job to job: numbers and paths."""
    return re.sub(r"\S*/\S*|\d+", "", reason)
