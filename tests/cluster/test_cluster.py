"""The virtual cluster is a Slurm: nodes, accounting, requeue, MPI, gloo, and submitit on top."""

import sys
from pathlib import Path

import pytest
import submitit

from tests.cluster.cluster import Cluster, missing
from tests.cluster.polling import wait_until

WORLD = "from mpi4py import MPI; print(MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size)"

GLOO = """
import os, torch, torch.distributed as dist
os.environ.update(RANK=os.environ["SLURM_PROCID"], WORLD_SIZE=os.environ["SLURM_NTASKS"])
dist.init_process_group("gloo")
number = torch.ones(1) * (dist.get_rank() + 1)
dist.all_reduce(number)
print("sum", number.item())
dist.destroy_process_group()
"""


def test_four_nodes_with_names_of_their_own(slurm: Cluster) -> None:
    assert sorted(slurm.run("srun", "-N4", "hostname").split()) == ["n1", "n2", "n3", "n4"]


def test_accounting_knows_every_task_of_an_array(slurm: Cluster, tmp_path: Path) -> None:
    script = "exit $SLURM_ARRAY_TASK_ID"
    job = slurm.run("sbatch", "--parsable", "--array=0-1", "--wrap", script, cwd=tmp_path).strip()
    ended = {f"{job}_0": "COMPLETED", f"{job}_1": "FAILED"}
    wait_until(lambda: slurm.states(job) == ended, f"{job} to end as {ended}")


def test_a_requeued_job_really_runs_again(slurm: Cluster, tmp_path: Path) -> None:
    script = "echo run >> runs; [ $(wc -l < runs) = 2 ] || sleep 300"
    job = slurm.run("sbatch", "--parsable", "--requeue", "--wrap", script, cwd=tmp_path).strip()
    slurm.wait_for(job, "RUNNING")
    slurm.run("scontrol", "requeue", job)
    slurm.wait_for(job, "COMPLETED")
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_fake_gpus_are_handed_out(slurm: Cluster) -> None:
    command = ("srun", "--gres=gpu:1", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert slurm.run(*command).strip() == "0"
    with pytest.raises(RuntimeError, match="Requested node configuration is not available"):
        slurm.run("srun", "--gres=gpu:9", "true")


def test_mpi_under_srun_is_one_world(slurm: Cluster) -> None:
    printed = slurm.run("srun", "--mpi=pmix", "-N2", "-n2", sys.executable, "-c", WORLD)
    assert sorted(printed.splitlines()) == ["0 2", "1 2"]


def test_gloo_between_two_nodes(slurm: Cluster) -> None:
    address = "export MASTER_ADDR=n1 MASTER_PORT=29400"
    printed = slurm.run("srun", "-w", "n1,n2", "-n2", "sh", "-c", f"{address}; exec {sys.executable} -c '{GLOO}'")
    assert printed.splitlines() == ["sum 3.0", "sum 3.0"]


def divide(a: int, b: int) -> float:
    return a / b


def test_submitit_brings_results_errors_and_cancellations_home(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.settings.items():
        monkeypatch.setenv(name, value)
    executor = submitit.SlurmExecutor(tmp_path / "jobs")
    executor.update_parameters(time=2, cpus_per_task=1, mem="500M")
    good, bad = executor.submit(divide, 6, 3), executor.submit(divide, 1, 0)
    assert good.result() == 2
    with pytest.raises(submitit.core.utils.FailedJobError, match="ZeroDivisionError"):
        bad.result()
    waiting = executor.submit(__import__("time").sleep, 300)
    slurm.wait_for(waiting.job_id, "RUNNING")
    waiting.cancel()
    with pytest.raises(submitit.core.utils.UncompletedJobError):
        waiting.result()


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile
            continue
    return [line for line in lines if str(folder) in line]


def test_nothing_is_left_of_a_cluster_that_stopped(tmp_path: Path) -> None:
    if missing():
        pytest.skip(f"no virtual Slurm cluster: this machine lacks {', '.join(missing())}")
    with Cluster.start(tmp_path, nodes=1) as cluster:
        cluster.run("sbatch", "--wrap", "sleep 300", cwd=tmp_path)
        assert processes_of(tmp_path)
    assert not processes_of(tmp_path)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
