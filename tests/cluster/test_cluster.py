"""The virtual cluster is a Slurm: nodes, accounting, GPUs, MPI. What else of it counts, the jobs on it show."""

import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, missing
from tests.patience import wait_until

WORLD = "from mpi4py import MPI; print(MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size)"


def test_four_nodes_with_names_of_their_own(slurm: Cluster) -> None:
    assert sorted(slurm.run("srun", "-N4", "hostname").split()) == ["n1", "n2", "n3", "n4"]


def test_accounting_knows_every_task_of_an_array(slurm: Cluster, tmp_path: Path) -> None:
    script = "exit $SLURM_ARRAY_TASK_ID"
    job = slurm.run("sbatch", "--parsable", "--array=0-1", "--wrap", script, cwd=tmp_path).strip()
    ended = {f"{job}_0": "COMPLETED", f"{job}_1": "FAILED"}
    wait_until(lambda: slurm.states(job) == ended, f"{job} to end as {ended}")


def test_fake_gpus_are_handed_out(slurm: Cluster) -> None:
    command = ("srun", "--gres=gpu:1", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert slurm.run(*command).strip() == "0"
    with pytest.raises(RuntimeError, match="Requested node configuration is not available"):
        slurm.run("srun", "--gres=gpu:9", "true")


def test_mpi_under_srun_is_one_world(slurm: Cluster) -> None:
    printed = slurm.run("srun", "--mpi=pmix", "-N2", "-n2", sys.executable, "-c", WORLD)
    assert sorted(printed.splitlines()) == ["0 2", "1 2"]


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile
            continue
    return [line for line in lines if str(folder) in line]


@pytest.mark.cluster
@pytest.mark.xdist_group("cluster")
def test_nothing_is_left_of_a_cluster_that_stopped(tmp_path: Path) -> None:
    if missing():
        pytest.skip(f"no virtual Slurm cluster: this machine lacks {', '.join(missing())}")
    with Cluster.start(tmp_path, nodes=1) as cluster:
        cluster.run("sbatch", "--wrap", "sleep 300", cwd=tmp_path)
        assert processes_of(tmp_path)
    assert not processes_of(tmp_path)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
