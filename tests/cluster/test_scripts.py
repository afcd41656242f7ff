"""The scripts of slurm/ as `sbatch` runs them, from maps to report."""

import json
import re
import sys
from pathlib import Path

import pytest

from hpc_massmap.storage import read_json
from tests.cluster.cluster import Cluster
from tests.conftest import ROOT
from tests.house import build_house
from tests.patience import wait_until

OVERRIDES = ["train.epochs=2", "tune.epochs=30", "train.patience=30", "tune.maps_per_epoch=36", "tune.lease=6"]
OVERRIDES += ["space.filters={low: 8, high: 10}", "space.kernel={low: 3, high: 3}"]
ALL_NODES = ("sbatch", "--parsable", "--output=/dev/null", "-p", "urgent", "-N4", "-n4", "-c8")
MODELS = ["star", "sz", "xray", "multi1", "multi3", "gas2"]


def test_every_model_has_a_script_that_tunes_it() -> None:
    for model in MODELS:
        text = Path(f"slurm/tune_{model}.sh").read_text()
        assert f" tune configs/{model}.yaml " in text
        assert Path(f"configs/{model}.yaml").is_file()
    assert sorted(path.stem for path in Path("slurm").glob("tune_*.sh")) == sorted(f"tune_{m}" for m in MODELS)


@pytest.mark.timeout(900)
def test_the_whole_paper_in_a_bad_night(mended: Cluster, tmp_path: Path) -> None:
    """Two models from snapshots on: all is preempted, a node fails, one branch is cut off and ends alone.

    Asked for again, it is done.
    """
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("the scripts run .venv/bin/python, which `make` installs; this environment is another")
    slurm, house = mended, build_house(tmp_path)
    site = house / "configs" / "sites" / "gpu.yaml"
    site.write_text(site.read_text().replace("batch", "low"))
    slurm.run(sys.executable, "jobs/mock.py", "configs/mock.yaml", cwd=house)
    words = ["configs/paper.yaml", *OVERRIDES, "--models", "star", "sz"]
    runs = {model: house / "runs" / model for model in ("star", "sz")}
    logs = house / "runs" / "paper" / "logs"

    printed = reproduce(slurm, house, *words)
    assert "make_maps: submitted as job" in printed
    jobs = read_json(logs.parent / "jobs.json")
    assert set(jobs) == {f"{step}_{model}" for step in ("tune", "train", "evaluate") for model in runs} | {
        "make_maps",
        "report",
    }
    assert "tune_star: on its way" in reproduce(slurm, house, *words)
    assert read_json(logs.parent / "jobs.json") == jobs
    wait_until(lambda: all(list(run.glob("trials/*/*/last.pt")) for run in runs.values()), "first epochs", 150)
    # the studies share a server, whose launcher and all workers now have to go
    assert (house / "runs" / "paper" / "database" / "endpoint.json").exists()
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
    assert "sz: runs/sz/model/log.csv: no such file; run massmap train first" in page
    assert re.search(r"<li>tune_sz is not done: .* CANCELLED AT .*; all of it is in .*/logs/tune_sz\.log</li>", page)
    trials = [json.loads(line) for line in (runs["star"] / "trials.jsonl").read_text().splitlines()]
    assert [trial["state"] for trial in trials] == [2, 2]
    assert max(trial["attempts"] for trial in trials) > 1
    assert all(trial["worker"]["slurm_job"] for trial in trials)
    assert {trial["worker"]["host"] for trial in trials} <= set(slurm.nodes)
    assert "evaluating, one of 2 ranks" in (logs / "evaluate_star.log").read_text()

    printed = reproduce(slurm, house, *words)
    assert "evaluate_star: done" in printed
    assert "tune_sz: submitted" in printed
    slurm.wait_for(read_json(logs.parent / "jobs.json")["report"], "COMPLETED", seconds=400)
    page = (runs["star"] / "report" / "index.html").read_text()
    assert "no such file" not in page
    assert not list((house / "runs" / "paper" / "database").glob("endpoint.json"))


def reproduce(slurm: Cluster, house: Path, *words: str) -> str:
    """What slurm/reproduce_paper.sh says until it ends."""
    asked = ("sbatch", "--parsable", "--output=log", "--export=ALL,SITE=configs/sites/gpu.yaml", "--time=10")
    job = slurm.run(*asked, "slurm/reproduce_paper.sh", *words, cwd=house).strip()
    slurm.wait_for(job, "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", seconds=200)
    printed = (house / "log").read_text()
    assert slurm.states(job)[job] == "COMPLETED", printed
    return printed


def test_without_a_site_the_job_itself_is_one(slurm: Cluster, tmp_path: Path) -> None:
    house, log = build_house(tmp_path), tmp_path / "log"
    asks = (f"--output={log}", "--time=9", "--partition=low", "--gpus=2")
    job = slurm.run("sbatch", "--parsable", *asks, "slurm/tune_star.sh", cwd=house).strip()
    slurm.wait_for(job, "FAILED", seconds=120)
    told, refused = log.read_text().splitlines()
    assert told.startswith("site: no configs/sites/local.yaml; derived from this job: partition low, ")
    for field in ("gpus_per_task 2", "cpus_per_task 4", "minutes 1440", "signal_seconds 30", "qos normal"):
        assert f", {field}" in told
    assert "no such map file; make it with massmap make_maps CONFIG, or sbatch slurm/make_maps.sh CONFIG" in refused
