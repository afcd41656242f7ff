"""What is submitted, what is refused before, and that a job's end is told from its rest."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpc_massmap import launch, slurm
from hpc_massmap.config import Site
from tests.cluster.cluster import Cluster
from tests.cluster.polling import wait_until
from tests.cluster.test_jobs import SITE
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
    shown = launch.check_site("x", tmp_path, copies, 1, SMALL)
    launch.submit(time.sleep, 0, name="x", logs=tmp_path, copies=copies, ranks=1, site=SMALL)
    (sent,) = tmp_path.glob("*_submission.sh")
    assert sent.read_text() == shown


@pytest.mark.parametrize("name", ["tune", "train"])
def test_a_dry_run_shows_the_script_and_submits_nothing(slurm: Cluster, config: Path, name: str) -> None:
    printed = slurm.run(*command(name, config, SITE, "--dry-run"))
    assert "#SBATCH --partition=batch" in printed
    assert "#SBATCH --mem=1536M" in printed
    assert f"JobName={name}_small" not in slurm.run("scontrol", "show", "jobs")
    assert not (config.parent / "runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("partition: batch", "partition: nowhere"),
            r"partition = nowhere: no such partition; this cluster has batch, ",
        ),
        (("partition: batch", "partition: short"), r"minutes = 10: partition short allows 2"),
        (("mem_gb: 1.5", "mem_gb: 900"), r"Slurm refuses such a job in partition batch: .*[Mm]emory|configuration"),
        (("mem_gb: 1.5", "constraint: a100"), r"Slurm refuses such a job in partition batch: .*[Ff]eature"),
    ],
)
def test_what_the_cluster_cannot_do_is_told_in_one_line(
    slurm: Cluster, config: Path, change: tuple[str, str], message: str
) -> None:
    with pytest.raises(RuntimeError, match=f"error: site: {message}") as told:
        slurm.run(*command("tune", config, SITE.replace(*change)))
    assert str(told.value).count("\n") == 2
    assert not (config.parent / "runs").exists()


def fail() -> None:
    raise ValueError("no luck")


def test_ends_are_told_from_requeues_by_any_launcher(here: Cluster, tmp_path: Path) -> None:
    submit = {"name": "x", "logs": tmp_path, "copies": 1, "ranks": 1, "site": SMALL}
    (bad,) = launch.submit(fail, **submit)  # type: ignore[arg-type]
    (long,) = launch.submit(time.sleep, 300, **submit)  # type: ignore[arg-type]
    names = [bad.job_id, long.job_id]
    wait_until(lambda: launch.ended(bad), "the failing job to end", 60)
    again_bad, again_long = launch.reattach(names, tmp_path, 1, SMALL)
    assert launch.failure(again_bad) == f"job {bad.job_id}: ValueError: no luck; its log is {bad.paths.stderr}"
    here.wait_for(long.job_id, "RUNNING")
    here.run("scontrol", "requeue", long.job_id)
    time.sleep(slurm.SECONDS_BETWEEN_CALLS + 1)
    assert not launch.ended(again_long)
    assert launch.failure(again_long) is None
    here.run("scancel", long.job_id)
    wait_until(lambda: launch.ended(again_long), "the cancelled job to end", 60)
    assert "ended without a result: killed or cancelled; its log is" in str(launch.failure(again_long))


def test_a_training_that_is_told_to_end_is_requeued_and_goes_on(slurm: Cluster, config: Path) -> None:
    model = config.parent / "runs" / "small" / "model"
    overrides = ("train.epochs=40", "train.patience=40", "train.ranks=1", "model.filters=4", "model.layers=1")
    launcher = subprocess.Popen(
        [*command("train", config, SITE), *overrides], env=slurm.env, stdout=subprocess.PIPE, text=True
    )
    wait_until((model / "last.pt").exists, "a first epoch", 100)
    (job,) = slurm.run("squeue", "-h", "-t", "RUNNING", "-o", "%A").split()
    slurm.run("scancel", "--signal=USR2", job)
    output, _ = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, output
    assert int(slurm.run("scontrol", "show", "job", job).split("Restarts=")[1].split()[0]) == 1
    with (model / "log.csv").open() as log:
        assert [int(row["epoch"]) for row in csv.DictReader(log)] == list(range(1, 41))
