"""`--site` sends the same jobs to Slurm: tuning by an array of workers, training by DDP ranks, evaluation by MPI."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_massmap.train.checkpoint import load_checkpoint
from tests.cluster.cluster import Cluster
from tests.cluster.polling import wait_until
from tests.synthetic import write_synthetic_maps
from tests.test_jobs import CONFIG

SITE = "partition: batch\ncpus_per_task: 1\nmem_gb: 1.5\nminutes: 10\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=2)
    (tmp_path / "site.yaml").write_text(SITE)
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def test_a_training_by_srun_is_requeued_by_its_exit_code(slurm: Cluster, config: Path) -> None:
    """Its script sees code 75 after USR1, and the job that is requeued goes on."""
    folder, script = config.parent / "runs" / "small", config.parent / "train.sh"
    words = f"{sys.executable} jobs/train.py {config} train.epochs=400 train.patience=400"
    script.write_text(
        "#!/bin/bash\n#SBATCH -N2 -n2 --mem=1500M --requeue --open-mode=append\n"
        f"#SBATCH --output={config.parent}/log\n"
        f"srun {words}\ncode=$?\necho code $code\n[ $code != 75 ] || scontrol requeue $SLURM_JOB_ID\n"
    )
    job = slurm.run("sbatch", "--parsable", str(script)).strip()
    wait_until((folder / "model" / "last.pt").exists, "a first epoch", 120)
    slurm.run("scancel", "--signal=USR1", job)
    wait_until(lambda: "code 75" in (config.parent / "log").read_text(), "the exit code", 60)
    paused = load_checkpoint(folder / "model" / "last.pt")
    assert paused["begun"] is not None
    wait_until(
        lambda: len(load_checkpoint(folder / "model" / "last.pt")["history"]) > len(paused["history"]) + 1,
        "the requeued training",
        180,
    )
    slurm.run("scancel", job)


def test_srun_starts_the_ranks_of_a_training(slurm: Cluster, config: Path) -> None:
    """On two nodes, from the command line that submits when it is started alone."""
    command = (sys.executable, "jobs/train.py", str(config), "train.epochs=2")
    slurm.run("srun", "-N2", "-n2", "--mem=1500M", "--kill-on-bad-exit=1", *command, timeout=200)
    folder = config.parent / "runs" / "small"
    assert load_checkpoint(folder / "model" / "last.pt")["identity"]["world"] == 2
    assert len((folder / "model" / "log.csv").read_text().splitlines()) == 3
    assert (folder / "provenance" / "train.json").exists()


def test_worlds_of_one_are_refused(slurm: Cluster, config: Path) -> None:
    command = ("srun", "--mpi=none", "-n2", sys.executable, "jobs/evaluate.py", str(config))
    with pytest.raises(RuntimeError, match=r"--mpi=pmix"):
        slurm.run(*command)


def test_a_cancelled_worker_s_trial_is_done_by_its_replacement(slurm: Cluster, config: Path) -> None:
    folder = config.parent / "runs" / "small"
    overrides = ("train.patience=40", "tune.epochs=40", "tune.lease=5", "tune.workers=1", "tune.evaluations=1")
    command = [sys.executable, "jobs/tune.py", str(config), *overrides, "--site", str(config.parent / "site.yaml")]
    launcher = subprocess.Popen(command, env=slurm.env, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: list((folder / "trials").glob("*/*/last.pt")), "a first epoch", 120)
    running = slurm.run("squeue", "-h", "-t", "RUNNING", "-o", "%A").split()
    slurm.run("scancel", *running)
    output, _ = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, output
    assert "a worker ended: " in output
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert [(trial["state"], trial["attempts"]) for trial in trials] == [(2, 2)]
    assert len(trials[0]["result"]["history"]) == 40
