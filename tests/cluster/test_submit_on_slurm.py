"""What is submitted, what is refused before, and that a job's end is told from its rest."""

import csv
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import submitit

from hpc_massmap.cluster import slurm, submit
from hpc_massmap.cluster.environment import unheeded
from hpc_massmap.cluster.site import Site
from hpc_massmap.config import load_config
from hpc_massmap.errors import InputError
from hpc_massmap.storage import read_json
from hpc_massmap.train.final import train_rank
from tests.cluster.cluster import Cluster
from tests.cluster.test_jobs import SITE
from tests.patience import wait_until
from tests.synthetic import write_synthetic_maps
from tests.test_jobs import CONFIG

SMALL = Site(partition="low", mem_gb=0.5, minutes=2, signal_seconds=30)


@pytest.fixture
def here(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, as this process' own."""
    for name, value in slurm.settings.items():
        monkeypatch.setenv(name, value)
    return slurm


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=2)
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def command(name: str, config: Path, site: str, *more: str) -> list[str]:
    path = config.parent / "site.yaml"
    path.write_text(site)
    return [sys.executable, f"jobs/{name}.py", str(config), "--site", str(path), *more]


@pytest.mark.parametrize("copies", [1, 3])
def test_the_script_that_is_shown_is_the_one_that_is_sent(here: Cluster, tmp_path: Path, copies: int) -> None:
    shown = submit.check_site("x", tmp_path, copies, 1, SMALL)
    submit.submit(time.sleep, 0, name="x", logs=tmp_path, copies=copies, ranks=1, site=SMALL)
    (sent,) = tmp_path.glob("*_submission.sh")
    assert sent.read_text() == shown


@pytest.mark.parametrize("name", ["tune", "train"])
def test_a_dry_run_shows_the_script_and_submits_nothing(slurm: Cluster, config: Path, name: str) -> None:
    printed = slurm.run(*command(name, config, SITE, "name=dry", "--dry-run"))
    assert "#SBATCH --partition=batch" in printed
    assert "#SBATCH --mem=1536M" in printed
    assert f"JobName={name}_dry" not in slurm.run("scontrol", "show", "jobs")
    assert not (config.parent / "runs").exists()


def test_a_mistake_in_a_site_is_told_in_one_line_before_anything_else(slurm: Cluster, config: Path) -> None:
    with pytest.raises(RuntimeError, match="exit 2\nerror: site: partition = nowhere: no such partition") as told:
        slurm.run(*command("tune", config, SITE.replace("batch", "nowhere")))
    assert str(told.value).count("\n") == 2
    assert not (config.parent / "runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"partition": "nowhere"},
            r"partition = nowhere: no such partition; this cluster has batch, low, lost, urgent, long, short",
        ),
        ({"partition": "short", "minutes": 3}, r"minutes = 3: partition short allows 2"),
        ({"nodes": 9}, r"nodes = 9: partition low has 4"),
        ({"mem_gb": 9.0}, r"mem_gb = 9.0: the largest node of partition low has 7\.812"),
        (
            {"tasks_per_node": 2, "cpus_per_task": 5},
            r"cpus_per_task = 5 \(2 on a node\): the largest node of partition low has 8",
        ),
        ({"gpus_per_task": 5}, r"gpus_per_task = 5 \(on a node\): the largest node of partition low has 4"),
        ({"constraint": "a100"}, r"Slurm refuses such a job in partition low: Invalid feature specification"),
        (
            {"sbatch": {"reservation": "week"}},
            r"Slurm refuses such a job in partition low: Requested reservation is invalid",
        ),
        ({"sbatch": {"begin": "noonish"}}, r"Slurm refuses such a job in partition low: Invalid --begin specification"),
        ({"container": Path("none.sif")}, r"container = none\.sif: no such image; `apptainer build` makes one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_the_cluster_cannot_do(here: Cluster, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    site = SMALL.model_copy(update=change)
    with pytest.raises(InputError, match=rf"^site: {message}$"):
        submit.check_site("x", tmp_path, 2, site.nodes * (site.tasks_per_node or 1), site)


def fail() -> None:
    raise ValueError("no luck")


def test_ends_are_told_from_requeues_by_any_launcher(here: Cluster, tmp_path: Path) -> None:
    how = {"name": "x", "logs": tmp_path, "copies": 1, "ranks": 1, "site": SMALL}
    (bad,) = submit.submit(fail, **how)  # type: ignore[arg-type]
    (long,) = submit.submit(time.sleep, 300, **how)  # type: ignore[arg-type]
    names = [bad.job_id, long.job_id]
    wait_until(lambda: submit.ended(bad), "the failing job to end", 60)
    again_bad, again_long = submit.reattach(names, tmp_path, 1, SMALL)
    assert submit.failure(again_bad) == f"job {bad.job_id}: ValueError: no luck; its log is {bad.paths.stderr}"
    here.wait_for(long.job_id, "RUNNING")
    here.run("scontrol", "requeue", long.job_id)
    time.sleep(slurm.SECONDS_BETWEEN_CALLS + 1)
    assert not submit.ended(again_long)
    assert submit.failure(again_long) is None
    here.run("scancel", long.job_id)
    wait_until(lambda: submit.ended(again_long), "the cancelled job to end", 60)
    why = submit.failure(again_long) or ""
    assert why.startswith(f"job {long.job_id}: ended without a result: Slurm says CANCELLED, exit code 0:")
    assert why.endswith(f"; its log is {long.paths.stderr}")


def test_a_job_that_could_not_be_launched_is_released(mended: Cluster, here: Cluster, tmp_path: Path) -> None:
    """A node was given up and is back, with the job still on it: Slurm cannot start it there again, and holds it."""
    site = SMALL.model_copy(update={"sbatch": {"nodelist": here.nodes[0]}})
    (job,) = submit.submit(time.sleep, 300, name="x", logs=tmp_path, copies=1, ranks=1, site=site)
    keeper: int = wait_until(lambda: keeper_of(job.job_id), "the job to run", 60) or 0
    os.kill(keeper, signal.SIGSTOP)
    try:
        here.run("scontrol", "update", f"nodename={here.nodes[0]}", "state=down", "reason=test")
        why = ("squeue", "-h", "-j", job.job_id, "-o", "%r")
        wait_until(lambda: slurm.NOT_LAUNCHED in here.run(*why), "the job to be held", 60, every=0.5)
    finally:
        os.kill(keeper, signal.SIGCONT)
    time.sleep(slurm.SECONDS_BETWEEN_CALLS)
    assert not submit.ended(job)
    assert slurm.NOT_LAUNCHED not in here.run(*why)


def keeper_of(job: str) -> int | None:
    """The process of Slurm's that keeps a job's batch script."""
    return next((pid for pid, title in titles() if f"slurmstepd: [{job}.batch]" in title), None)


def titles() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_text()


def test_nodes_that_are_drained_are_waited_for(here: Cluster, tmp_path: Path) -> None:
    nodes = f"nodename={','.join(here.nodes)}"
    here.run("scontrol", "update", nodes, "state=drain", "reason=test")
    try:
        assert "#SBATCH" in submit.check_site("x", tmp_path, 1, 1, SMALL)
        (job,) = submit.submit(time.sleep, 300, name="x", logs=tmp_path, copies=1, ranks=1, site=SMALL)
        assert not submit.ended(job)
        submit.cancel([job])
        why = submit.failure(job) or ""
        assert why.startswith(f"job {job.job_id}: ended without a result: Slurm says CANCELLED, exit code 0:0")
        assert why.endswith("; it never started")
    finally:
        here.run("scontrol", "update", nodes, "state=resume")


OVERRULING = {
    "SLURM_MEM_PER_CPU": "100",  # srun takes no job that has this besides --mem
    "SLURM_CPU_BIND": "mask_cpu:0x100",
    "SBATCH_PARTITION": "urgent",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_MEM_PER_NODE": "100M",
    "SBATCH_QOS": "none",
    "SBATCH_NO_REQUEUE": "1",
    "SBATCH_EXPORT": "NONE",
    "SBATCH_ARRAY_INX": "0-1",
    "SBATCH_GET_USER_ENV": "1",
    "SRUN_CPUS_PER_TASK": "3",
    "SQUEUE_STATES": "COMPLETED",
}


def test_the_shell_does_not_overrule_the_site(here: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []
    for name, value in OVERRULING.items():  # each alone: together they might cancel out
        with monkeypatch.context() as shell:
            shell.setenv(name, value)
            shell.setenv("KEPT", "yes")
            jobs += submit.submit(os.getenv, "KEPT", name="x", logs=tmp_path / name, copies=1, ranks=1, site=SMALL)
            assert not submit.ended(jobs[-1])
            asked = here.run("scontrol", "show", "job", "--oneliner", jobs[-1].job_id)
            for field in ("Partition=low", "TimeLimit=00:02:00", "MinMemoryNode=512M", "Requeue=1", "QOS=normal"):
                assert f" {field} " in asked, name
            assert ("not heeded" in str(unheeded())) != name.startswith("SQUEUE")
    wait_until(lambda: all(map(submit.ended, jobs)), "the jobs to end", 120, every=1)
    assert [submit.failure(job) for job in jobs] == [None] * len(jobs)
    assert [job.result() for job in jobs] == ["yes"] * len(jobs)


APPTAINER = """#!/bin/bash
# What runs in the container sees what it is told to, and no scontrol.
shift
while [[ $1 == --* ]]; do
    [ "$1" = --env ] && export "$2"
    shift 2
done
echo "in $1"
PATH={folder}/inside APPTAINER_CONTAINER=$1 exec "${{@:2}}"
"""


class Stubborn:
    """Ends only in its second life."""

    def __call__(self, folder: Path) -> None:
        lives = folder / f"lives_{submitit.JobEnvironment().job_id}"
        with lives.open("a") as file:
            file.write("alive\n")
        if not shutil.which("scontrol") and len(lives.read_text().splitlines()) == 1:
            time.sleep(300)

    def checkpoint(self, folder: Path) -> None:
        raise AssertionError("it only has to be there: a job without one is not requeued")


def test_a_job_in_a_container_is_requeued_from_outside(here: Cluster, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "apptainer").write_text(APPTAINER.format(folder=tmp_path))
    (tmp_path / "image.sif").touch()
    for file in ("inside/python3", "apptainer"):
        (tmp_path / file).chmod(0o755)
    site = SMALL.model_copy(update={"container": tmp_path / "image.sif", "setup": [f"PATH={tmp_path}:$PATH"]})
    logs = tmp_path / "runs" / "x" / "logs" / "test"
    jobs = submit.submit(Stubborn(), tmp_path, name="x", logs=logs, copies=2, ranks=1, site=site)
    lives = [tmp_path / f"lives_{job.job_id}" for job in jobs]
    wait_until(lambda: all(path.exists() for path in lives), "both to start", 60)
    here.run("scancel", "--signal=USR2", jobs[0].job_id)
    wait_until(lambda: len(lives[0].read_text().splitlines()) == 2, "a second life", 60)
    wait_until(lambda: submit.ended(jobs[0]), "it to end", 60)
    assert submit.failure(jobs[0]) is None
    assert f"in {tmp_path}/image.sif" in jobs[0].paths.stdout.read_text()
    assert not submit.ended(jobs[1])
    submit.cancel(jobs)
    assert len(lives[1].read_text().splitlines()) == 1


@pytest.mark.timeout(600)
def test_a_training_outlasts_its_own_time_limit_and_its_launcher_s(
    slurm: Cluster, config: Path, tmp_path: Path
) -> None:
    if not Path(".venv/bin/python").exists():
        pytest.skip("the scripts run .venv/bin/python, which `make` installs; this environment is another")
    site, log, folder = tmp_path / "site.yaml", tmp_path / "log", tmp_path / "runs" / "small"
    site.write_text(SITE)
    overrides = ["train.epochs=25", "train.patience=25", "train.ranks=1", "model.filters=4", "model.layers=1"]
    calm = load_config(config, overrides)
    train_rank(calm, calm.maps.file, tmp_path / "calm")

    asks = ("--mem=2G", "--time=10", f"--output={log}", f"--export=ALL,SITE={site}")
    launcher = slurm.run("sbatch", "--parsable", *asks, "slurm/train.sh", str(config), *overrides).strip()
    wait_until((folder / "model" / "last.pt").exists, "a first epoch", 100)
    training = read_json(folder / "logs" / "train" / "job.json")["job"]
    slurm.run("scancel", "--signal=USR2", training)
    wait_until(lambda: restarts(slurm, training) == 1, "the training to be requeued", 60)
    slurm.run("scontrol", "hold", training)
    slurm.run("scancel", "--signal=USR1", "--batch", launcher)
    wait_until(lambda: "is still there; following it" in log.read_text(), "the launcher to come back", 100)
    slurm.run("scontrol", "release", training)
    slurm.wait_for(launcher, "COMPLETED", seconds=250)
    assert restarts(slurm, training) == 1
    assert (folder / "predictions.h5").exists()
    assert losses(folder / "model" / "log.csv") == losses(tmp_path / "calm" / "log.csv")
    assert len(losses(folder / "model" / "log.csv")) == 25


def restarts(slurm: Cluster, job: str) -> int:
    return int(slurm.run("scontrol", "show", "job", job).split("Restarts=")[1].split()[0])


def losses(log: Path) -> list[tuple[str, str]]:
    with log.open() as rows:
        return [(row["epoch"], row["validation_loss"]) for row in csv.DictReader(rows)]
