"""Submit functions through submitit: this machine and a Slurm cluster look the same to the jobs."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import submitit

from hpc_massmap.config import Site
from hpc_massmap.errors import InputError

LOCAL_MINUTES = 60 * 24 * 365  # submitit gives a local job two minutes by default

Job = submitit.Job[Any]


def submit(
    function: Callable[..., Any], *arguments: Any, name: str, logs: Path, copies: int, ranks: int, site: Site | None
) -> list[Job]:
    """Start `copies` jobs of `ranks` processes each, all running `function(*arguments)`.

    On Slurm they are one array. The log of each job is in `logs`.

    Raises
    ------
    InputError
        If Slurm is not here or refuses the jobs.
    """
    try:
        executor = _executor(name, logs, ranks, site)
        with executor.batch():
            jobs = [executor.submit(_as_rank, function, *arguments) for _ in range(copies)]
    except submitit.core.utils.FailedJobError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise InputError(f"Slurm refused the job: {lines[-1] if lines else error}; check the site file") from None
    except (FileNotFoundError, RuntimeError) as error:
        raise InputError(f"cannot submit to Slurm ({error}); without --site jobs run on this machine") from None
    return jobs


def _executor(name: str, logs: Path, ranks: int, site: Site | None) -> Any:
    if site is None:
        executor: Any = submitit.LocalExecutor(logs)
        gpus = _local_gpus()
        executor.update_parameters(
            timeout_min=LOCAL_MINUTES, tasks_per_node=ranks, gpus_per_node=len(gpus), visible_gpus=gpus
        )
        return executor
    executor = submitit.SlurmExecutor(logs, python=sys.executable)
    wanted: dict[str, Any] = {
        "job_name": name,
        "time": site.minutes,
        "ntasks_per_node": ranks,
        "cpus_per_task": site.cpus_per_task,
        "mem": f"{site.mem_gb * 1024:.0f}M",
        "gpus_per_node": site.gpus_per_task * ranks or None,
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "setup": site.setup or None,
    }
    executor.update_parameters(**{key: value for key, value in wanted.items() if value is not None})
    return executor


def _local_gpus() -> tuple[int, ...]:
    """The GPUs of this machine that we may use; submitit hides them from local jobs unless it is told."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return tuple(int(index) for index in allowed.split(",") if index.strip().isdigit())
    return tuple(sorted(int(device.name.removeprefix("nvidia")) for device in Path("/dev").glob("nvidia[0-9]*")))


def _as_rank(function: Callable[..., Any], *arguments: Any) -> Any:
    """Describe the other ranks as torchrun would, then call the function."""
    job = submitit.JobEnvironment()
    if job.num_tasks > 1:
        submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        if job.num_nodes == 1:  # a host name need not resolve on the machine that bears it
            os.environ["MASTER_ADDR"] = "127.0.0.1"
    return function(*arguments)


def failure(job: Job) -> str | None:
    """Why a job ended badly, in one line that names its log; None if it runs or ended well."""
    if not job.done():
        return None
    error = job.exception()
    if error is None:
        return None
    reason = [line for line in str(error).splitlines() if line.strip()]
    return f"job {job.job_id}: {reason[-1] if reason else type(error).__name__}; its log is {job.paths.stderr}"
