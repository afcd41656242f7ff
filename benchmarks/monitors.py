#!/usr/bin/env python3
"""What a worker's reservation and report take while 100 monitors watch its study, as a ratio to nobody watching.

Monitors are threads of some processes, each looking as often as jobs/monitor.py does in a terminal: every second, and
never more than a tenth of the time. One worker claims, reports epochs and finishes, on one genuine mongod with
authentication. Everything shares this machine's cores, so monitors also cost what on a cluster their own nodes pay.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
import uuid
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trials_database import KEY, fill
from hpc_massmap.config import load_config
from hpc_massmap.run import Run
from hpc_massmap.tune import trials
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.monitor.reading import StudyReader, run_in
from hpc_massmap.tune.monitor.terminal import REFRESH
from hpc_massmap.tune.study import Study

PROCESSES = 4
EPOCHS = 5
ME = {"id": "h:1:a", "host": "h", "pid": 1, "slurm_job": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--monitors", type=int, default=100)
    parser.add_argument("--stored", type=int, default=200, help="trials that have ended before (default 200)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        config = load_config(Path("configs/multi3.yaml"), [f"runs={name}", f"name={KEY}"])
        run = Run.open(config)
        with database(config.database, run.database):
            study = open_study(run)
            study.create(10**6, {})
            fill(study, args.stored)
            alone = trials_of_a_worker(study, args.seconds)
            looks, watched = with_monitors(run, study, args.monitors, args.seconds)
            after = trials_of_a_worker(study, args.seconds)
    print(f"{args.monitors} monitors, {args.stored} trials stored; {len(looks) / args.seconds:.0f} looks a second")
    print(f"a look takes {np.median(looks):.2f} s at the median")
    before_and_after = np.concatenate([alone, after])
    for what, quantile in (("median", 0.5), ("99 %", 0.99)):
        free, busy = np.quantile(before_and_after, quantile), np.quantile(watched, quantile)
        print(
            f"a trial's {EPOCHS + 2} calls, {what}: {1000 * busy:.1f} ms with monitors, {1000 * free:.1f} ms without: "
            f"{busy / free:.2f} times"
        )
    print(f"of a 5-minute trial the monitors cost {np.median(watched) / 300 - np.median(before_and_after) / 300:.4%}")


def trials_of_a_worker(study: Study, seconds: float) -> list[float]:
    """Seconds that the database took of each trial: its reservation, its epochs and its end."""
    taken, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        trial = trials.claim(study, ME, uuid.uuid4().hex)
        assert trial is not None
        losses = [1.0 / epoch for epoch in range(1, EPOCHS + 1)]
        for epoch in range(1, EPOCHS + 1):
            trials.progress(study, trial, losses[:epoch], [1.0] * epoch)
        trials.finish(study, trial, losses, [1.0] * EPOCHS)
        taken.append(time.perf_counter() - start)
        time.sleep(0.05)
    return taken


def with_monitors(run: Run, study: Study, monitors: int, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of each look of a monitor, and of each trial of the worker meanwhile."""
    context = multiprocessing.get_context("spawn")
    begin, end, looks = context.Event(), context.Event(), context.Queue()
    shares = [monitors // PROCESSES + (n < monitors % PROCESSES) for n in range(PROCESSES)]
    ready = context.Barrier(PROCESSES + 1)
    watchers = [
        context.Process(target=watch, args=(run.folder, share, ready, begin, end, looks), daemon=True)
        for share in shares
    ]
    for watcher in watchers:
        watcher.start()
    ready.wait(timeout=120)  # connected
    begin.set()
    taken = trials_of_a_worker(study, seconds)
    end.set()
    found = [look for _ in watchers for look in looks.get(timeout=120)]
    for watcher in watchers:
        watcher.join(60)
    return found, taken


def watch(folder: Path, monitors: int, ready: threading.Barrier, begin: Event, end: Event, looks: Any) -> None:
    """Some monitors, each a thread with its own connection."""
    found: list[float] = []
    peeks = [StudyReader(run_in(folder)) for _ in range(monitors)]
    for peek in peeks:
        peek.snapshot()

    def look_again_and_again(peek: StudyReader) -> None:
        begin.wait()
        while not end.is_set():
            start = time.monotonic()
            peek.snapshot()
            took = time.monotonic() - start
            found.append(took)
            end.wait(max(REFRESH, 9 * took))

    threads = [threading.Thread(target=look_again_and_again, args=(peek,)) for peek in peeks]
    for thread in threads:
        thread.start()
    ready.wait(timeout=120)
    for thread in threads:
        thread.join()
    looks.put(found)


if __name__ == "__main__":
    main()
