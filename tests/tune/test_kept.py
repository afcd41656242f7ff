"""What is kept of a trial that is done: a model that is whole, and nothing of its attempts."""

from pathlib import Path

import pytest

from hpc_massmap.cluster.submit import Job
from hpc_massmap.config import Config
from hpc_massmap.run import Run
from hpc_massmap.train.checkpoint import load_checkpoint, save_checkpoint
from hpc_massmap.train.loop import BEST, LAST, LOG
from hpc_massmap.tune import worker_jobs
from hpc_massmap.tune.folders import keep, keep_rest
from hpc_massmap.tune.worker_jobs import WorkerJobs
from tests.tune import made_up


@pytest.fixture
def run(tmp_path: Path) -> Run:
    simulation = {"name": "s", "folder": Path("f"), "snapshots": [1]}
    config = Config.model_validate({"name": "tuned", "runs": tmp_path, "simulations": [simulation]})
    run = Run(config, tmp_path / "tuned")
    for tid, version in ((0, 1), (0, 2), (1, 1), (2, 1)):
        for name in (BEST, LAST):
            save_checkpoint(run.trials / str(tid) / str(version) / name, {"of": [tid, version]})
        (run.trials / str(tid) / str(version) / LOG).write_text("epoch\n")
    return run


def kept(run: Run, tid: int) -> list[str]:
    return sorted(path.name for path in (run.trials / str(tid)).iterdir())


def test_the_best_model_is_kept_and_the_attempts_are_not(run: Run) -> None:
    keep(run, 0, 2)
    assert kept(run, 0) == sorted([BEST, LOG])
    assert load_checkpoint(run.trials / "0" / BEST)["of"] == [0, 2]
    keep(run, 0, 2)  # said twice
    assert kept(run, 0) == sorted([BEST, LOG])


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_model_is_not_kept_and_said(run: Run, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    best = run.trials / "0" / "2" / BEST
    data = bytearray(best.read_bytes())
    data[len(data) // 2] ^= 1
    best.write_bytes(data if damage == "flip" else data[:100])
    keep(run, 0, 2)
    assert kept(run, 0) == [LOG]
    assert "trial 0: its best model is not kept: " in capsys.readouterr().out


def test_what_a_worker_left_that_died_between_done_and_kept_is_swept(run: Run) -> None:
    documents = [made_up.trial(0, 2, version=2), made_up.trial(1, 1), made_up.trial(2, 3)]
    keep_rest(run, documents)
    assert kept(run, 0) == sorted([BEST, LOG])
    assert load_checkpoint(run.trials / "0" / BEST)["of"] == [0, 2]
    assert kept(run, 1) == ["1"]  # it runs
    assert kept(run, 2) == ["1"]  # it failed: whoever tries it again goes on from there


def test_a_run_that_was_moved_does_not_take_the_jobs_of_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def reattach(names: list[str]) -> list[Job]:
        asked.append(names)
        return []

    class Submitted:
        job_id = "77"

    monkeypatch.setattr(worker_jobs, "ended", lambda _: False)
    old = tmp_path / "old"
    WorkerJobs(old / "workers.json", lambda _: [Submitted()], reattach).add(1)  # type: ignore[list-item]
    WorkerJobs(old / "workers.json", lambda _: [], reattach)
    old.rename(tmp_path / "new")
    WorkerJobs(tmp_path / "new" / "workers.json", lambda _: [], reattach)
    assert asked == [["77"]]
    assert f"its jobs work in {old}" in capsys.readouterr().out
