"""What becomes of a trial: every change of its state is one atomic call to MongoDB, here and nowhere else.

Documents follow hyperopt's `jobs` schema and hold data only; nothing is ever unpickled. The clock of every lease is
the server's. Every verb may be said twice: a worker that lost the answer to a call makes the same call again::

    new ticket --claim--> RUNNING --finish--> DONE
                          ^  |  |---fail----> ERROR  --retry--> NEW
                   claim  |  |  '---lose----> NEW, or ERROR if its last attempts were all in vain
                          |  '------release-> NEW
                          NEW, or RUNNING with an expired lease
"""

from dataclasses import dataclass
from datetime import datetime

from hyperopt import (
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    STATUS_FAIL,
    STATUS_NEW,
    STATUS_OK,
)
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from hpc_massmap.tune.documents import Document
from hpc_massmap.tune.space import Values
from hpc_massmap.tune.study import SECONDS_UNSEEN, Study, well_typed


class LeaseLost(Exception):
    """Another worker owns this trial now, or it is finished: whatever this worker has is void."""


@dataclass(frozen=True)
class Trial:
    """A trial that this worker owns, as long as its version still matches the database."""

    tid: int
    owner: str
    version: int
    attempt: int
    values: Values | None  # None: not yet suggested


def claim(study: Study, worker: Document, owner: str, again: bool = False) -> Trial | None:
    """A released or expired trial, else a new one, else None: all tickets are issued and nothing waits.

    Parameters
    ----------
    owner : names this claim and no other
    again : it may have been made before, its answer lost: then the trial is the one that it got
    """
    now = study.document()
    if now.get("stopped"):
        return None
    if again:
        mine = study.jobs.find_one({"exp_key": study.key, "owner": owner, "state": JOB_STATE_RUNNING})
        if mine is not None:
            return _trial(mine)
    return _take_over(study, owner, worker, now) or _take_new(study, owner, worker)


def _waiting(study: Study, now: Document) -> Document:
    opened = now.get("opened")
    # a beat that the server could not hear is not held against its worker
    heard = {"$max": ["$refresh_time", opened if isinstance(opened, datetime) else None]}
    expired = {"$lt": [heard, {"$subtract": ["$$NOW", int(1000 * study.lease)]}]}
    impossible = {"$gt": ["$refresh_time", {"$add": ["$$NOW", 1000 * SECONDS_UNSEEN]}]}  # the clock is the server's
    return {
        "exp_key": study.key,
        "$or": [{"state": JOB_STATE_NEW}, {"state": JOB_STATE_RUNNING, "$expr": {"$or": [expired, impossible]}}],
        **well_typed(now["evaluations"]),
    }


def _take_over(study: Study, owner: str, worker: Document, now: Document) -> Trial | None:
    given_up = {"$gte": ["$fruitless", study.attempts]}
    reason = {"type": "WorkerLost", "message": f"{study.attempts} workers in a row died with it", "traceback": ""}
    taken = {
        "state": {"$cond": [given_up, JOB_STATE_ERROR, JOB_STATE_RUNNING]},
        "result.status": {"$cond": [given_up, STATUS_FAIL, "$result.status"]},
        "error": {"$cond": [given_up, {"$ifNull": ["$error", {"$literal": reason}]}, None]},
        "owner": {"$cond": [given_up, "$owner", {"$literal": owner}]},
        "worker": {"$cond": [given_up, "$worker", {"$literal": worker}]},
        "version": {"$add": ["$version", 1]},
        "attempts": {"$add": ["$attempts", {"$cond": [given_up, 0, 1]}]},
        "fruitless": {"$add": ["$fruitless", 1]},
        "refresh_time": "$$NOW",
    }
    while found := study.jobs.find_one_and_update(
        _waiting(study, now), [{"$set": taken}], sort=[("tid", 1)], return_document=ReturnDocument.AFTER
    ):
        if found["state"] == JOB_STATE_RUNNING:
            return _trial(found)
    return None


def _take_new(study: Study, owner: str, worker: Document) -> Trial | None:
    while (tid := study.next_ticket()) is not None:
        fresh = {
            "state": JOB_STATE_RUNNING,
            "owner": {"$literal": owner},
            "worker": {"$literal": worker},
            "version": 1,
            "attempts": 1,
            "fruitless": 1,
            "book_time": "$$NOW",
            "refresh_time": "$$NOW",
            "spec": None,
            "error": None,
            "result": {"status": {"$literal": STATUS_NEW}},
            "misc": {"$literal": {"tid": tid, "cmd": None, "workdir": None, "idxs": {}, "vals": {}}},
        }
        try:
            study.jobs.update_one(
                {"exp_key": study.key, "tid": tid, "state": {"$exists": False}}, [{"$set": fresh}], upsert=True
            )
        except DuplicateKeyError:
            continue  # somebody else filled this hole
        return Trial(tid, owner, 1, 1, None)
    return None


def suggest(study: Study, trial: Trial, values: Values) -> Trial:
    """Fix the hyperparameters of a trial, for whoever runs it."""
    idxs = {name: [trial.tid] for name in values}
    _write(study, trial, {"misc.vals": {"$literal": values}, "misc.idxs": {"$literal": idxs}})
    return Trial(trial.tid, trial.owner, trial.version, trial.attempt, values)


def beat(study: Study, trial: Trial) -> None:
    """Say that the trial is alive."""
    _write(study, trial, {})


def progress(study: Study, trial: Trial, history: list[float], seconds: list[float]) -> None:
    """Say that an epoch was finished: validation losses and durations of all so far."""
    _write(
        study,
        trial,
        {"result.history": {"$literal": history}, "result.seconds": {"$literal": seconds}, "fruitless": 0},
    )


def finish(study: Study, trial: Trial, history: list[float], seconds: list[float], pruned: bool = False) -> None:
    """The trial is done, or was ended early because others did better; its loss is the best of its epochs."""
    result = {
        "status": STATUS_OK,
        "loss": min(history),
        "history": history,
        "seconds": seconds,
        "pruned": pruned,
    }
    _write(study, trial, {"state": JOB_STATE_DONE, "result": {"$literal": result}, "error": None}, JOB_STATE_DONE)
    study.tickets.update_one({"_id": study.key}, {"$set": {"failures": 0}})


def fail(study: Study, trial: Trial, kind: str, message: str, traceback: str) -> None:
    """The trial cannot be done."""
    error = {"type": kind, "message": message, "traceback": traceback}
    changes = {"state": JOB_STATE_ERROR, "result.status": STATUS_FAIL, "error": {"$literal": error}}
    _write(study, trial, changes, JOB_STATE_ERROR)
    study.studies.update_one({"_id": study.key}, {"$inc": {"failures": 1}})


def release(study: Study, trial: Trial) -> None:
    """Give the trial back as it stands: this worker has to leave, through no fault of the trial's."""
    unspent = {"$max": [0, {"$subtract": ["$fruitless", 1]}]}
    _write(study, trial, {"state": JOB_STATE_NEW, "fruitless": unspent}, JOB_STATE_NEW)


def lose(study: Study, trial: Trial, reason: str) -> None:
    """The process that trained it died: somebody tries again, unless the last attempts were all in vain."""
    error = {"type": "ProcessDied", "message": reason, "traceback": ""}
    in_vain = {"$gte": ["$fruitless", study.attempts]}
    changes = {
        "state": {"$cond": [in_vain, JOB_STATE_ERROR, JOB_STATE_NEW]},
        "result.status": {"$cond": [in_vain, STATUS_FAIL, "$result.status"]},
        "error": {"$literal": error},
    }
    _write(study, trial, changes, JOB_STATE_ERROR, JOB_STATE_NEW)


def _write(study: Study, trial: Trial, changes: Document, *ends_as: int) -> None:
    mine = {"exp_key": study.key, "tid": trial.tid, "owner": trial.owner, "version": trial.version}
    done = study.jobs.update_one({**mine, "state": JOB_STATE_RUNNING}, [{"$set": {"refresh_time": "$$NOW", **changes}}])
    # not matched, but ended as asked under the same version: our own write, whose answer was lost
    if not done.matched_count and not (ends_as and study.jobs.find_one({**mine, "state": {"$in": [*ends_as]}})):
        raise LeaseLost(f"trial {trial.tid} is no longer {trial.owner}'s")


def retry(study: Study, tids: list[int] | None = None) -> int:
    """Give trials that ended in error, all or some, to the workers again; how many there were."""
    which = {"exp_key": study.key, "state": JOB_STATE_ERROR, **well_typed(study.document()["evaluations"])}
    if tids is not None:
        which["tid"] = {"$in": tids}
    fresh = {"state": JOB_STATE_NEW, "error": None, "fruitless": 0, "result.status": STATUS_NEW, "retried": True}
    study.studies.update_one({"_id": study.key}, {"$set": {"failures": 0, "stopped": None}})
    return int(study.jobs.update_many(which, {"$set": fresh}).modified_count)


def _trial(document: Document) -> Trial:
    misc = document.get("misc")
    values = (misc.get("vals") if isinstance(misc, dict) else None) or None
    return Trial(document["tid"], document["owner"], document["version"], document["attempts"], values)
