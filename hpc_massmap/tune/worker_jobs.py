"""The workers' jobs of a study, written down, so that a launcher that is started again finds them at work."""

from collections.abc import Callable
from pathlib import Path

from hpc_massmap.cluster.submit import Job, cancel, dismiss, ended, failure
from hpc_massmap.storage import read_json, write_json

SECONDS_TO_LEAVE = 60.0


class WorkerJobs:
    """The jobs that were submitted and have not ended.

    Parameters
    ----------
    record : the file that names them
    submit : submits that many
    reattach : the jobs of these names, as another launcher submitted them
    """

    def __init__(
        self, record: Path, submit: Callable[[int], list[Job]], reattach: Callable[[list[str]], list[Job]]
    ) -> None:
        self._record, self._submit = record, submit
        names = read_json(record)["jobs"] if record.exists() else []
        self.jobs = [job for job in reattach(names) if not ended(job)] if names else []

    def add(self, workers: int) -> None:
        """Submit more workers."""
        self.jobs += self._submit(workers)
        self._write()

    def forget_ended(self) -> list[str]:
        """Forget the jobs that have ended; why they did, a line each."""
        over = [job for job in self.jobs if ended(job)]
        if not over:
            return []
        self.jobs = [job for job in self.jobs if job not in over]
        self._write()
        return [failure(job) or f"job {job.job_id}: it was told to leave" for job in over]

    def cancel(self) -> None:
        """End all workers at once, whatever they do: they know no settings but those they were submitted with."""
        cancel(self.jobs)
        self.jobs = []
        self._write()

    def dismiss(self) -> None:
        """After the study: whoever works sees its end and leaves, whoever still queues is not needed any more."""
        dismiss(self.jobs, SECONDS_TO_LEAVE)
        self.jobs = []
        self._write()

    def _write(self) -> None:
        write_json(self._record, {"jobs": [job.job_id for job in self.jobs]})
