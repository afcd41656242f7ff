#!/usr/bin/env python3
"""How long a worker idles between two trials: from the last epoch of one to the first step of the next.

Includes the report, the claim, the suggestion with 100 trials stored, the new training process and its data. The
baseline is what starting a fresh interpreter for each trial would cost by its imports alone. Claim: under 2 s.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.trials_database import KEY, fill
from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.run import Run
from hpc_massmap.train.loop import Callbacks, fit
from hpc_massmap.train.ranks import join_ranks
from hpc_massmap.train.recipe import Epoch
from hpc_massmap.tune.attempt import OnEpoch, Task
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.worker import work
from tests.synthetic import write_synthetic_maps

STORED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = small_run(Path(name), STORED + args.trials)
        with database(run.config.database, run.database):
            study = open_study(run)
            study.create(STORED + args.trials, {})
            fill(study, STORED)
            work(run, train=timed_training)
        idle = idle_seconds(run)
    command = [sys.executable, "-c", "import hpc_massmap.tune.attempt"]
    fresh = min(seconds_of(command) for _ in range(3))
    median = float(np.median(idle))
    print(f"idle between trials: median {median:.2f} s, longest {max(idle):.2f} s, of {len(idle)}")
    print(f"a fresh interpreter imports for {fresh:.2f} s alone: {fresh / median:.1f} times our whole idle time")


def small_run(folder: Path, evaluations: int) -> Run:
    write_synthetic_maps(folder / "maps.h5", regions=15, snapshots=1, projections=2)
    config = Config.model_validate(
        {
            "name": KEY,
            "runs": folder / "runs",
            "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}],
            "maps": {"file": folder / "maps.h5"},
            "model": {"views": ["sz"], "encoders": "one"},
            "train": {"batch_size": 8, "epochs": 2, "precision": "fp32"},
            "space": {"filters": {"low": 2, "high": 4}, "layers": {"low": 1, "high": 2}},
            "tune": {"evaluations": evaluations},
        }
    )
    return Run.open(config)


def timed_training(task: Task, on_epoch: OnEpoch) -> list[Epoch]:
    """The true training, which notes when its first step was done and when its last epoch was."""
    started: list[float] = []

    def on_step(*_: int) -> None:
        if not started:
            started.append(time.time())

    config = task.config
    with join_ranks(1) as ranks:
        maps = open_maps(task.maps, [*config.model.views, *config.model.targets])
        rows = split_maps(maps, config.split)
        callbacks = Callbacks(on_step=on_step, on_epoch=on_epoch)
        history = fit(maps, rows, config, ranks, task.folder, callbacks, task.normalisation).history
    with (task.folder.parent.parent / "times.jsonl").open("a", encoding="utf-8") as times:
        times.write(json.dumps([started[0], time.time()]) + "\n")
    return history


def idle_seconds(run: Run) -> list[float]:
    """From the end of each training to the first step of the next."""
    times = [json.loads(line) for line in (run.trials / "times.jsonl").read_text(encoding="utf-8").splitlines()]
    return [after[0] - before[1] for before, after in pairwise(times)]


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
