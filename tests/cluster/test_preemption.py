"""A notice at any moment, and a preemption that cancels, end no job for good: each comes back under its number."""

import os
import signal
import time
from pathlib import Path

import pytest
import submitit

from hpc_massmap.cluster import slurm as queue
from hpc_massmap.cluster import submit
from hpc_massmap.cluster.site import Site
from tests.cluster.cluster import Cluster
from tests.cluster.test_scripts import ALL_NODES
from tests.patience import wait_until

LAUNCHER, MPI = "slurm/tune_star.sh", "slurm/make_maps.sh"
UNTOLD = "slurm/evaluate.sh"  # asks for no notice; a second job is in it, which writes the report

# in the place of Python: dies of what it is told, as Python does while it imports; its second life ends well
PYTHON = """#!/bin/bash
echo "alive $SLURM_PROCID" >> {folder}/lives_$SLURM_JOB_ID
[ "${{SLURM_RESTART_COUNT:-0}}" != 0 ] || exec sleep 300
"""


@pytest.fixture
def here(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, as this process' own."""
    for name, value in slurm.settings.items():
        monkeypatch.setenv(name, value)
    return slurm


def sbatch(slurm: Cluster, folder: Path, partition: str, script: str, *more: str) -> str:
    """A script of slurm/, whose Python is a few lines of shell; its job's number."""
    python = folder / "python"
    python.write_text(PYTHON.format(folder=folder))
    python.chmod(0o755)
    memory = "--mem" if script == LAUNCHER else "--mem-per-cpu"
    asks = (f"{memory}=100M", "--time=5", f"--output={folder}/%j.log", f"--partition={partition}", *more)
    return slurm.run("sbatch", "--parsable", f"--export=ALL,SITE=x,PYTHON={python}", *asks, script).strip()


def lives(folder: Path, job: str) -> int:
    path = folder / f"lives_{job}"
    return path.read_text().count("\n") if path.exists() else 0


class Stubborn:
    """Ends only in its second life."""

    def __call__(self, folder: Path) -> str:
        with (folder / f"lives_{submitit.JobEnvironment().job_id}").open("a") as file:
            file.write("alive\n")
        if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(300)
        return "done"

    def checkpoint(self, folder: Path) -> None:
        raise AssertionError("it only has to be there: a job without one is not requeued")


@pytest.mark.parametrize(("script", "ranks"), [(LAUNCHER, 1), (MPI, 2)])
def test_a_job_that_is_told_before_python_listens_is_requeued(
    slurm: Cluster, tmp_path: Path, script: str, ranks: int
) -> None:
    job = sbatch(slurm, tmp_path, "batch", script, f"--ntasks={ranks}")
    wait_until(lambda: lives(tmp_path, job) == ranks, "its first life", 60)
    slurm.run("scancel", "--signal=USR1", "--batch", job)
    slurm.wait_for(job, "COMPLETED", seconds=90)
    assert lives(tmp_path, job) == 2 * ranks
    assert f"job {job}: told to end before it listened; it is requeued" in (tmp_path / f"{job}.log").read_text()


def test_a_worker_that_is_told_while_python_starts_is_requeued(here: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path('{tmp_path}/imports_' + os.environ.get('SLURM_PROCID', 'x')).touch()\n"
        "if os.environ.get('SLURM_RESTART_COUNT', '0') == '0': time.sleep(300)\n"
    )
    site = Site(partition="low", mem_gb=0.5, minutes=2, signal_seconds=30, setup=[f"export PYTHONPATH={tmp_path}"])
    (job,) = submit.submit(Stubborn(), tmp_path, name="x", logs=tmp_path / "logs", copies=1, ranks=2, site=site)
    wait_until(lambda: len(list(tmp_path.glob("imports_[01]"))) == 2, "both ranks to import", 60)
    here.run("scancel", "--signal=USR2", job.job_id)
    wait_until(lambda: submit.ended(job), "its second life to end", 90, every=0.5)
    assert submit.failure(job) is None


def test_a_preemption_that_cancels_ends_no_job(mended: Cluster, here: Cluster, tmp_path: Path) -> None:
    """Launcher, MPI job with one that depends on it, workers: no notice is given, and Slurm would requeue none."""
    scripts = [sbatch(mended, tmp_path, "lost", script, "--ntasks=1", "--nodes=1") for script in (LAUNCHER, UNTOLD)]
    needs = (f"--dependency=afterok:{scripts[1]}", "--kill-on-invalid-dep=yes")
    scripts.append(mended.run("sbatch", "--parsable", "--output=/dev/null", *needs, "--wrap", "true").strip())
    site = Site(partition="lost", mem_gb=0.5, minutes=5, signal_seconds=30)
    workers = submit.submit(Stubborn(), tmp_path, name="x", logs=tmp_path / "logs", copies=2, ranks=1, site=site)
    alive = [*scripts[:2], *(job.job_id for job in workers)]
    wait_until(lambda: all(lives(tmp_path, job) for job in alive), "all to run", 90)
    urgent = mended.run(*ALL_NODES, "--wrap", "true").strip()
    mended.wait_for(urgent, "COMPLETED", seconds=90)
    for job in scripts:
        mended.wait_for(job, "COMPLETED", seconds=120)
    wait_until(lambda: all(map(submit.ended, workers)), "the workers to end", 120, every=0.5)
    assert [submit.failure(job) for job in workers] == [None, None]
    assert [job.result() for job in workers] == ["done", "done"]
    assert [lives(tmp_path, job) for job in alive] == [2, 3, 2, 2]
    assert f"job {scripts[1]}: preempted; it is requeued" in (tmp_path / f"{scripts[1]}.log").read_text()


def test_a_job_that_was_cancelled_stays_so(here: Cluster, tmp_path: Path) -> None:
    job = sbatch(here, tmp_path, "lost", LAUNCHER)
    wait_until(lambda: lives(tmp_path, job), "it to run", 60)
    here.run("scancel", job)
    here.wait_for(job, "CANCELLED", seconds=60)
    assert not queue.was_taken(job)
    assert lives(tmp_path, job) == 1
