"""A bad night on a real Slurm: whatever happens to workers, nodes and launcher, every trial ends as in calm."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpc_massmap.config import Config
from hpc_massmap.run import Run
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import DatabaseUnreachable, database
from hpc_massmap.yamlfile import dump_yaml
from tests.cluster.cluster import Cluster
from tests.cluster.test_cluster import processes_of
from tests.patience import wait_until, within
from tests.tune.crew import losses, small_run, working

SITE = """
partition: low
nodes: 2
tasks_per_node: 1
cpus_per_task: 1
mem_gb: 1.5
minutes: {minutes}
signal_seconds: {signal}
"""
TRIALS = 3  # of a calm study, and the first of longer ones
EPOCHS = 16


def prepared(folder: Path, trials: int = TRIALS, minutes: int = 10, signal_seconds: int = 30) -> Run:
    """A study of trials of some ten seconds on two ranks, and the site they run on."""
    folder.mkdir(exist_ok=True)
    (folder / "site.yaml").write_text(SITE.format(minutes=minutes, signal=signal_seconds))
    run = small_run(folder, evaluations=trials, workers=2, ranks=2, lease=6.0, epochs=EPOCHS)
    data = run.config.model_dump(mode="json")
    data["train"]["epochs"] = EPOCHS
    (folder / "c.yaml").write_text(dump_yaml(data))
    return Run(Config.model_validate_json(json.dumps(data)), run.folder)


@pytest.fixture(scope="module")
def calm(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[float, ...]:
    """What the same study gives when nothing happens."""
    run = prepared(tmp_path_factory.mktemp("calm") / "run")
    with database(run.config.database, run.database):
        open_study(run).create(TRIALS, {})
        with working(run, ranks=2) as ranks_at_work:
            assert [process.wait(within(300)) for process in ranks_at_work] == [0, 0]
    return losses(run)


def launch(slurm: Cluster, run: Run) -> "subprocess.Popen[str]":
    folder = run.folder.parent.parent
    command = [sys.executable, "jobs/tune.py", str(folder / "c.yaml"), "--site", str(folder / "site.yaml")]
    return subprocess.Popen(command, env=slurm.env, stdout=subprocess.PIPE, text=True)


def running(run: Run) -> dict[str, dict[str, Any]]:
    """Trials in the middle of their training, by the Slurm job of their worker."""
    try:
        documents = open_study(run).documents("result.history", "worker")
    except DatabaseUnreachable:  # the launcher is about to start it again
        return {}
    return {
        document["worker"]["slurm_job"]: document
        for document in documents
        if document["state"] == 1 and 2 < len(document["result"].get("history", [])) < EPOCHS - 6
    }


def victim(run: Run, but: str = "") -> tuple[str, dict[str, Any]]:
    """A worker's job, another than one, and the trial it is in the middle of."""

    def found() -> list[tuple[str, dict[str, Any]]]:
        return [(job, trial) for job, trial in running(run).items() if job != but]

    wait_until((run.database / "endpoint.json").exists, "the database", 60)
    return wait_until(found, "a trial in the middle of its training", 150)[0]


def taken_over(run: Run, *trials: dict[str, Any]) -> None:
    """Wait until disturbed trials were claimed anew and go on, with the epochs they had."""

    def goes_on() -> bool:
        now = open_study(run).documents("result.history")
        pairs = [(now[trial["tid"]], trial) for trial in trials]
        return all(
            later["version"] > trial["version"] and len(later["result"]["history"]) > len(trial["result"]["history"])
            for later, trial in pairs
        )

    wait_until(goes_on, f"trials {[trial['tid'] for trial in trials]} to be taken over", 150)


def rank_of(job: str, rank: int) -> int:
    """The process that is one rank of a worker; the cluster's processes are ours to see."""
    array, _, task = job.partition("_")
    wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={task}", f"SLURM_PROCID={rank}"}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = set((folder / "environ").read_text().split("\0"))
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if wanted <= environment and "submitit.core._submit" in command and "srun" not in command:
            return int(folder.name)
    raise LookupError(f"no rank {rank} of job {job}")


@pytest.fixture
def night(mended: Cluster, tmp_path: Path) -> Run:
    return prepared(tmp_path / "run", trials=8)


@pytest.mark.timeout(900)
def test_requeue_notice_cancellation_preemption_node_failure_a_dead_rank_and_a_dead_launcher(
    slurm: Cluster, calm: tuple[float, ...], night: Run
) -> None:
    """Whatever can happen to a study happens to this one, two things at a time."""
    launcher = launch(slurm, night)
    job, trial = victim(night)
    slurm.run("scontrol", "requeue", job)
    other, another = victim(night, but=job)
    slurm.run("scancel", "--signal=USR2", other)  # what Slurm sends before the time limit
    taken_over(night, trial, another)
    logs = "".join(path.read_text() for path in (night.folder / "logs" / "tune").glob("*.out"))
    assert "this job's time is up: it is requeued" in logs

    job, trial = victim(night)
    os.kill(rank_of(job, 1), signal.SIGKILL)
    other, another = victim(night, but=job)
    slurm.run("scancel", other)  # for good: the launcher submits another
    taken_over(night, trial, another)

    job, trial = victim(night)
    asks = ("sbatch", "--parsable", "--output=/dev/null", "-p", "urgent", "-N4", "-n4", "-c8")
    urgent = slurm.run(*asks, "--wrap", "sleep 2").strip()
    slurm.wait_for(urgent, "COMPLETED", seconds=90)
    taken_over(night, trial)

    launcher.kill()
    said, _ = launcher.communicate()
    assert "a worker ended: " in said
    job, trial = victim(night)
    node = slurm.run("squeue", "-h", "-j", job, "-o", "%B").strip()
    launcher = launch(slurm, night)  # it joins what runs
    slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    taken_over(night, trial)

    output, _ = launcher.communicate(timeout=within(300))
    assert launcher.returncode == 0, output
    assert "2 workers are still there" in output
    assert losses(night)[:TRIALS] == calm
    wait_until(lambda: not processes_of(night.folder), "all processes to be gone", 30)
    assert slurm.run("squeue", "-h") == ""
