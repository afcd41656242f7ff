"""Submit functions through submitit: this machine and a Slurm cluster look the same to the jobs."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission

from hpc_massmap import slurm
from hpc_massmap.config import Site
from hpc_massmap.errors import InputError

LOCAL_MINUTES = 60 * 24 * 365  # submitit gives a local job two minutes by default
REQUEUES = 10_000  # by time limits, of one job

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

    On Slurm they are one array. The log of each job is in `logs`. A function with a method `checkpoint` is requeued
    with the same arguments when its time is up or it is preempted (submitit's protocol).

    Raises
    ------
    InputError
        If Slurm is not here or refuses the jobs.
    """
    run = _Requeued(function) if hasattr(function, "checkpoint") else _Ranked(function)
    try:
        executor = _executor(name, logs, ranks, site)
        with executor.batch():
            jobs: list[Job] = [executor.submit(run, *arguments) for _ in range(copies)]
    except submitit.core.utils.FailedJobError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise InputError(f"Slurm refused the job: {lines[-1] if lines else error}; check the site file") from None
    except (FileNotFoundError, RuntimeError) as error:
        raise InputError(f"cannot submit to Slurm ({error}); without --site jobs run on this machine") from None
    slurm.expect([job.job_id for job in jobs])
    return jobs


def script(name: str, logs: Path, copies: int, ranks: int, site: Site) -> str:
    """The batch script that `submit` would send, to the letter."""
    executor = _executor(name, logs, ranks, site)
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
    if not _has_srun():
        raise InputError("no Slurm here (srun is not on PATH); without --site jobs run on this machine")
    text = script(name, logs, copies, ranks, site)
    slurm.check_site(site, text)
    return text


def _has_srun() -> bool:
    return bool(submitit.SlurmExecutor.affinity() > 0)


def _executor(name: str, logs: Path, ranks: int, site: Site | None) -> Any:
    if site is None:
        executor: Any = submitit.LocalExecutor(logs)
        gpus = _local_gpus()
        executor.update_parameters(
            timeout_min=LOCAL_MINUTES, tasks_per_node=ranks, gpus_per_node=len(gpus), visible_gpus=gpus
        )
        return executor
    executor = submitit.SlurmExecutor(logs, max_num_timeout=REQUEUES, python=_python(site))
    per_node = ranks // site.nodes
    wanted: dict[str, Any] = {
        "job_name": name,
        "time": site.minutes,
        "nodes": site.nodes,
        "ntasks_per_node": per_node,
        "cpus_per_task": site.cpus_per_task,
        "mem": f"{site.mem_gb * 1024:.0f}M",
        "gpus_per_node": site.gpus_per_task * per_node or None,
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "setup": site.setup or None,
        "signal_delay_s": site.signal_seconds,
        "srun_args": ["--kill-on-bad-exit=1"],  # a rank that dies ends its job: others would wait for it
        "additional_parameters": {"requeue": True, **site.sbatch},
    }
    executor.update_parameters(**{key: value for key, value in wanted.items() if value is not None})
    return executor


def _python(site: Site) -> str:
    """The command that runs Python on a node: ours, or the container's with our code in it."""
    if site.container is None:
        return shlex.quote(sys.executable)
    here = Path.cwd()
    nvidia = ["--nv"] if site.gpus_per_task else []
    return shlex.join(
        [
            "apptainer",
            "exec",
            *nvidia,
            "--bind",
            str(here),
            "--env",
            f"PYTHONPATH={here}",
            str(site.container),
            "python3",
        ]
    )


def _local_gpus() -> tuple[int, ...]:
    """The GPUs of this machine that we may use; submitit hides them from local jobs unless it is told."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return tuple(int(index) for index in allowed.split(",") if index.strip().isdigit())
    return tuple(sorted(int(device.name.removeprefix("nvidia")) for device in Path("/dev").glob("nvidia[0-9]*")))


class _Ranked:
    """Describes the other ranks as torchrun would, then calls the function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        job = submitit.JobEnvironment()
        if job.num_tasks > 1:
            submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
            if job.num_nodes == 1:  # a host name need not resolve on the machine that bears it
                os.environ["MASTER_ADDR"] = "127.0.0.1"
        return self.function(*arguments)


class _Requeued(_Ranked):
    """One that submitit requeues as it is: what has to be saved, the function saves itself."""

    def checkpoint(self, *arguments: Any) -> Any:
        return DelayedSubmission(self, *arguments)


class _Found(submitit.LocalJob[Any]):
    """A local job of another launcher: over when submitit's process for it is gone."""

    def get_info(self, mode: str = "force") -> dict[str, str]:
        return {"jobState": "RUNNING" if _is_controller(self.job_id, self._paths.folder) else "FINISHED"}

    def cancel(self, check: bool = True) -> None:
        with suppress(ProcessLookupError):
            os.kill(int(self.job_id), signal.SIGINT)


def _is_controller(pid: str, logs: Path) -> bool:
    try:
        words = Path(f"/proc/{int(pid)}/cmdline").read_text().split("\0")
    except (OSError, ValueError):
        return False
    return "submitit.local._local" in words and str(logs) in words


def reattach(names: list[str], logs: Path, ranks: int, site: Site | None) -> list[Job]:
    """The jobs that another launcher submitted under these names."""
    kind = _Found if site is None else submitit.SlurmJob
    return [kind(logs, name, list(range(ranks))) for name in names]


def ended(job: Job) -> bool:
    """Whether a job is over; one that Slurm requeues is not."""
    if not isinstance(job, submitit.SlurmJob):
        return bool(job.done())
    return job.job_id not in slurm.in_queue()


def failure(job: Job) -> str | None:
    """Why a job ended badly, in one line that names its log; None if it runs or ended well."""
    if not ended(job):
        return None
    ranks = job._sub_jobs or [job]
    silent = [rank for rank in ranks if not rank.paths.result_pickle.exists()]
    if silent:
        return f"job {job.job_id}: ended without a result: killed or cancelled; its log is {silent[0].paths.stderr}"
    error = job.exception()
    if error is None:
        return None
    return f"job {job.job_id}: {_last_line_of_trace(str(error))}; its log is {job.paths.stderr}"


def _last_line_of_trace(error: str) -> str:
    """The words of the exception, out of what submitit says around its trace."""
    trace = error.split("\n----------------------")[1:2] or [error]
    lines = trace[0].strip("-\n ").splitlines()
    return lines[-1] if lines else "no reason given"


def dismiss(jobs: list[Job], seconds: float) -> None:
    """End jobs that have nothing left to do: those that queue at once, those that run when they have had time to."""
    if any(isinstance(job, submitit.SlurmJob) for job in jobs):
        slurm.cancel([job.job_id for job in jobs], waiting_only=True)
    deadline = time.monotonic() + seconds
    while (left := [job for job in jobs if not ended(job)]) and time.monotonic() < deadline:
        time.sleep(0.5)
    slurm.cancel([job.job_id for job in left if isinstance(job, submitit.SlurmJob)])
    for job in left:
        if not isinstance(job, submitit.SlurmJob):
            job.cancel(check=False)
