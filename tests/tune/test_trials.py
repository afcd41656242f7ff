"""The protocol on a genuine mongod: exact tickets, leases, fences, and documents hyperopt can read."""

import json
import multiprocessing
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hyperopt
import pytest
from pymongo.database import Database as MongoDatabase

from hpc_massmap.config import Database, Space
from hpc_massmap.errors import InputError
from hpc_massmap.tune.database import connect
from hpc_massmap.tune.suggest import suggest
from hpc_massmap.tune.trials import LeaseLost, Study, Trial

Mongo = MongoDatabase[dict[str, Any]]
MakeStudy = Callable[..., Study]
ME: dict[str, Any] = {"host": "here", "pid": 1, "slurm_job": None}
VALUES = {"filters": [8.0], "kernel": [3.0], "layers": [2.0], "dropout": [0.1]}


@pytest.fixture
def make(mongo: Mongo) -> MakeStudy:
    def study(evaluations: int = 3, lease: float = 60.0, attempts: int = 3) -> Study:
        made = Study(mongo, uuid.uuid4().hex, lease, attempts)
        made.create(evaluations, {"seed": 0})
        return made

    return study


def claimed(study: Study) -> Trial:
    trial = study.claim(ME)
    assert trial is not None
    return trial


def states(study: Study) -> list[int]:
    return [document["state"] for document in study.documents()]


def test_as_many_tickets_as_asked_and_no_more(make: MakeStudy) -> None:
    study = make(evaluations=3)
    assert [claimed(study).tid for _ in range(3)] == [0, 1, 2]
    assert study.claim(ME) is None
    assert not study.is_over()


def test_a_trial_from_claim_to_done(make: MakeStudy) -> None:
    study = make(evaluations=1)
    trial = study.suggest(claimed(study), VALUES)
    study.beat(trial, [0.5])
    assert study.documents()[0]["result"]["history"] == [0.5]
    study.finish(trial, 0.4, [0.5, 0.4])
    (document,) = study.documents()
    assert document["state"] == hyperopt.JOB_STATE_DONE
    assert document["result"] == {"status": "ok", "loss": 0.4, "history": [0.5, 0.4]}
    assert document["misc"]["vals"] == VALUES
    assert document["misc"]["idxs"] == {name: [0] for name in VALUES}
    assert document["book_time"] <= document["refresh_time"]
    assert study.is_over()


def test_hyperopt_reads_the_documents_as_its_own(make: MakeStudy) -> None:
    study = make(evaluations=2)
    for loss in (0.4, 0.2):
        study.finish(study.suggest(claimed(study), VALUES), loss, [loss])
    trials = hyperopt.base.trials_from_docs(study.documents(), exp_key=study.key)
    assert trials.losses() == [0.4, 0.2]
    assert trials.argmin == {name: values[0] for name, values in VALUES.items()}


def test_an_expired_trial_goes_to_another_with_its_values(make: MakeStudy) -> None:
    study = make(evaluations=1, lease=0.2)
    dead = study.suggest(claimed(study), VALUES)
    assert study.claim(ME) is None  # alive until the lease ends
    time.sleep(0.3)
    heir = claimed(study)
    assert (heir.tid, heir.attempt, heir.values) == (0, 2, VALUES)
    for late in (
        lambda: study.beat(dead),
        lambda: study.finish(dead, 0.1, [0.1]),
        lambda: study.fail(dead, "E", "m", "t"),
        lambda: study.suggest(dead, VALUES),
    ):
        with pytest.raises(LeaseLost):
            late()
    study.finish(heir, 0.3, [0.3])
    assert study.documents()[0]["result"]["loss"] == 0.3
    with pytest.raises(LeaseLost):
        study.finish(heir, 0.1, [0.1])  # nobody reports twice


def test_a_heartbeat_keeps_a_trial(make: MakeStudy) -> None:
    study = make(evaluations=1, lease=0.4)
    trial = claimed(study)
    for _ in range(6):
        time.sleep(0.15)
        study.beat(trial)
        assert study.claim(ME) is None


def test_a_trial_that_kills_its_workers_is_given_up(make: MakeStudy) -> None:
    study = make(evaluations=1, lease=0.05, attempts=3)
    for attempt in (1, 2, 3):
        assert claimed(study).attempt == attempt
        time.sleep(0.1)
    assert study.claim(ME) is None
    (document,) = study.documents()
    assert document["state"] == hyperopt.JOB_STATE_ERROR
    assert document["error"]["message"] == "3 workers died with this trial"
    assert study.is_over()


def test_a_failed_trial_is_kept_with_its_traceback(make: MakeStudy) -> None:
    study = make(evaluations=2)
    study.fail(claimed(study), "Diverged", "the loss became nan; $set", "Traceback ...")
    assert study.documents()[0]["error"] == {
        "type": "Diverged",
        "message": "the loss became nan; $set",
        "traceback": "Traceback ...",
    }
    assert claimed(study).tid == 1


def test_a_worker_that_died_between_ticket_and_trial_loses_nothing(make: MakeStudy) -> None:
    study = make(evaluations=3)
    study._next_ticket()  # ticket 0, and then kill -9
    assert [claimed(study).tid for _ in range(3)] == [1, 2, 0]
    assert study.claim(ME) is None


def test_a_study_is_joined_grown_but_not_changed(make: MakeStudy) -> None:
    study = make(evaluations=2)
    study.finish(claimed(study), 0.1, [0.1])
    study.create(4, {"seed": 0})
    assert len([claimed(study) for _ in range(3)]) == 3
    with pytest.raises(InputError, match="holds it with other settings"):
        study.create(4, {"seed": 1})
    with pytest.raises(InputError, match=r"tune\.evaluations = 2: 4 trials were already started"):
        study.create(2, {"seed": 0})


def _take_all(folder: Path, key: str, taken: Any) -> None:
    study = Study(connect(Database(), folder), key, 60.0, 3)
    mine = []
    while (trial := study.claim(ME)) is not None:
        mine.append(trial.tid)
        study.finish(trial, 0.5, [0.5])
    taken.put(mine)


def test_six_processes_at_once_issue_each_ticket_once(make: MakeStudy, mongo: Mongo, tmp_path_factory: Any) -> None:
    study = make(evaluations=120)
    folder = next(p for p in tmp_path_factory.getbasetemp().glob("mongo*") if (p / "endpoint.json").exists())
    context = multiprocessing.get_context("spawn")
    taken = context.Queue()
    workers = [context.Process(target=_take_all, args=(folder, study.key, taken)) for _ in range(6)]
    for worker in workers:
        worker.start()
    everything = [tid for _ in workers for tid in taken.get(timeout=120)]
    for worker in workers:
        worker.join()
    assert sorted(everything) == list(range(120))
    assert states(study) == [hyperopt.JOB_STATE_DONE] * 120


def test_the_export_outlives_the_server(make: MakeStudy, tmp_path: Path) -> None:
    study = make(evaluations=2)
    study.finish(study.suggest(claimed(study), VALUES), 0.4, [0.4])
    study.fail(claimed(study), "E", "two\nlines", "")
    study.export(tmp_path / "trials.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    assert [line["tid"] for line in lines] == [0, 1]
    assert lines[0]["result"]["loss"] == 0.4
    assert lines[0]["book_time"].startswith("20")


def test_suggestions_follow_seed_and_history_alone(make: MakeStudy) -> None:
    study, space = make(evaluations=30), Space()
    for tid in range(25):
        values = suggest(tid, study.documents(), space, seed=1, startup=10)
        assert values == suggest(tid, list(reversed(study.documents())), space, seed=1, startup=10)
        loss = abs(values["filters"][0] - 20) / 12 + values["dropout"][0]
        study.finish(study.suggest(claimed(study), values), loss, [loss])
    assert values != suggest(24, study.documents(), space, seed=2, startup=10)
    late = [document["result"]["loss"] for document in study.documents()[15:]]
    early = [document["result"]["loss"] for document in study.documents()[:10]]
    assert sorted(late)[5] < sorted(early)[5]  # TPE has learnt where the loss is low
