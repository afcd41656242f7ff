"""Clocks that are set while a study runs, a worker's or the server's: no trial is lost or counted twice."""

import os
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database as MongoDatabase

from hpc_massmap.cluster.preemption import MARGIN, Notice
from hpc_massmap.config import Config, Space, load_config
from hpc_massmap.run import Run
from hpc_massmap.tune import trials
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database
from hpc_massmap.tune.monitor.listing import trials_as_text
from hpc_massmap.tune.monitor.reading import StudyReader
from hpc_massmap.tune.monitor.snapshot import DATABASE, Reading, snapshot
from hpc_massmap.tune.study import Study
from hpc_massmap.tune.trials import LeaseLost, Trial
from tests.patience import within
from tests.tune import made_up
from tests.tune.crew import TRIALS, calm_losses, losses, small_run, working
from tests.tune.made_up import LEASE, NOW
from tests.tune.test_watch import text_of

HOUR = 3600.0
WATCHERS = 100
ME = {"id": "w", "host": "h", "pid": 1, "slurm_job": None}
# every look at the wall clock finds it an hour early or late
RESTLESS = f"""
import time
true, turn = time.time, [1]
def restless():
    turn[0] = -turn[0]
    return true() + {HOUR} * turn[0]
time.time = restless
"""


@pytest.mark.xdist_group("faults")  # with the others that share the calm losses
def test_a_worker_whose_clock_is_set_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(RESTLESS)
    run = small_run(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.getcwd()}")
    with database(run.config.database, run.database):
        open_study(run).create(TRIALS, {})
        with working(run) as (worker,):
            assert worker.wait(within(120)) == 0
        assert [document["attempts"] for document in open_study(run).documents()] == [1] * TRIALS
    assert losses(run) == calm_losses()


def test_the_end_of_a_job_is_kept_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(now + 600)))
    notice = Notice(60)
    for step in (HOUR, -HOUR):
        monkeypatch.setattr(time, "time", lambda step=step: now + step)
        assert notice.seconds_left() == pytest.approx(600 - MARGIN, abs=5)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_the_clock_of_the_server_is_set(mongo: MongoDatabase[dict[str, Any]], step: float) -> None:
    """All that was written is suddenly old, or of the future: another worker takes the trial; only it can end it."""
    study = Study(mongo, uuid.uuid4().hex, 60.0, 3)
    study.create(1, {})
    first = claimed(study)
    earlier = {"$subtract": ["$refresh_time", int(1000 * step)]}  # the server's clock stands still here
    study.jobs.update_many({"exp_key": study.key}, [{"$set": {"refresh_time": earlier}}])
    study.studies.update_one({"_id": study.key}, [{"$set": {"opened": {"$subtract": ["$opened", int(1000 * step)]}}}])
    second = claimed(study)
    assert (second.tid, second.version) == (first.tid, first.version + 1)
    trials.finish(study, second, [0.5], [1.0])
    with pytest.raises(LeaseLost):
        trials.finish(study, first, [0.1], [1.0])
    (document,) = study.documents()
    assert (document["state"], document["result"]["loss"]) == (2, 0.5)
    assert study.is_over()


def claimed(study: Study) -> Trial:
    trial = trials.claim(study, ME, uuid.uuid4().hex)
    assert trial is not None
    return trial


@pytest.mark.parametrize("step", [HOUR, -HOUR, -1e6 * HOUR / 24])
def test_what_is_shown_when_the_clock_was_set(step: float) -> None:
    trials, workers, study = made_up.study(ended=20, running=4)
    now = NOW + timedelta(seconds=step)
    seen = snapshot(Reading(DATABASE, now, study, trials, workers), "tuned", 50, Space(), LEASE)
    assert seen.done + seen.failed == 20
    assert re.search(r"(?<![\w-])-\d", text_of(seen) + trials_as_text(list(seen.trials))) is None


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Run]:
    config: Config = load_config(Path("configs/multi3.yaml")).model_copy(update={"runs": tmp_path})
    run = Run.open(config)
    with database(config.database, run.database):
        study = open_study(run)
        study.create(400, {})
        trials, _, _ = made_up.study(ended=60, running=0)
        study.jobs.insert_many([{**trial, "exp_key": config.name} for trial in trials])
        study.tickets.update_one({"_id": config.name}, {"$set": {"issued": len(trials)}})
        yield run


def test_a_hundred_watch_while_trials_end(watched: Run) -> None:
    """Each sees a number of ended trials that only grows, and in the end all of them."""
    study, added = open_study(watched), 10

    def watch(_: int) -> list[int]:
        peek, counts = StudyReader(watched), [0]
        while counts[-1] < 60 + added:
            seen = peek.snapshot()
            assert seen.source == DATABASE
            counts.append(seen.done + seen.failed)
            time.sleep(0.5)
        return counts

    with ThreadPoolExecutor(WATCHERS) as pool:
        watching = [pool.submit(watch, n) for n in range(WATCHERS)]
        for _ in range(added):
            trials.finish(study, claimed(study), [0.5, 0.4], [1.0, 1.0])
        for counts in (future.result(timeout=within(120)) for future in watching):
            assert counts == sorted(counts)
            assert counts[-1] == 60 + added
