"""The scripts of slurm/ as `sbatch` runs them, from maps to report."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.dataset.mapfile import open_maps
from tests.cluster.cluster import Cluster
from tests.cluster.test_jobs import SITE
from tests.synthetic import write_synthetic_maps
from tests.test_jobs import CONFIG

MODELS = ["star", "sz", "xray", "multi1", "multi3", "gas2"]


def submit(slurm: Cluster, log: Path, *words: str, site: Path, asks: tuple[str, ...] = ()) -> str:
    """Submit a script, wait for its end, and return what it printed."""
    export = f"--export=ALL,SITE={site}"
    job = slurm.run("sbatch", "--parsable", f"--output={log}", "--time=10", export, *asks, *words).strip()
    slurm.wait_for(job, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", seconds=200)
    printed = log.read_text()
    assert slurm.states(job)[job] == "COMPLETED", printed
    return printed


def test_every_model_has_a_script_that_tunes_it() -> None:
    for model in MODELS:
        text = Path(f"slurm/tune_{model}.sh").read_text()
        assert f" tune configs/{model}.yaml " in text
        assert Path(f"configs/{model}.yaml").is_file()
    assert sorted(path.stem for path in Path("slurm").glob("tune_*.sh")) == sorted(f"tune_{m}" for m in MODELS)


def test_make_maps_by_sbatch(slurm: Cluster, tmp_path: Path) -> None:
    if not Path(".venv/bin/python").exists():
        pytest.skip("the scripts run .venv/bin/python, which `make` installs; this environment is another")
    few = ("selection.m200_min=9e13", "maps.lines_of_sight=2", f"maps.file={tmp_path}/maps.h5", f"runs={tmp_path}")
    asks = ("--ntasks=2", "--nodes=2", "--mem-per-cpu=1500M")
    printed = submit(slurm, tmp_path / "log", "slurm/make_maps.sh", "configs/demo.yaml", *few, site=tmp_path, asks=asks)
    assert "drawing 2 views of each halo on 2 ranks" in printed
    assert "12 maps of 6 halos" in printed
    assert isinstance(open_maps(tmp_path / "maps.h5", check_values=True).maps["mass"], np.memmap)


@pytest.mark.timeout(600)
def test_tune_train_and_evaluate_by_sbatch(slurm: Cluster, tmp_path: Path) -> None:
    if not Path(".venv/bin/python").exists():
        pytest.skip("the scripts run .venv/bin/python, which `make` installs; this environment is another")
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=2)
    (tmp_path / "site.yaml").write_text(SITE)
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    folder, site, log = tmp_path / "runs" / "small", tmp_path / "site.yaml", tmp_path / "log"

    small = [f"runs={tmp_path}/runs", f"maps.file={tmp_path}/maps.h5", "name=small", "train.epochs=2"]
    space = ["space.filters={low: 4, high: 6}", "space.layers={low: 1, high: 2}", "space.kernel.high=3"]
    budget = ["tune.evaluations=3", "tune.workers=2", "train.batch_size=8"]
    printed = submit(slurm, log, "slurm/tune_multi3.sh", *small, *space, *budget, site=site)
    assert "3/3 trials" in printed
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert [trial["state"] for trial in trials] == [2, 2, 2]
    assert all(trial["worker"]["slurm_job"] for trial in trials)

    submit(slurm, log, "slurm/train.sh", str(config), "train.epochs=2", site=site)
    assert (folder / "predictions.h5").exists()
    asks = ("--ntasks=2", "--nodes=2", "--mem-per-cpu=1500M")
    printed = submit(slurm, log, "slurm/evaluate.sh", str(config), site=site, asks=asks)
    assert "evaluating, one of 2 ranks" in printed
    assert "report: " in printed


def test_a_script_without_a_site_says_so(slurm: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = slurm.run("sbatch", "--parsable", f"--output={log}", "--time=2", "slurm/tune_star.sh").strip()
    slurm.wait_for(job, "FAILED")
    assert "SITE: names a file of configs/sites/" in log.read_text()
