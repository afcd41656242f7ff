"""The scripts of slurm/ as `sbatch` runs them, from maps to report."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.config import load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.run import Run
from hpc_massmap.storage import read_json, write_json
from tests.cluster.cluster import Cluster
from tests.cluster.polling import wait_until
from tests.cluster.test_jobs import SITE
from tests.synthetic import write_synthetic_maps
from tests.test_jobs import CONFIG

OVERRIDES = ["train.epochs=2", "train.ranks=1", "tune.epochs=25", "train.patience=25", "tune.lease=6"]
OVERRIDES += ["tune.workers=1", "tune.evaluations=2"]
ALL_NODES = ("sbatch", "--parsable", "--output=/dev/null", "-p", "urgent", "-N4", "-n4", "-c8")
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


@pytest.mark.timeout(900)
def test_the_whole_paper_in_a_bad_night(mended: Cluster, tmp_path: Path) -> None:
    """Two models: all is preempted, a node fails, one branch is cut off and ends alone; asked for again, it is done."""
    if not Path(".venv/bin/python").exists():
        pytest.skip("the scripts run .venv/bin/python, which `make` installs; this environment is another")
    slurm = mended
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=2)
    site, path, log = tmp_path / "site.yaml", tmp_path / "small.yaml", tmp_path / "log"
    site.write_text(SITE.replace("batch", "low"))
    path.write_text(CONFIG.format(folder=tmp_path))
    base = Run.open(load_config(path, OVERRIDES))
    write_json(base.folder / "provenance" / "make_maps.json", {})  # this job is seen above
    words = [str(path), *OVERRIDES, "--models", "star", "sz"]
    words += ["--ask", "evaluate:ntasks=2", "--ask", "evaluate:nodes=2", "--ask", "evaluate:mem-per-cpu=1500M"]
    runs = {model: tmp_path / "runs" / f"small_{model}" for model in ("star", "sz")}

    printed = submit(slurm, log, "slurm/reproduce_paper.sh", *words, site=site)
    assert "make_maps: done" in printed
    jobs = read_json(base.folder / "jobs.json")
    assert set(jobs) == {f"{step}_{model}" for step in ("tune", "train", "evaluate") for model in ("star", "sz")} | {
        "report"
    }
    assert "tune_star: on its way" in submit(slurm, log, "slurm/reproduce_paper.sh", *words, site=site)
    assert read_json(base.folder / "jobs.json") == jobs
    wait_until(lambda: all(list(run.glob("trials/*/*/last.pt")) for run in runs.values()), "first epochs", 150)
    # the studies share a server, whose launcher and all workers now have to go
    assert (base.folder / "database" / "endpoint.json").exists()
    urgent = slurm.run(*ALL_NODES, "--wrap", "sleep 1").strip()
    slurm.wait_for(urgent, "COMPLETED", seconds=120)
    for model in runs:  # with or without a moment to say goodbye
        assert "Restarts=1" in slurm.run("scontrol", "show", "job", jobs[f"tune_{model}"])
    assert not any((run / "database").exists() for run in runs.values())
    worker = wait_until(lambda: slurm.run("squeue", "-h", "-p", "low", "-t", "RUNNING", "-o", "%B").split(), "one", 150)
    slurm.run("scontrol", "update", f"nodename={worker[0]}", "state=down", "reason=test")
    slurm.run("scancel", jobs["tune_sz"])

    slurm.wait_for(jobs["report"], "COMPLETED", seconds=400)
    assert slurm.states(jobs["evaluate_sz"])[jobs["evaluate_sz"]].startswith("CANCELLED")
    page = (runs["star"] / "report" / "index.html").read_text()
    assert f"small_sz: {runs['sz']}/model/log.csv: no such file; run jobs/train.py first" in page
    assert re.search(r"<li>tune_sz is not done: .* CANCELLED AT .*; all of it is in .*/logs/tune_sz\.log</li>", page)
    trials = [json.loads(line) for line in (runs["star"] / "trials.jsonl").read_text().splitlines()]
    assert [trial["state"] for trial in trials] == [2, 2]
    assert max(trial["attempts"] for trial in trials) > 1
    assert all(trial["worker"]["slurm_job"] for trial in trials)
    assert {trial["worker"]["host"] for trial in trials} <= set(slurm.nodes)
    assert "evaluating, one of 2 ranks" in (base.folder / "logs" / "evaluate_star.log").read_text()

    printed = submit(slurm, log, "slurm/reproduce_paper.sh", *words, site=site)
    assert "evaluate_star: done" in printed
    assert "tune_sz: submitted" in printed
    slurm.wait_for(read_json(base.folder / "jobs.json")["report"], "COMPLETED", seconds=400)
    page = (runs["star"] / "report" / "index.html").read_text()
    assert "no such file" not in page
    assert not list((base.folder / "database").glob("endpoint.json"))


def test_a_script_without_a_site_says_so(slurm: Cluster, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = slurm.run("sbatch", "--parsable", f"--output={log}", "--time=2", "slurm/tune_star.sh").strip()
    slurm.wait_for(job, "FAILED")
    assert "SITE: names a file of configs/sites/" in log.read_text()
