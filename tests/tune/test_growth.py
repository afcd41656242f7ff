"""A study only ever grows: real launchers and workers, the second with fewer evaluations, the third with more."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpc_massmap.run import Run
from hpc_massmap.tune.connection import open_study
from hpc_massmap.yamlfile import load_yaml
from tests.patience import wait_until, within
from tests.tune.crew import losses, small_run

pytestmark = pytest.mark.xdist_group("faults")


def launch(run: Run, *overrides: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "hpc_massmap.jobs.tune", str(run.folder.parent.parent / "c.yaml"), *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(launcher: "subprocess.Popen[str]") -> str:
    output, _ = launcher.communicate(timeout=within(200))
    assert launcher.returncode == 0, output
    return output


def test_fewer_evaluations_end_nothing_and_more_go_on_from_what_is_there(tmp_path: Path) -> None:
    run = small_run(tmp_path, workers=2, evaluations=5)
    first = launch(run)
    wait_until((run.database / "endpoint.json").exists, "the database", 60)
    wait_until(lambda: any(d["state"] == 1 for d in open_study(run).documents()), "a trial to run")
    first.kill()
    first.wait()
    fewer = said(launch(run, "tune.evaluations=2"))
    assert "tune.evaluations = 2: the study has 5 already, and it only ever grows" in fewer
    assert "5/5 trials" in fewer
    what, good, following = fewer.splitlines()[-3:]
    assert what.startswith("tuned with 5 trials: ")
    assert good.startswith("best of 5 trials: ")
    assert following == f"{run.best}; next: massmap train {run.folder}"
    five, lines = losses(run), run.trials_export.read_text().splitlines()
    assert len(five) == 5
    assert load_yaml(run.folder / "config.yaml")["tune"]["evaluations"] == 5

    again = said(launch(run, "tune.evaluations=2"))  # when it is finished
    assert "the study has 5 already" in again
    assert "tune: already done" in again
    assert load_yaml(run.folder / "config.yaml")["tune"]["evaluations"] == 5

    assert "tuned: goes on from 5 evaluations to 7" in said(launch(run, "tune.evaluations=7"))
    assert losses(run)[:5] == five
    assert len(losses(run)) == 7
    assert run.trials_export.read_text().splitlines()[:5] == lines  # none of them was trained again
    assert load_yaml(run.best)["evaluations"] == 7
    other = launch(run, "tune.evaluations=9", "train.epochs=3")
    output, _ = other.communicate(timeout=within(60))
    assert other.returncode == 2
    assert "tune was done with train.epochs = 12, now 3" in output
    assert run.is_recorded("tune")
