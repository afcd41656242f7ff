"""The protocol on a genuine mongod: exact tickets, leases, fences, and documents hyperopt can read."""

import multiprocessing
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hyperopt
import pytest
from bson import DatetimeMS, ObjectId
from pymongo.database import Database as MongoDatabase

from hpc_massmap.cluster.preemption import COME_BACK, Notice
from hpc_massmap.config import Database, Space
from hpc_massmap.errors import InputError
from hpc_massmap.tune import documents, trials
from hpc_massmap.tune.database.connect import connect
from hpc_massmap.tune.export import export
from hpc_massmap.tune.leader import Leader
from hpc_massmap.tune.space import hyperparameters
from hpc_massmap.tune.study import Study
from hpc_massmap.tune.suggest import suggest
from hpc_massmap.tune.trials import LeaseLost
from tests.patience import within
from tests.tune import made_up
from tests.tune.studies import ME, VALUES, MakeStudy, claim, claimed, done_by, passed, states

Mongo = MongoDatabase[dict[str, Any]]


def test_as_many_tickets_as_asked_and_no_more(make: MakeStudy) -> None:
    study = make(evaluations=3)
    assert [claimed(study).tid for _ in range(3)] == [0, 1, 2]
    assert claim(study) is None
    assert not study.is_over()


def test_a_trial_from_claim_to_done(make: MakeStudy) -> None:
    study = make(evaluations=1)
    trial = trials.suggest(study, claimed(study), VALUES)
    trials.progress(study, trial, [0.5], [1.0])
    assert study.documents()[0]["result"]["history"] == [0.5]
    trials.finish(study, trial, [0.5, 0.4], [1.0, 1.0])
    (document,) = study.documents()
    assert document["state"] == hyperopt.JOB_STATE_DONE
    assert document["result"] == {
        "status": "ok",
        "loss": 0.4,
        "history": [0.5, 0.4],
        "seconds": [1.0, 1.0],
        "pruned": False,
    }
    assert document["misc"]["vals"] == VALUES
    assert document["misc"]["idxs"] == {name: [0] for name in VALUES}
    assert document["book_time"] <= document["refresh_time"]
    assert study.is_over()


def test_hyperopt_reads_the_documents_as_its_own(make: MakeStudy) -> None:
    study = make(evaluations=2)
    for loss in (0.4, 0.2):
        trials.finish(study, trials.suggest(study, claimed(study), VALUES), [loss], [1.0])
    theirs = hyperopt.base.trials_from_docs(study.documents(), exp_key=study.key)
    assert theirs.losses() == [0.4, 0.2]
    assert theirs.argmin == {name: values[0] for name, values in VALUES.items()}


def test_an_expired_trial_goes_to_another_with_its_values(make: MakeStudy) -> None:
    study = make(evaluations=1)
    dead = trials.suggest(study, claimed(study), VALUES)
    passed(study, 50)
    assert claim(study) is None  # alive until the lease ends
    passed(study, 11)
    heir = claimed(study)
    assert (heir.tid, heir.attempt, heir.values) == (0, 2, VALUES)
    for late in (
        lambda: trials.beat(study, dead),
        lambda: trials.finish(study, dead, [0.1], [1.0]),
        lambda: trials.fail(study, dead, "E", "m", "t"),
        lambda: trials.suggest(study, dead, VALUES),
    ):
        with pytest.raises(LeaseLost):
            late()
    trials.finish(study, heir, [0.3], [1.0])
    trials.finish(study, heir, [0.1], [1.0])  # nobody reports twice: what was said first stands
    assert study.documents()[0]["result"]["loss"] == 0.3


def test_a_heartbeat_keeps_a_trial(make: MakeStudy) -> None:
    study = make(evaluations=1)
    trial = claimed(study)
    for _ in range(3):
        passed(study, 50)
        trials.beat(study, trial)
        assert claim(study) is None


def test_a_trial_that_kills_its_workers_before_its_first_epoch_is_given_up(make: MakeStudy) -> None:
    study = make(evaluations=1, attempts=3)
    for attempt in (1, 2, 3):
        assert claimed(study).attempt == attempt
        passed(study)
    assert claim(study) is None
    (document,) = study.documents("error")
    assert document["state"] == hyperopt.JOB_STATE_ERROR
    assert document["error"]["message"] == "3 workers in a row died with it"
    assert document["attempts"] == 3
    assert study.is_over()


def test_a_trial_that_advances_is_never_given_up(make: MakeStudy) -> None:
    study = make(evaluations=1, attempts=2)
    for attempt in range(1, 6):  # a night of preemptions without grace
        trial = claimed(study)
        assert trial.attempt == attempt
        trials.progress(study, trial, [0.5] * attempt, [1.0] * attempt)
        passed(study)
    trials.finish(study, claimed(study), [0.5], [1.0])
    assert states(study) == [hyperopt.JOB_STATE_DONE]


def test_a_released_trial_goes_to_another_at_once_and_costs_no_attempt(make: MakeStudy) -> None:
    study = make(evaluations=2, attempts=1)
    trial = trials.suggest(study, claimed(study), VALUES)
    trials.release(study, trial)
    trials.release(study, trial)  # its answer was lost: said again
    assert states(study) == [hyperopt.JOB_STATE_NEW]
    assert not study.is_over()
    heir = claimed(study)
    assert (heir.tid, heir.version, heir.values) == (0, 2, VALUES)
    with pytest.raises(LeaseLost):
        trials.release(study, trial)


def test_a_trial_whose_process_dies_is_tried_again_as_often_as_allowed(make: MakeStudy) -> None:
    study = make(evaluations=1, attempts=2)
    trials.lose(study, claimed(study), "killed by SIGKILL")
    assert states(study) == [hyperopt.JOB_STATE_NEW]
    trials.lose(study, claimed(study), "killed by SIGKILL")
    (document,) = study.documents("error")
    assert document["state"] == hyperopt.JOB_STATE_ERROR
    assert document["error"]["message"] == "killed by SIGKILL"


def test_what_is_said_twice_because_an_answer_was_lost_happens_once(make: MakeStudy) -> None:
    study = make(evaluations=3)
    first = trials.claim(study, ME, "one")
    assert first is not None
    assert trials.claim(study, ME, "one", again=True) == first
    trials.finish(study, first, [0.4], [1.0])
    trials.finish(study, first, [0.4], [1.0])
    failed = claimed(study)
    trials.fail(study, failed, "E", "m", "t")
    trials.fail(study, failed, "E", "m", "t")
    assert states(study) == [hyperopt.JOB_STATE_DONE, hyperopt.JOB_STATE_ERROR]
    with pytest.raises(LeaseLost):
        trials.finish(study, failed, [0.1], [1.0])


def test_no_trial_counts_as_abandoned_before_its_worker_could_speak_again(make: MakeStudy) -> None:
    study = make(evaluations=1)
    trial = claimed(study)
    passed(study)  # the server is down for longer than the lease
    study.reopen()
    assert claim(study) is None
    trials.beat(study, trial)
    passed(study)
    assert claimed(study).tid == 0


def test_a_stopped_study_starts_nothing_and_one_that_is_started_again_does(make: MakeStudy) -> None:
    study = make(evaluations=3)
    for failures in (1, 2):
        trials.fail(study, claimed(study), "E", "m", "t")
        assert study.failures() == failures
    study.stop("a bug")
    assert claim(study) is None
    assert study.is_over()
    assert study.stopped() == "a bug"
    study.create(3, {"seed": 0})
    trials.finish(study, claimed(study), [0.4], [1.0])
    assert study.failures() == 0
    assert trials.retry(study, [1]) == 1
    assert claimed(study).tid == 1
    assert trials.retry(study) == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"version": "1; import os"},
        {"attempts": None},
        {"refresh_time": "yesterday"},
        {"misc": {"tid": 0, "vals": {"filters": ["__import__('os')"]}}},
        {"misc": "../../etc/passwd"},
        {"tid": "../../../tmp/x"},
        {"tid": -1},
        {"result": [1]},
        {"state": "RUNNING"},
        {"worker": 7, "owner": {"$gt": ""}},
        {"refresh_time": DatetimeMS(2**62), "extra": ObjectId()},
    ],
    ids=lambda damage: ",".join(damage),
)
def test_a_tampered_document_is_refused_and_stops_nobody(
    make: MakeStudy, damage: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make(evaluations=3)
    trials.finish(study, trials.suggest(study, claimed(study), VALUES), [0.4], [1.0])
    trials.suggest(study, claimed(study), VALUES)
    passed(study)
    study.jobs.update_one({"exp_key": study.key, "tid": 1}, {"$set": damage})
    for _ in range(3):  # whatever can be claimed is claimed, and ends
        if (trial := claim(study)) is not None:
            assert type(trial.tid) is int
            try:
                hyperparameters(trial.values or VALUES, Space())
                trials.finish(study, trial, [0.3], [1.0])
            except InputError as error:
                trials.fail(study, trial, "Refused", str(error), "")
    assert study.is_over()
    export(study, tmp_path / "trials.jsonl")
    suggest(9, study.documents("result.history"), Space(), seed=1, startup=1)
    done = [document["tid"] for document in study.documents() if document["state"] == 2]
    assert {0, 2} <= set(done)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("state", [0, 1, 2])
def test_a_trial_of_no_number_of_the_study_is_left_out_and_said(
    make: MakeStudy, state: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no worker takes it, nor does anybody wait for it."""
    study = make(evaluations=2)
    done_by(study, 2)
    documents._told.clear()  # each is said once
    study.jobs.insert_one(
        {**made_up.trial(2, state, epochs=2), "exp_key": study.key, "refresh_time": datetime(2020, 1, 1, tzinfo=UTC)}
    )
    assert [document["tid"] for document in study.documents()] == [0, 1]
    assert "left out: trial 2: the study has 2 evaluations" in capsys.readouterr().out
    assert claim(study) is None
    assert study.is_over()


@pytest.mark.parametrize("name", ["issued", "evaluations", "failures"])
def test_a_study_of_negative_counts_is_damaged(make: MakeStudy, name: str) -> None:
    study = make(evaluations=2)
    study.studies.update_one({"_id": study.key}, {"$set": {name: -1}})
    with pytest.raises(InputError, match="has none, or a damaged one"):
        claim(study)


def test_a_failed_trial_is_kept_with_its_traceback(make: MakeStudy) -> None:
    study = make(evaluations=2)
    trials.fail(study, claimed(study), "Diverged", "the loss became nan; $set", "Traceback ...")
    assert study.documents()[0]["error"] == {
        "type": "Diverged",
        "message": "the loss became nan; $set",
        "traceback": "Traceback ...",
    }
    assert claimed(study).tid == 1


def test_a_worker_that_died_between_ticket_and_trial_loses_nothing(make: MakeStudy) -> None:
    study = make(evaluations=3)
    study.next_ticket()  # ticket 0, and then kill -9
    assert [claimed(study).tid for _ in range(3)] == [1, 2, 0]
    assert claim(study) is None


def test_a_study_is_joined_grown_but_not_changed(make: MakeStudy) -> None:
    study = make(evaluations=2)
    trials.finish(study, claimed(study), [0.1], [1.0])
    study.create(4, {"seed": 0})
    assert len([claimed(study) for _ in range(3)]) == 3
    with pytest.raises(InputError, match="holds it with other settings"):
        study.create(4, {"seed": 1})
    assert study.create(2, {"seed": 0}) == 4  # a second launcher with fewer ends nothing
    assert not study.is_over()


def _take_all(folder: Path, key: str, together: Any, taken: Any) -> None:
    study = Study(connect(Database(), folder), key, 60.0, 3)
    mine = []
    together.wait()
    while (trial := trials.claim(study, ME, uuid.uuid4().hex)) is not None:
        mine.append(trial.tid)
        trials.finish(study, trial, [0.5], [1.0])
    taken.put(mine)


def test_sixteen_processes_at_once_issue_each_ticket_once(make: MakeStudy, mongo: Mongo, tmp_path_factory: Any) -> None:
    study = make(evaluations=160)
    folder = next(p for p in tmp_path_factory.getbasetemp().glob("mongo*") if (p / "endpoint.json").exists())
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hpc_massmap.tune.trials", "hpc_massmap.tune.database.connect"])
    taken, together = context.Queue(), context.Barrier(16)
    workers = [context.Process(target=_take_all, args=(folder, study.key, together, taken)) for _ in range(16)]
    for worker in workers:
        worker.start()
    everything = [tid for _ in workers for tid in taken.get(timeout=within(120))]
    for worker in workers:
        worker.join()
    assert sorted(everything) == list(range(160))
    assert states(study) == [hyperopt.JOB_STATE_DONE] * 160
    assert study.studies.find_one({"_id": study.key})["issued"] == 160  # type: ignore[index]


def test_suggestions_follow_seed_and_history_alone(make: MakeStudy) -> None:
    study, space = make(evaluations=30), Space()
    for tid in range(25):
        values = suggest(tid, study.documents(), space, seed=1, startup=10)
        assert values == suggest(tid, list(reversed(study.documents())), space, seed=1, startup=10)
        loss = abs(values["filters"][0] - 20) / 12 + values["dropout"][0]
        trials.finish(study, trials.suggest(study, claimed(study), values), [loss], [1.0])
    assert values != suggest(24, study.documents(), space, seed=2, startup=10)
    late = [document["result"]["loss"] for document in study.documents()[15:]]
    early = [document["result"]["loss"] for document in study.documents()[:10]]
    assert sorted(late)[5] < sorted(early)[5]  # TPE has learnt where the loss is low


def test_the_longest_epoch_is_that_of_any_trial(make: MakeStudy) -> None:
    study = make(evaluations=4)
    assert study.longest_epoch() == 0.0
    claimed(study)
    assert study.longest_epoch() == 0.0
    trials.progress(study, claimed(study), [0.5, 0.4, 0.3], [1.0, 5.5, 2.0])
    trials.finish(study, claimed(study), [0.5], [3.0])
    assert study.longest_epoch() == 5.5


@pytest.mark.parametrize(("left", "comes_back"), [(5.0, True), (6.0, False)])
def test_no_trial_is_taken_when_the_job_ends_within_the_longest_epoch(
    make: MakeStudy, monkeypatch: pytest.MonkeyPatch, left: float, comes_back: bool
) -> None:
    study = make(evaluations=2)
    trials.progress(study, claimed(study), [0.5, 0.4], [5.5, 1.0])
    leader = Leader.__new__(Leader)  # without a database of its own
    leader.notice = Notice(0.0)
    monkeypatch.setattr(leader.notice, "seconds_left", lambda: left)
    leader.notice.ends = 0.0
    leader.connection = lambda ask: ask(study)  # type: ignore[assignment]
    leader.worker = ME
    trial = leader._next_trial()
    assert (trial is None, leader.notice.given == COME_BACK) == (comes_back, comes_back)
