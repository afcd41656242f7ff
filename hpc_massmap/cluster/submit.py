"""Submit functions through submitit: this machine and a Slurm cluster look the same to the jobs."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission

from hpc_massmap.cluster import slurm
from hpc_massmap.cluster.environment import scheduler_forgotten, unheeded
from hpc_massmap.cluster.executor import executor_of, prepare_rank
from hpc_massmap.cluster.pickles import make_private, outcome
from hpc_massmap.cluster.site import Site
from hpc_massmap.errors import InputError
from hpc_massmap.progress import say

SIZE_OF_A_RESULT = 16_384  # bytes on a disk that a job needs at least to say how it ended
SECONDS_TO_END = 60.0  # for a job that was cancelled
SECONDS_TO_SAVE = 20.0  # for a job on this machine whose launcher was interrupted

Job = submitit.Job[Any]


def ranks_of(site: Site | None, ranks: int) -> int:
    """How many processes a job has: what the site says, else `ranks`, spread evenly over the site's nodes.

    Raises
    ------
    InputError
        If they cannot be spread evenly.
    """
    if site is None:
        return ranks
    if site.tasks_per_node is not None:
        return site.nodes * site.tasks_per_node
    if ranks % site.nodes:
        raise InputError(f"site: nodes = {site.nodes}: {ranks} ranks cannot be spread evenly; set tasks_per_node")
    return ranks


def submit(
    function: Callable[..., Any], *arguments: Any, name: str, logs: Path, copies: int, ranks: int, site: Site | None
) -> list[Job]:
    """Start `copies` jobs of `ranks` processes each, all running `function(*arguments)`.

    On Slurm they are one array. The log of each job is in `logs`, which is runs/NAME/logs/STEP. A function with a
    method `checkpoint` is requeued with the same arguments when its time is up or it is preempted (submitit's
    protocol).

    Raises
    ------
    InputError
        If Slurm is not here, does not answer, or refuses the jobs.
    """
    make_private(logs)
    run = _Requeued(function) if hasattr(function, "checkpoint") else _Ranked(function)

    def attempt() -> list[Job]:
        executor = executor_of(name, logs, ranks, site)
        with executor.batch():
            return [executor.submit(run, *arguments) for _ in range(copies)]

    if site is None:
        return attempt()
    slurm.require()
    try:
        with scheduler_forgotten():
            jobs = slurm.patiently(attempt, submitit.core.utils.FailedJobError)
    except submitit.core.utils.FailedJobError as error:
        raise InputError(f"Slurm refused the job: {slurm.reason(str(error))}; check the site file") from None
    slurm.expect([job.job_id for job in jobs])
    return jobs


def script(name: str, logs: Path, copies: int, ranks: int, site: Site) -> str:
    """The batch script that `submit` would send, to the letter."""
    executor = executor_of(name, logs, ranks, site)
    if copies > 1:
        executor.parameters["map_count"] = copies  # as submitit does for an array
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def check_site(name: str, logs: Path, copies: int, ranks: int, site: Site | None) -> str:
    """What would be submitted, in words or as the batch script, which Slurm was asked about.

    Raises
    ------
    InputError
        If Slurm would not take it.
    """
    if site is None:
        return f"{name}: would start {copies} x {ranks} processes on this machine; their logs go to {logs}"
    slurm.require()
    if site.container and not site.container.exists():
        raise InputError(f"site: container = {site.container}: no such image; `apptainer build` makes one")
    if line := unheeded():
        say(line)
    text = script(name, logs, copies, ranks, site)
    slurm.check_site(site, ranks // site.nodes, text)
    return text


class _Ranked:
    """Describes the other ranks as torchrun would, then calls the function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        prepare_rank()
        return self.function(*arguments)


class _Requeued(_Ranked):
    """One that submitit requeues as it is: what has to be saved, the function saves itself."""

    def checkpoint(self, *arguments: Any) -> Any:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # told once, by Slurm or by the container's runtime, is enough
        return DelayedSubmission(self, *arguments)


class _Found(submitit.LocalJob[Any]):
    """A local job of another launcher: over when submitit's process for it is gone."""

    def get_info(self, mode: str = "force") -> dict[str, str]:
        return {"jobState": "RUNNING" if _is_controller(self.job_id, self._paths.folder) else "FINISHED"}

    def cancel(self, check: bool = True) -> None:
        if not self.done():
            os.kill(int(self.job_id), signal.SIGINT)


def _is_controller(pid: str, logs: Path) -> bool:
    try:
        words = Path(f"/proc/{int(pid)}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except (OSError, ValueError):
        return False
    return "submitit.local._local" in words and str(logs) in words


def reattach(names: list[str], logs: Path, ranks: int, site: Site | None) -> list[Job]:
    """The jobs that another launcher submitted under these names, to Slurm or to this machine as now."""
    kind = _Found if site is None else submitit.SlurmJob
    jobs: list[Job] = [kind(logs, name, list(range(ranks))) for name in names]
    # a job here has a process id for a name, which says nothing to Slurm
    return [job for job in jobs if site is None or job.paths.submission_file.exists()]


def ended(job: Job) -> bool:
    """Whether a job is over; one that Slurm requeues is not."""
    if not isinstance(job, submitit.SlurmJob):
        return bool(job.done())
    return job.job_id not in slurm.in_queue()


def failure(job: Job) -> str | None:
    """Why a job ended badly, in one line that names its log; None if it runs or ended well."""
    if not ended(job):
        return None
    with suppress(OSError):  # a shared file system looks again at a folder that has changed
        job.paths.folder.chmod(job.paths.folder.stat().st_mode)
    silent = None
    for rank in job._sub_jobs or [job]:
        if not rank.paths.result_pickle.exists():
            silent = silent or rank.paths.stderr  # perhaps because another rank failed: look for that
        elif error := _error_of(rank.paths.result_pickle):
            return f"job {job.job_id}: {error}; its log is {rank.paths.stderr}"
    if silent is None:
        return None
    told = f"its log is {silent}" if silent.exists() else "it never started"
    if shutil.disk_usage(job.paths.folder).free < SIZE_OF_A_RESULT:
        return f"job {job.job_id}: no space left on the disk of {job.paths.folder}; free some and run again"
    said = slurm.end_of(job.job_id) if isinstance(job, submitit.SlurmJob) else None
    how = f"Slurm says {said}" if said else "killed or cancelled"
    return f"job {job.job_id}: ended without a result: {how}; {told}"


def was_taken(job: Job) -> bool:
    """Whether a job that has ended did so without a result, and Slurm took its nodes away."""
    results = [rank.paths.result_pickle for rank in job._sub_jobs or [job]]
    return isinstance(job, submitit.SlurmJob) and not all(map(Path.exists, results)) and slurm.was_taken(job.job_id)


def _error_of(result: Path) -> str | None:
    """The words of the exception that ended a rank; None if it ended well."""
    try:
        how, trace = outcome(result)
    except InputError as refused:
        return str(refused)
    lines = str(trace).strip().splitlines()
    return (lines or ["no reason given"])[-1] if how == "error" else None


def dismiss(jobs: list[Job], seconds: float) -> None:
    """End jobs that have nothing left to do: those that queue at once, those that run when they have had time to."""
    slurm.cancel(_in_slurm(jobs), waiting_only=True)
    if left := _wait(jobs, seconds):
        cancel(left)


def interrupt(jobs: list[Job]) -> None:
    """After a Ctrl-C: have the jobs on this machine save what they have, and wait for them; those on Slurm go on."""
    here = [job for job in jobs if not isinstance(job, submitit.SlurmJob) and not ended(job)]
    for job in here:
        with suppress(ProcessLookupError):
            os.kill(int(job.job_id), signal.SIGTERM)
    if left := _wait(here, SECONDS_TO_SAVE):
        cancel(left)


def cancel(jobs: list[Job]) -> None:
    """End jobs at once, and return when they are gone."""
    slurm.cancel(_in_slurm(jobs))
    for job in jobs:
        if not isinstance(job, submitit.SlurmJob):
            job.cancel(check=False)
    _wait(jobs, SECONDS_TO_END)


def _wait(jobs: list[Job], seconds: float) -> list[Job]:
    """Wait for the end of jobs; those that have not ended in time."""
    deadline = time.monotonic() + seconds
    while (left := [job for job in jobs if not ended(job)]) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def _in_slurm(jobs: list[Job]) -> list[str]:
    return [job.job_id for job in jobs if isinstance(job, submitit.SlurmJob)]
