"""Documents of a study that never was: trials of every state and workers, as the database holds them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

Document = dict[str, Any]
NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
LEASE = 120.0
FAILED, PRUNED = 7, 5  # every trial whose number is a multiple of it


def trial(
    tid: int, state: int = 2, epochs: int = 30, age: float = 0.0, name: str = "tuned", **changes: Any
) -> Document:
    """A trial that was last written `age` seconds ago.

    States: 0 given back, 1 running, 2 done, 3 failed.
    """
    rng = np.random.default_rng(tid)
    filters, kernel = int(rng.integers(8, 33)), int(rng.integers(1, 7))
    layers, dropout = int(rng.integers(1, 5)), float(rng.uniform(0, 0.5))
    level = 0.08 + 0.3 / filters + 0.008 * (kernel - 3) ** 2 + 0.01 * (4 - layers) + 0.03 * dropout
    history = [float(level * (1 + 2 / (n + 1) + rng.normal(0, 0.01))) for n in range(epochs)]
    result: Document = {
        "status": {2: "ok", 3: "fail"}.get(state, "new"),
        "history": history,
        "seconds": [20.0] * epochs,
    }
    if state == 2:
        result |= {"loss": min(history), "pruned": False}
    error = {"type": "OutOfMemoryError", "message": "first line\nCUDA out of memory", "traceback": "Traceback ..."}
    return {
        "exp_key": name,
        "tid": tid,
        "state": state,
        "owner": f"node{tid % 8}:1:{tid:04x}abcd:x",
        "version": 1,
        "attempts": 1 + tid % 2,
        "fruitless": 0,
        "book_time": NOW - timedelta(seconds=age + 25.0 * epochs),
        "refresh_time": NOW - timedelta(seconds=age),
        "spec": None,
        "misc": {
            "tid": tid,
            "cmd": None,
            "workdir": None,
            "idxs": {},
            "vals": {"filters": [filters], "kernel": [float(kernel)], "layers": [layers], "dropout": [dropout]},
        },
        "result": result,
        "worker": {
            "id": f"node{tid % 8}:1:{tid:04x}abcd",
            "host": f"node{tid % 8}.cluster",
            "pid": 1,
            "slurm_job": "77",
        },
        "error": error if state == 3 else None,
        **changes,
    }


def worker(number: int, state: str = "training", seen: float = 2.0, name: str = "tuned", **changes: Any) -> Document:
    """A worker seen some seconds ago."""
    return {
        "_id": f"node{number % 8}:1:{number:04x}abcd",
        "exp_key": name,
        "host": f"node{number % 8}.cluster",
        "pid": 1,
        "slurm_job": f"4711_{number}",
        "ranks": 4,
        "gpus": 4,
        "state": state,
        "tid": number if state == "training" else None,
        "seen": NOW - timedelta(seconds=seen),
        "started": NOW - timedelta(hours=3),
        **changes,
    }


def study(ended: int, running: int, evaluations: int = 200) -> tuple[list[Document], list[Document], Document]:
    """Trials, workers and the study's own document; the higher a trial's number, the later it ended."""
    trials = []
    for tid in range(ended):
        document = trial(tid, 3 if tid and tid % FAILED == 0 else 2, age=60.0 * (ended - tid))
        if document["state"] == 2 and tid % PRUNED == 0:
            document["result"]["pruned"] = True
        trials.append(document)
    trials += [trial(ended + n, 1, epochs=n % 12, age=3.0) for n in range(running)]
    workers = [worker(ended + n) for n in range(running)]
    return trials, workers, {"_id": "tuned", "issued": ended + running, "evaluations": evaluations, "settings": {}}
