"""Real workers on a small study, as processes that a test may kill, freeze or cut off; and what a calm study gives.

Every trial is drawn at random from (seed, number), so that a disturbed study must end with the losses of a calm one.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hpc_massmap.config import Config, load_config
from hpc_massmap.run import Run
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.study import Study
from hpc_massmap.yamlfile import dump_yaml
from tests.patience import wait_until, within
from tests.synthetic import write_synthetic_maps

TRIALS = 4
EPOCHS = 12
SCRIPT = """
import importlib, sys
from pathlib import Path
from hpc_massmap.config import load_config
from hpc_massmap.run import Run
from hpc_massmap.tune.worker import Worker
config = load_config(Path(sys.argv[1]))
module, name = sys.argv[2].split(":")
print(Worker(Run(config, config.runs / config.name), train=getattr(importlib.import_module(module), name))())
"""
TRAIN = "hpc_massmap.tune.attempt:train_task"


def small_run(folder: Path, **tune: Any) -> Run:
    """A run of tiny trials, of some seconds each."""
    folder.mkdir(exist_ok=True)
    write_synthetic_maps(folder / "maps.h5", regions=15, snapshots=1, projections=2)
    config = Config.model_validate(
        {
            "name": "tuned",
            "runs": folder / "runs",
            "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}],
            "maps": {"file": folder / "maps.h5"},
            "model": {"views": ["sz"], "encoders": "one"},
            "train": {"batch_size": 8, "epochs": EPOCHS, "patience": 99, "learning_rate": 1e-3, "precision": "fp32"},
            "space": {
                "filters": {"low": 2, "high": 4},
                "kernel": {"low": 1, "high": 3},
                "layers": {"low": 1, "high": 2},
                "dropout": {"low": 0.0, "high": 0.2},
            },
            "tune": {"evaluations": TRIALS, "startup": 99, "lease": within(1.5), "wait": within(30), **tune},
        }
    )
    (folder / "c.yaml").write_text(dump_yaml(config.model_dump(mode="json")))
    return Run.open(load_config(folder / "c.yaml"))


@cache
def calm_losses(ranks: int = 1) -> tuple[float, ...]:
    """The losses of the study when nothing happens."""
    run = small_run(Path(mkdtemp(prefix="calm")), ranks=ranks)
    with database(run.config.database, run.database):
        open_study(run).create(TRIALS, {})
        with working(run, ranks=ranks) as ranks_at_work:
            assert [process.wait(within(200)) for process in ranks_at_work] == [0] * ranks
    return losses(run)


def losses(run: Run) -> tuple[float, ...]:
    """By trial, of the export; every trial must be done."""
    trials = [json.loads(line) for line in run.trials_export.read_text().splitlines()]
    assert [trial["tid"] for trial in trials] == list(range(len(trials)))
    assert [trial["state"] for trial in trials] == [2] * len(trials), trials
    return tuple(trial["result"]["loss"] for trial in trials)


@contextmanager
def working(run: Run, ranks: int = 1, train: str = TRAIN) -> "Iterator[list[subprocess.Popen[str]]]":
    """The ranks of one worker; whatever is left of them at the end is killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", SCRIPT, str(run.folder.parent.parent / "c.yaml"), train]
    ranks_at_work = [
        subprocess.Popen(command, env={**os.environ, **world, "RANK": str(rank)}, text=True, process_group=0)
        for rank in range(ranks)
    ]
    try:
        yield ranks_at_work
    finally:
        for process in ranks_at_work:
            kill(process)


def kill(worker: "subprocess.Popen[str]") -> None:
    """kill -9 of a worker's process alone; what it started must end by itself."""
    worker.send_signal(signal.SIGKILL)
    worker.wait()


def freeze(worker: "subprocess.Popen[str]", how: int = signal.SIGSTOP) -> None:
    """Stop (or continue) a worker with all its processes, as a machine that hangs does."""
    os.killpg(worker.pid, how)


def children(pid: int) -> list[int]:
    """Processes that descend from one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            child = int(status.parent.name)
            found += [child, *children(child)]
    return found


def trainers(worker: "subprocess.Popen[str]") -> list[int]:
    """The training processes of a worker: children of what it forks from."""
    return [grandchild for child in children(worker.pid) for grandchild in children(child)]


def is_training(study: Study, pid: int, epochs: int = 1) -> bool:
    """Whether the worker of that process is past some epochs of a trial that it runs."""
    documents = study.documents("result.history", "worker")
    return any(
        d["state"] == 1 and d["worker"]["pid"] == pid and len(d["result"].get("history", [])) >= epochs
        for d in documents
    )


def wait_for_training(study: Study, worker: "subprocess.Popen[str]", epochs: int = 1) -> None:
    """Until a worker is in the middle of a trial."""
    wait_until(lambda: is_training(study, worker.pid, epochs), f"worker {worker.pid} to train", 100)


def freeze_in_training(study: Study, worker: "subprocess.Popen[str]", epochs: int = 1) -> None:
    """Stop a worker in the middle of a trial; looked at again when it is stopped, for trials take some seconds only."""

    def caught() -> bool:
        wait_for_training(study, worker, epochs)
        freeze(worker)
        if is_training(study, worker.pid, epochs):
            return True
        freeze(worker, signal.SIGCONT)
        return False

    wait_until(caught, f"worker {worker.pid} to be stopped in a trial", 100)


def gone(pids: list[int]) -> bool:
    """Whether none of these processes runs."""
    return not any(Path(f"/proc/{pid}").exists() and _state(pid) != "Z" for pid in pids)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
