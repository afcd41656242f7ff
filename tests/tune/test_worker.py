"""Workers as real processes: failures are recorded, a killed worker's trial is finished by another to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hpc_massmap.config import Config, load_config
from hpc_massmap.run import Run
from hpc_massmap.tune.best import best_of, with_best, write_best
from hpc_massmap.tune.database import database
from hpc_massmap.tune.worker import open_study, work
from hpc_massmap.yamlfile import dump_yaml
from tests.synthetic import write_synthetic_maps

WORKER = """
import sys
from pathlib import Path
from hpc_massmap.config import load_config
from hpc_massmap.run import Run
from hpc_massmap.tune.worker import work
config = load_config(Path(sys.argv[1]))
print(work(Run(config, config.runs / config.name)))
"""


def small_run(folder: Path, **tune: Any) -> Run:
    write_synthetic_maps(folder / "maps.h5", regions=20, snapshots=1, projections=2)
    config = Config.model_validate(
        {
            "name": "tuned",
            "runs": folder / "runs",
            "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}],
            "maps": {"file": folder / "maps.h5"},
            "train": {"batch_size": 8, "epochs": 3, "learning_rate": 1e-3, "precision": "fp32"},
            "space": {
                "filters": {"low": 4, "high": 6},
                "kernel": {"low": 1, "high": 3},
                "layers": {"low": 1, "high": 2},
                "dropout": {"low": 0.0, "high": 0.2},
            },
            "tune": {"evaluations": 3, "startup": 9, "lease": 2.0, **tune},
        }
    )
    (folder / "c.yaml").write_text(dump_yaml(config.model_dump(mode="json")))
    return Run.open(load_config(folder / "c.yaml"))


def start(run: Run) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, str(run.folder.parent.parent / "c.yaml")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def losses(run: Run) -> list[float]:
    lines = [json.loads(line) for line in run.trials_export.read_text().splitlines()]
    return [line["result"]["loss"] for line in lines]


def test_killed_frozen_and_undisturbed_workers_give_the_same_losses(tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    (tmp_path / "wild").mkdir()
    calm, wild = small_run(tmp_path / "calm"), small_run(tmp_path / "wild")
    with database(calm.config.database, calm.database):
        open_study(calm).create(3, {})
        work(calm)
    with database(wild.config.database, wild.database):
        study = open_study(wild)
        study.create(3, {})
        victim, frozen = start(wild), start(wild)
        while len([d for d in study.documents() if d["result"].get("history")]) < 2:
            assert victim.poll() is None
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        frozen.send_signal(signal.SIGSTOP)
        heir = start(wild)
        while not study.is_over():
            assert heir.poll() is None
            time.sleep(0.1)
        frozen.send_signal(signal.SIGCONT)  # a zombie: its trial is somebody else's by now
        assert heir.wait(60) == 0
        assert frozen.wait(60) == 0
        documents = study.documents()
        study.export(wild.trials_export)
    victim.wait()
    assert losses(wild) == losses(calm)
    assert [document["state"] for document in documents] == [2, 2, 2]
    assert sorted(document["attempts"] for document in documents)[-2:] == [2, 2]
    frozen_trial = next(d for d in documents if d["attempts"] == 2 and d["worker"]["pid"] == heir.pid)
    assert frozen_trial["worker"]["pid"] not in (victim.pid, frozen.pid)


def test_a_failing_trial_is_recorded_and_the_worker_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(tmp_path)
    from hpc_massmap.train import loop
    from hpc_massmap.tune import worker

    real, calls = loop.fit, []

    def fail_first(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("out of memory")
        return real(*arguments)

    monkeypatch.setattr(worker, "fit", fail_first)
    with database(run.config.database, run.database):
        study = open_study(run)
        study.create(3, {})
        assert work(run) == 2
        documents = study.documents()
    assert [document["state"] for document in documents] == [3, 2, 2]
    assert documents[0]["error"]["type"] == "MemoryError"
    assert "fail_first" in documents[0]["error"]["traceback"]
    write_best(run.best, documents, run.config)
    best = best_of(documents)
    assert best is not None
    assert best["tid"] != 0
    assert with_best(run.config, run.best).model.filters == best["misc"]["vals"]["filters"][0]


def test_failures_in_a_row_stop_the_worker_before_it_burns_the_allocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpc_massmap.errors import InputError
    from hpc_massmap.tune import worker

    def fail(*_: Any) -> Any:
        raise ValueError("a bug")

    monkeypatch.setattr(worker, "fit", fail)
    run = small_run(tmp_path, evaluations=10, failures=3)
    with database(run.config.database, run.database):
        study = open_study(run)
        study.create(10, {})
        with pytest.raises(InputError, match="3 trials failed in a row, the last is 2"):
            work(run)
        assert len(study.documents()) == 3
        with pytest.raises(InputError, match="none of the 3 trials finished"):
            write_best(run.best, study.documents(), run.config)
    assert not run.best.exists()
    assert os.path.exists(run.trials_export)
