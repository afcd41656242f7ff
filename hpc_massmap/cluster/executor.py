"""What submitit is told of a job: where it runs, what it asks Slurm for, which Python runs it.

In a container there is no `scontrol`: the job then leaves its wish to be requeued in a file, and the batch script,
which runs outside, passes it on.
"""

import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import submitit
import submitit.local.local
from submitit.slurm.slurm import SlurmJobEnvironment

import hpc_massmap
from hpc_massmap.cluster.pickles import refusal_of_others
from hpc_massmap.cluster.site import Site
from hpc_massmap.cluster.slurm import MARK
from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text

LOCAL_MINUTES = 60 * 24 * 365  # submitit gives a local job two minutes by default
REQUEUES = 10_000  # by time limits, of one job
FIRST_PORT, PORTS = 10_000, 20_000  # where ranks meet: below the ports that Linux hands out by itself
OF_RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
WISH = "requeue"  # the end of the file's name
REQUEUE = Path(__file__).with_name("requeue.sh")
_IN_GROUPS_OF_THEIR_OWN = SimpleNamespace(Popen=partial(subprocess.Popen, process_group=0))


def executor_of(name: str, logs: Path, ranks: int, site: Site | None) -> Any:
    """The submitit executor of jobs of `ranks` processes, whose logs are `logs`: runs/NAME/logs/STEP."""
    if site is None:
        # a Ctrl-C is for the launcher, which has them leave: submitit kills them within a second, with tracebacks
        setattr(submitit.local.local, "subprocess", _IN_GROUPS_OF_THEIR_OWN)  # noqa: B010 (mypy: a module is for ever)
        executor: Any = submitit.LocalExecutor(logs)
        gpus = _local_gpus()
        executor.update_parameters(
            timeout_min=LOCAL_MINUTES, tasks_per_node=ranks, gpus_per_node=len(gpus), visible_gpus=gpus
        )
        return executor
    executor = submitit.SlurmExecutor(logs, max_num_timeout=REQUEUES, python=_python(site, logs))
    per_node = ranks // site.nodes
    before = _about_its_end(logs, in_container=site.container is not None)
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
        "setup": [*before, *site.setup],
        "signal_delay_s": site.signal_seconds,
        "srun_args": ["--kill-on-bad-exit=1"],  # a rank that dies ends its job: others would wait for it
        "additional_parameters": {"requeue": True, "comment": MARK, **site.sbatch},
    }
    executor.update_parameters(**{key: value for key, value in wanted.items() if value is not None})
    return executor


def _python(site: Site, logs: Path) -> str:
    """The command that runs Python on a node: ours, or the container's with our code in it."""
    if site.container is None:
        return shlex.quote(sys.executable)
    code, run = Path(hpc_massmap.__file__).parents[1], logs.absolute().parents[1]
    binds = [word for folder in dict.fromkeys((code, Path.cwd(), run)) for word in ("--bind", str(folder))]
    # the home folder is there too; packages that its owner once installed are not the image's
    environment = ["--env", f"PYTHONPATH={code}", "--env", "PYTHONNOUSERSITE=1"]
    nvidia = ["--nv"] if site.gpus_per_task else []
    image = str(site.container.absolute())
    return shlex.join(["apptainer", "exec", *nvidia, *binds, *environment, image, "python3"])


def _about_its_end(logs: Path, in_container: bool) -> list[str]:
    """Lines of the batch script before its work: the job is requeued where the work could not see to it."""
    before = [
        refusal_of_others(logs),
        REQUEUE.read_text(encoding="utf-8").rstrip(),
        "trap requeue_if_preempted TERM",
        "trap 'requeue_after $?' EXIT",
    ]
    if in_container:
        wish = f"{shlex.quote(str(logs.absolute()))}/${{SLURM_JOB_ID}}_{WISH}"
        before[3:] = [f"wish={wish}", 'rm -f "$wish"', "trap 'requeue_after $?; requeue_if_wished \"$wish\"' EXIT"]
    return before


def _leave_wish(job: SlurmJobEnvironment, _: int) -> None:
    """What submitit does to requeue a job, where there is no scontrol."""
    write_text(job.paths.folder / f"{job.raw_job_id}_{WISH}", str(job.job_id))


def prepare_rank() -> None:
    """In a rank's process: describe its job's other ranks as torchrun would; make a requeue work in a container."""
    job = submitit.JobEnvironment()
    if isinstance(job, SlurmJobEnvironment) and os.environ.get("APPTAINER_CONTAINER"):
        setattr(SlurmJobEnvironment, "_requeue", _leave_wish)  # noqa: B010 (mypy: a method is for ever)
    if job.num_tasks == 1:
        for name in OF_RANKS:  # left over in the shell of the launcher: they tell of ranks that nobody starts
            os.environ.pop(name, None)
        return
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    # the ids of jobs on one machine differ, and a port that was taken is left behind by a restart
    os.environ["MASTER_PORT"] = str(FIRST_PORT + (int(job.raw_job_id) + 101 * restarts) % PORTS)
    submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    if job.num_nodes == 1:  # a host name need not resolve on the machine that bears it
        os.environ["MASTER_ADDR"] = "127.0.0.1"


def _local_gpus() -> tuple[int, ...]:
    """The GPUs of this machine that we may use; submitit hides them from local jobs unless it is told."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        names = [name.strip() for name in allowed.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
        if not all(name.isdigit() for name in names):  # of a GPU or a part of one: submitit knows numbers alone
            raise InputError(f"CUDA_VISIBLE_DEVICES = {allowed}: give the GPUs by their numbers, as 0,1")
        return tuple(int(name) for name in names)
    return tuple(sorted(int(device.name.removeprefix("nvidia")) for device in Path("/dev").glob("nvidia[0-9]*")))
