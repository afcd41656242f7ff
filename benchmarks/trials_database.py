#!/usr/bin/env python3
"""What the trials database costs 256 workers: reservation and report with 10,000 trials stored, and suggestions.

Simulated workers (threads of some processes, no training) claim, beat, report epochs, finish and export on one genuine
mongod with authentication, 10 times faster than 5-minute trials would. The baselines are the same in the same run
without the indexes, and with an export of all trials after each one. Claims: reservation plus report under 10 ms at
the median; a suggestion under 1 % of a 5-minute trial.
"""

import argparse
import multiprocessing
import random
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from hpc_massmap.config import Database, Space
from hpc_massmap.tune import trials
from hpc_massmap.tune.database.connect import connect, database
from hpc_massmap.tune.export import export, export_if_due
from hpc_massmap.tune.study import Study
from hpc_massmap.tune.suggest import suggest

PROCESSES = 8
KEY = "scale"
LEASE = 120.0
TRIAL_SECONDS = 30.0
EPOCHS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--stored", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=40.0, help="of each measurement")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, database(Database(), Path(name)) as opened:
        study = Study(opened, KEY, LEASE, 3)
        study.create(10**6, {})
        fill(study, args.stored)
        print(
            f"{args.workers} workers, {args.stored} trials stored, trials of {TRIAL_SECONDS:.0f} s in {EPOCHS} epochs"
        )
        ours = measure(Path(name), args.workers, args.seconds)
        study.jobs.drop_indexes()
        plain = measure(Path(name), args.workers, args.seconds)
        study.refuse_others({})  # the indexes again
        every = measure(Path(name), args.workers, args.seconds, export_each=True)
        for verb in ("reservation", "report", "both"):
            fast, slow = float(np.median(ours[verb])), float(np.median(plain[verb]))
            print(
                f"{verb:12s} median {1000 * fast:7.2f} ms, 99 % {1000 * np.quantile(ours[verb], 0.99):7.2f} ms; "
                f"without indexes {1000 * slow:7.2f} ms: {slow / fast:.0f} times faster; exporting after each trial "
                f"{1000 * np.median(every[verb]):7.2f} ms: {np.median(every[verb]) / fast:.0f} times"
            )
        print(f"{len(ours['both'])} trials in {args.seconds:.0f} s, {len(ours['both']) / args.seconds:.1f} a second")
    with tempfile.TemporaryDirectory() as name, database(Database(), Path(name)) as opened:
        study = Study(opened, KEY, LEASE, 3)
        study.create(10**6, {})
        fill(study, 1000)
        seconds = [suggestion_seconds(study, tid) for tid in range(1000, 1010)]
        median = float(np.median(seconds))
        print(f"suggestion with 1000 trials: {median:.2f} s with reading them, {median / 300:.2%} of a 5-minute trial")


def fill(study: Study, n_trials: int) -> None:
    """Finished trials with histories of 30 epochs, as a long study leaves them."""
    rng = np.random.default_rng(0)
    worker = {"id": "h:1:a", "host": "h", "pid": 1, "slurm_job": None, "ranks": 1, "gpus": 1}
    now = study.studies.find_one({"_id": KEY})["opened"]  # type: ignore[index]
    documents = []
    for tid in range(n_trials):
        history = (0.1 + rng.uniform() * np.arange(1, 31) ** -0.5).tolist()
        low, high = [8, 1, 1, 0.0], [32, 6, 4, 0.5]
        drawn = rng.uniform(low, high)
        values = {
            name: [float(value if name == "dropout" else round(value))]
            for name, value in zip(("filters", "kernel", "layers", "dropout"), drawn, strict=True)
        }
        documents.append(
            {
                **{"exp_key": KEY, "tid": tid, "state": 2, "owner": f"o{tid}", "version": 1, "attempts": 1},
                **{"fruitless": 0, "book_time": now, "refresh_time": now, "spec": None, "error": None},
                "misc": {"tid": tid, "cmd": None, "workdir": None, "vals": values, "idxs": {n: [tid] for n in values}},
                "result": {"status": "ok", "loss": min(history), "history": history, "seconds": [1.0] * 30},
                "worker": worker,
            }
        )
    study.jobs.insert_many(documents)
    study.studies.update_one({"_id": KEY}, {"$set": {"issued": n_trials}})


def measure(folder: Path, workers: int, seconds: float, export_each: bool = False) -> dict[str, list[float]]:
    """Seconds that each reservation and each report took, of all workers."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    share = [workers // PROCESSES] * PROCESSES
    processes = [context.Process(target=simulate, args=(folder, n, seconds, export_each, queue)) for n in share]
    for process in processes:
        process.start()
    told = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    pairs = [pair for process in told for pair in process]
    reservation, report = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return {"reservation": reservation, "report": report, "both": [sum(pair) for pair in pairs]}


def simulate(folder: Path, workers: int, seconds: float, export_each: bool, queue: Any) -> None:
    """Some workers, each a thread with a connection of its own, as each worker has."""
    took: list[tuple[float, float]] = []
    studies = [Study(connect(Database(), folder), KEY, LEASE, 3) for _ in range(workers)]
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=work, args=(study, end, folder / "trials.jsonl", export_each, took))
        for study in studies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(took)


def work(study: Study, end: float, path: Path, export_each: bool, took: list[tuple[float, float]]) -> None:
    name = uuid.uuid4().hex
    worker = {"id": name, "host": "h", "pid": 1, "slurm_job": None, "ranks": 1, "gpus": 1}
    time.sleep(random.uniform(0, TRIAL_SECONDS))  # workers are not in step
    while time.monotonic() < end:
        start = time.perf_counter()
        trial = trials.claim(study, worker, uuid.uuid4().hex)
        reservation = time.perf_counter() - start
        assert trial is not None
        trials.suggest(study, trial, {"filters": [8.0], "kernel": [3.0], "layers": [2.0], "dropout": [0.1]})
        history: list[float] = []
        for _ in range(EPOCHS):
            time.sleep(random.uniform(0.5, 1.5) * TRIAL_SECONDS / EPOCHS)
            history.append(random.random())
            trials.progress(study, trial, history, [1.0] * len(history))
            study.see(worker, "training", trial.tid)
            if not export_each:
                export_if_due(study, path)
        start = time.perf_counter()
        trials.finish(study, trial, history, [1.0] * EPOCHS)
        if export_each:
            export(study, path)
        else:
            export_if_due(study, path, due=True)
        took.append((reservation, time.perf_counter() - start))


def suggestion_seconds(study: Study, tid: int) -> float:
    start = time.perf_counter()
    suggest(tid, study.documents("result.history"), Space(), seed=0, startup=20)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
