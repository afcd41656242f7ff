"""The launcher may be killed and started again at any time; what it leaves finishes by itself and cleans up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_massmap.run import Run
from hpc_massmap.tune import guard
from hpc_massmap.tune.worker import open_study
from tests.cluster.polling import wait_until
from tests.cluster.test_cluster import processes_of
from tests.tune.crew import TRIALS, calm_losses, losses, small_run

pytestmark = pytest.mark.xdist_group("faults")  # they share the calm losses


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return small_run(tmp_path, workers=2)


def launch(run: Run) -> "subprocess.Popen[str]":
    command = [sys.executable, "jobs/tune.py", str(run.folder.parent.parent / "c.yaml")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for_training(run: Run) -> None:
    wait_until((run.database / "endpoint.json").exists, "the database", 60)
    wait_until(lambda: any(d["result"].get("history") for d in open_study(run).documents("result.history")), "an epoch")


def test_a_launcher_started_again_takes_up_the_workers_that_a_killed_one_left(run: Run) -> None:
    first = launch(run)
    wait_for_training(run)
    first.kill()
    first.wait()
    second = launch(run)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0, output
    assert "2 workers are still there" in output
    assert losses(run) == calm_losses()
    workers = {d["worker"]["id"] for d in map(json.loads, run.trials_export.read_text().splitlines())}
    assert len(workers) == 2
    wait_until(lambda: not processes_of(run.folder), "all processes to be gone", 30)


def test_what_a_killed_launcher_leaves_finishes_the_study_and_shuts_its_database_down(run: Run) -> None:
    launcher = launch(run)
    wait_for_training(run)
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not processes_of(run.folder), "workers, database and guard to be gone", 120)
    assert losses(run) == calm_losses()
    assert not (run.database / "endpoint.json").exists()
    again = launch(run)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert f"{TRIALS}/{TRIALS} trials" in output
    assert run.best.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x", "started": 1}', "\x00", '{"pid": 1}'])
def test_a_launcher_whose_record_is_damaged_is_taken_for_gone(content: str, tmp_path: Path) -> None:
    (tmp_path / "launcher.json").write_text(content)
    assert not guard._launcher_lives(tmp_path / "launcher.json")
    assert not guard._launcher_lives(tmp_path / "none.json")
