"""Every documented command that needs Slurm, typed to the letter in a clone whose configs are of small data."""

import re
import sys
from pathlib import Path

import pytest

from hpc_massmap.pipeline.stages import RETRAINED, TUNED
from tests.cluster.cluster import Cluster
from tests.conftest import ROOT
from tests.house import build_house, change

SITE = "SITE=configs/sites/gpu.yaml"

# what is typed in the order in which a reader would come to it, and what it says, or its job in its log
IN_ORDER = [
    ("sbatch slurm/make_maps.sh configs/multi3.yaml", "drawing 1 views of each halo on 2 ranks: 122 halos"),
    ("sbatch --partition=long --time=2-0 slurm/make_maps.sh", "make_maps: already done"),
    ("sbatch --account=astro slurm/make_maps.sh", "make_maps: already done"),
    ("massmap tune configs/multi3.yaml --site configs/sites/gpu.yaml --dry-run", "--job-name=tune_multi3"),
    (
        "massmap train configs/multi3.yaml --site configs/sites/gpu.yaml --dry-run",
        "#SBATCH --job-name=train_mul",
    ),
    ("sbatch slurm/tune_multi3.sh", "2/2 trials"),
    ("sbatch --partition=long --gpus=1 slurm/tune_multi3.sh", "tune: already done"),
    ("massmap site", "wrote configs/sites/local.yaml"),
    (f"{SITE} sbatch slurm/tune_multi3.sh", "tune: already done"),
    ("massmap tune configs/multi3.yaml --site configs/sites/gpu.yaml --workers 16", "tune: already done"),
    ("sbatch slurm/train.sh configs/multi3.yaml", "predicting on 1 ranks"),
    ("massmap train configs/multi3.yaml --site configs/sites/gpu.yaml", "train: already done"),
    (
        "srun --nodes=2 --ntasks-per-node=4 --gpus-per-task=1 massmap train configs/multi3.yaml",
        "train: already done",
    ),
    ("sbatch slurm/evaluate.sh configs/multi3.yaml", "report: runs/multi3/report/index.html"),
]
# what submits more than a test should wait for
ONLY_SUBMITTED = [
    f"{SITE} sbatch slurm/tune_multi3.sh tune.evaluations=200",
    "sbatch slurm/reproduce_paper.sh configs/paper.yaml",
    "massmap paper configs/paper.yaml --site configs/sites/gpu.yaml --models star multi3 --ask make_maps:ntasks=16",
]
ON_SLURM = [*(command for command, _ in IN_ORDER), *ONLY_SUBMITTED]


@pytest.fixture(scope="module")
def house(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("the scripts run .venv/bin/python, which `make` installs; this environment is another")
    house = build_house(tmp_path_factory.mktemp("house"))
    change(house / "configs" / "paper.yaml", {"train": {"epochs": 2}})
    typed(slurm, "massmap mock configs/mock.yaml", house)
    return house


def typed(slurm: Cluster, command: str, house: Path) -> str:
    """What a command says, and its job until that has ended."""
    path = f"export PATH={house / 'bin'}:{Path(sys.executable).parent}:$PATH"
    said = slurm.run("bash", "-c", f"{path}; {command}", cwd=house, seconds=200)
    if submitted := re.fullmatch(r"Submitted batch job (\d+)\n", said):
        job = submitted[1]
        slurm.wait_for(job, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", seconds=200)
        said = (house / f"slurm-{job}.out").read_text()
        assert slurm.states(job)[job] == "COMPLETED", said
    return said


@pytest.mark.parametrize(("command", "says"), IN_ORDER, ids=[command for command, _ in IN_ORDER])
def test_a_documented_command_does_what_it_says(slurm: Cluster, command: str, says: str, house: Path) -> None:
    assert says in typed(slurm, command, house)


def test_the_documented_ways_to_submit_the_whole_paper_submit_it(mended: Cluster, house: Path) -> None:
    """Not waited for: test_scripts.py has a night of it."""
    longer, whole, some = ONLY_SUBMITTED
    job = mended.run("bash", "-c", longer, cwd=house).split()[-1]
    mended.run("scancel", job)
    said = typed(mended, whole, house)
    left = said.count(": submitted as job ")
    assert left + said.count(": done") == 1 + 3 * len(TUNED) + 2 * len(RETRAINED) + 1
    assert left > 20
    said = typed(mended, some, house)
    assert re.search(r"^make_maps: (on its way|done)", said)
    assert "evaluate_star: on its way as job" in said
