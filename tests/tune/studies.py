"""Studies on a genuine mongod, and what a worker does with their trials."""

import uuid
from collections.abc import Callable
from typing import Any

from hpc_massmap.tune import trials
from hpc_massmap.tune.study import Study
from hpc_massmap.tune.trials import Trial

MakeStudy = Callable[..., Study]
ME: dict[str, Any] = {"id": "here:1:a", "host": "here", "pid": 1, "slurm_job": None, "ranks": 1, "gpus": 0}
VALUES = {"filters": [8.0], "kernel": [3.0], "layers": [2.0], "dropout": [0.1]}


def claim(study: Study) -> Trial | None:
    return trials.claim(study, ME, uuid.uuid4().hex)


def claimed(study: Study) -> Trial:
    trial = claim(study)
    assert trial is not None
    return trial


def passed(study: Study, seconds: float = 61) -> None:
    """Let time pass, longer than a lease unless told otherwise: all that the study has noted was so much earlier."""
    for collection, mine, field in (
        (study.jobs, {"exp_key": study.key}, "refresh_time"),
        (study.studies, {"_id": study.key}, "opened"),
    ):
        collection.update_many(mine, [{"$set": {field: {"$subtract": [f"${field}", int(1000 * seconds)]}}}])


def states(study: Study) -> list[int]:
    return [document["state"] for document in study.documents()]


def done_by(study: Study, count: int) -> None:
    for _ in range(count):
        trials.finish(study, trials.suggest(study, claimed(study), VALUES), [0.4], [1.0])
