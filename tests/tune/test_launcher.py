"""The launcher may be killed and started again at any time; what it leaves finishes by itself and cleans up."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from hyperopt import JOB_STATE_RUNNING
from pymongo.database import Database as MongoDatabase

from hpc_massmap.cluster.submit import Job, cancel, ended, submit
from hpc_massmap.config import Tune
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import tune
from hpc_massmap.progress import progress
from hpc_massmap.run import Run
from hpc_massmap.storage import write_json
from hpc_massmap.tune import launcher, trials, watchdog, worker_jobs
from hpc_massmap.tune.connection import StudyConnection, join_study, open_study
from hpc_massmap.tune.database.connect import DatabaseUnreachable, database, stop
from hpc_massmap.tune.documents import Document
from hpc_massmap.tune.export import export, restore
from hpc_massmap.tune.study import Study
from hpc_massmap.tune.worker_jobs import Losses, WorkerJobs
from hpc_massmap.yamlfile import load_yaml
from tests.cluster.test_cluster import processes_of
from tests.patience import wait_until, within
from tests.tune.crew import TRIALS, calm_losses, losses, small_run

EVALUATIONS = 3 * TRIALS  # there is time for two launchers

pytestmark = pytest.mark.xdist_group("faults")  # they share the calm losses


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return small_run(tmp_path, workers=2, evaluations=EVALUATIONS)


def launch(run: Run, stderr: int | None = None) -> "subprocess.Popen[str]":
    """As a shell does, with a process group of its own, to which a terminal sends what it has to say."""
    command = [sys.executable, "jobs/tune.py", str(run.folder.parent.parent / "c.yaml")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, process_group=0)


def wait_for_training(run: Run) -> None:
    wait_until((run.database / "endpoint.json").exists, "the database", 60)
    wait_until(lambda: any(d["result"].get("history") for d in open_study(run).documents("result.history")), "an epoch")


def test_a_launcher_may_be_killed_again_and_again_and_what_it_leaves_ends_by_itself(run: Run) -> None:
    """The second takes up the workers of the first; they finish without it, and the third finds all done."""
    first = launch(run)
    wait_for_training(run)
    first.kill()
    first.wait()
    second = launch(run)
    assert second.stdout is not None
    assert any("2 workers are still there" in line for line in second.stdout)
    os.killpg(second.pid, signal.SIGHUP)  # as a terminal does that is closed
    second.wait()
    wait_until(lambda: not processes_of(run.folder), "workers, database and guard to be gone", 120)
    assert losses(run)[:TRIALS] == calm_losses()
    workers = {d["worker"]["id"] for d in map(json.loads, run.trials_export.read_text().splitlines())}
    assert len(workers) == 2
    assert not (run.database / "endpoint.json").exists()
    third = launch(run)
    output, _ = third.communicate(timeout=within(60))
    assert third.returncode == 0, output
    assert f"{EVALUATIONS}/{EVALUATIONS} trials" in output
    assert run.best.exists()


def finish_one(study: Study, loss: float) -> int:
    """Do the next trial, as a worker would."""
    trial = trials.claim(study, {"id": "h:1:a", "host": "h", "pid": 1, "slurm_job": None}, "me")
    assert trial is not None
    trial = trials.suggest(study, trial, {"filters": [2.0], "kernel": [1.0], "layers": [1.0], "dropout": [0.1]})
    trials.finish(study, trial, [loss], [1.0])
    return trial.tid


def test_ctrl_c_is_one_line_and_leaves_no_trial_that_runs(run: Run) -> None:
    """A terminal sends it to all of its foreground; the workers give their trials back before the database goes."""
    launcher = launch(run, stderr=subprocess.PIPE)
    wait_for_training(run)
    os.killpg(launcher.pid, signal.SIGINT)
    _, errors = launcher.communicate(timeout=within(60))
    assert (launcher.returncode, errors) == (130, "interrupted; run the same command again to continue\n")
    wait_until(lambda: not processes_of(run.folder), "workers, database and guard to be gone", 20)
    with database(run.config.database, run.database):
        documents = open_study(run).documents("result.history")
    assert any(document["result"].get("history") for document in documents)
    assert JOB_STATE_RUNNING not in [document["state"] for document in documents]


@pytest.mark.parametrize("moment", ["it begins", "it ends"])
def test_a_shared_server_may_end_at_any_moment(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another launcher, which started it, leaves while this one has work with it before its workers', or after."""
    run, shared = small_run(tmp_path, evaluations=1), tmp_path / "shared"
    moments = [moment]

    def leave(now: str) -> None:
        if now in moments:
            moments.remove(now)
            stop(shared)

    def finish(connection: StudyConnection, *_: object) -> None:
        connection(lambda study: finish_one(study, 0.5))
        leave("it ends")

    monkeypatch.setattr(launcher, "start_watchdog", lambda *_: leave("it begins"))
    monkeypatch.setattr(launcher, "supervise", finish)
    tune.main([str(tmp_path / "c.yaml"), f"database.folder={shared}"])
    assert not moments
    assert load_yaml(run.best)["loss"] == 0.5
    assert not (shared / "endpoint.json").exists()  # it started the next server, and ended it


def test_a_new_database_gets_its_trials_back_before_workers_take_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher that comes back without its database: on another node's disk, say, while workers wait for it."""
    run, done = small_run(tmp_path, evaluations=2), list[int]()
    config = str(tmp_path / "c.yaml")

    def finish(connection: StudyConnection, *_: object) -> None:
        done.append(connection(lambda study: finish_one(study, 0.5 + len(done))))
        if len(done) == 1:
            raise InputError("its time is up")

    def restore_while_a_worker_looks(study: Study, documents: list[Document]) -> int:
        with pytest.raises(DatabaseUnreachable, match="study tuned: not there yet"):
            join_study(run)  # as a worker does
        return restore(study, documents)

    monkeypatch.setattr(launcher, "start_watchdog", lambda *_: None)
    monkeypatch.setattr(launcher, "supervise", finish)
    with pytest.raises(InputError, match="its time is up"):
        tune.main([config])
    with database(run.config.database, run.database):
        export(open_study(run), run.trials_export)
    shutil.rmtree(run.database)
    monkeypatch.setattr("hpc_massmap.tune.launcher.restore", restore_while_a_worker_looks)
    with pytest.raises(InputError, match="its trials have other settings"):
        tune.main([config, "train.epochs=3"])  # by mistake: the database does not take these for the study's own
    tune.main([config])
    assert done == [0, 1]
    assert losses(run) == (0.5, 1.5)


def test_force_ends_the_workers_that_know_the_old_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, met = small_run(tmp_path, evaluations=1), list[int]()
    logs = run.logs / "tune"
    (old,) = submit(time.sleep, 600, name="tune_tuned", logs=logs, copies=1, ranks=1, site=None)
    write_json(logs / "workers.json", {"jobs": [old.job_id]})

    def finish(connection: StudyConnection, _: Tune, worker_jobs: WorkerJobs, __: object) -> None:
        met.append(len(worker_jobs.jobs))
        connection(lambda study: finish_one(study, 0.5))

    monkeypatch.setattr(launcher, "start_watchdog", lambda *_: None)
    monkeypatch.setattr(launcher, "supervise", finish)
    try:
        tune.main([str(tmp_path / "c.yaml"), "--force", "train.epochs=2"])
        assert met == [0]
        assert ended(old)
    finally:
        cancel([old])


def test_a_study_that_is_over_gets_no_workers(tmp_path: Path, mongo: MongoDatabase[Document]) -> None:
    """Its launcher was killed when they had done all: no job of theirs is to wait in a queue for nothing."""
    study = Study(mongo, "over", lease=60.0, attempts=3)
    study.create(1, {})
    finish_one(study, 0.5)
    asked: list[int] = []

    def ask(workers: int) -> list[Job]:
        asked.append(workers)
        return []

    worker_jobs = WorkerJobs(tmp_path / "workers.json", ask, lambda _: [])
    with progress("tuning", 1, "trials") as bar:
        launcher.supervise(StudyConnection(lambda: study, 1.0), Tune(), worker_jobs, bar)
    assert bar.done == 1
    assert not asked


def test_the_watchdog_ends_a_database_when_no_study_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while workers of another study that shares it are there; and also one whose launcher made no study."""
    run, worker = small_run(tmp_path, evaluations=1), {"id": "h:2:b"}
    looks = iter(range(9))

    def its_launcher_lives(_: object) -> bool:
        if next(looks) == 3:
            other.see(worker, "ended", None)
        return False

    monkeypatch.setattr(watchdog, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(watchdog, "_is_owned", its_launcher_lives)
    with database(run.config.database, run.database):
        study = open_study(run)
        other = Study(study.jobs.database, "another", study.lease, study.attempts)
        study.create(1, {})
        finish_one(study, 0.5)
        other.see(worker, "training", 0)
        watchdog.watch(run)
        assert not (run.database / "endpoint.json").exists()
        assert losses(run) == (0.5,)
    assert next(looks) == 4
    with database(run.config.database, run.database):
        open_study(run).discard()
        watchdog.watch(run)
        assert not (run.database / "endpoint.json").exists()
        assert losses(run) == (0.5,)


class GoneJob:
    """A job that has ended as soon as it is looked at."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id

    def done(self) -> bool:
        return True


@pytest.fixture
def unlucky(
    mongo: MongoDatabase[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Study, Callable[..., int]]]:
    """A study of two workers, and what supervises it while the workers' jobs end at once for some reason.

    It returns how many jobs were submitted.
    """
    monkeypatch.setattr(launcher, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(worker_jobs, "PAUSES", (0.0, 0.0))
    study = Study(mongo, "unlucky", lease=60.0, attempts=3)
    study.create(1, {})

    def supervise(reason: str, until: int = 99) -> int:
        asked: list[int] = []

        def ask(workers: int) -> list[Job]:
            asked.extend([1] * workers)
            if len(asked) > until:
                finish_one(study, 0.5)
            return cast(list[Job], [GoneJob(str(len(asked))) for _ in range(workers)])

        monkeypatch.setattr(worker_jobs, "failure", lambda job: reason.format(job.job_id))
        jobs = WorkerJobs(tmp_path / "workers.json", ask, lambda _: [])
        with progress("tuning", 1, "trials") as bar:
            launcher.supervise(StudyConnection(lambda: study, 1.0), Tune(workers=2), jobs, bar)
        return len(asked)

    yield study, supervise
    study.discard()


LOST = "job {0}: ended without a result: killed or cancelled; its log is /logs/{0}_0_log.err"


def test_workers_that_end_for_one_cause_and_none_at_work_end_the_launcher(
    unlucky: tuple[Study, Callable[..., int]],
) -> None:
    _, supervise = unlucky
    with pytest.raises(InputError, match=r"^too many workers end; job \d+: ended without a result"):
        supervise(LOST)


def test_the_launcher_goes_on_while_a_worker_is_at_work_however_many_others_end(
    unlucky: tuple[Study, Callable[..., int]],
) -> None:
    study, supervise = unlucky
    study.see({"id": "h:1:a"}, "training", 0)
    assert supervise(LOST, until=20) > 20


@pytest.mark.parametrize("how", ["Slurm says CANCELLED, exit code 0:15", "Slurm says PREEMPTED, exit code 0:0"])
def test_jobs_that_were_taken_away_are_not_counted(how: str, unlucky: tuple[Study, Callable[..., int]]) -> None:
    _, supervise = unlucky
    assert supervise(f"job {{0}}: ended without a result: {how}; its log is /logs/{{0}}.err", until=20) > 20


def test_causes_are_counted_apart_and_pauses_grow_until_an_epoch_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    losses, waited = Losses(workers=1, wait=60.0), []
    for number in range(9):
        losses.add([f"job {number}: the disk of node {number}: its log is /x/{number}"] if number % 3 else ["memory"])
        start = now[0]
        while not losses.may_replace():
            now[0] += 1.0
        waited.append(now[0] - start)
        if number == 3:
            assert losses.too_many() is None  # twice for want of memory, twice for the disk
    assert waited == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert losses.too_many()
    losses.forget()
    assert losses.may_replace()
    assert losses.too_many() is None
    losses.refuse("no space left")
    assert losses.refused_for_long() is None
    now[0] += 61
    assert losses.refused_for_long() == "no space left"
