"""`--site` sends the same jobs to Slurm: tuning by an array of workers, training by DDP ranks, evaluation by MPI."""

import sys
from pathlib import Path

import pytest

from hpc_massmap.train.checkpoint import load_checkpoint
from tests.cluster.cluster import Cluster
from tests.patience import wait_until
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
    """On two nodes: its script sees code 75 after USR1, and the job that is requeued goes on to the end."""
    folder, script = config.parent / "runs" / "small", config.parent / "train.sh"
    words = f"{sys.executable} jobs/train.py {config} train.epochs=60 train.patience=60 model.filters=4 model.layers=1"
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
    wait_until(lambda: "code 0" in (config.parent / "log").read_text(), "the requeued training", 180)
    assert load_checkpoint(folder / "model" / "last.pt")["identity"]["world"] == 2
    epochs = (folder / "model" / "log.csv").read_text().splitlines()[1:]
    assert len(paused["history"]) < len(epochs) == 60
    assert (folder / "provenance" / "train.json").exists()


def test_worlds_of_one_are_refused(slurm: Cluster, config: Path) -> None:
    command = ("srun", "--mpi=none", "-n2", sys.executable, "jobs/evaluate.py", str(config))
    with pytest.raises(RuntimeError, match=r"--mpi=pmix"):
        slurm.run(*command)
