"""The trials of a study in MongoDB: every change of state is one atomic call, here and nowhere else.

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
from typing import Any

from bson.codec_options import DatetimeConversion
from hyperopt import (
    JOB_STATE_DONE,
    JOB_STATE_ERROR,
    JOB_STATE_NEW,
    JOB_STATE_RUNNING,
    STATUS_FAIL,
    STATUS_NEW,
    STATUS_OK,
)
from pymongo import ReturnDocument, WriteConcern
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from hpc_massmap.errors import InputError
from hpc_massmap.tune.documents import Document, sound
from hpc_massmap.tune.space import Values

OPEN = {"$in": [JOB_STATE_NEW, JOB_STATE_RUNNING]}
NUMBERS = ("tid", "version", "attempts", "fruitless")
SECONDS_UNSEEN = 60  # after which a worker is taken for gone


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


class Study:
    """One study: its settings and tickets in `studies`, its trials in `jobs`, who works on it in `workers`.

    Parameters
    ----------
    key : hyperopt's exp_key
    lease : seconds without a heartbeat before a trial may be taken over
    attempts : how often in a row a trial is started without a finished epoch before it is given up
    """

    def __init__(self, database: Database[Document], key: str, lease: float, attempts: int) -> None:
        # dates and texts that Python cannot hold: one of them must not hide all other documents
        tolerant = database.codec_options.with_options(
            datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
        )
        self.studies = database["studies"].with_options(codec_options=tolerant)
        self.jobs = database["jobs"].with_options(codec_options=tolerant)
        # not worth a flush of their own: who was seen where is of the moment; the journal is written in order, so that
        # a ticket is on the disk when its trial is, and one that was lost with its server is issued again
        unflushed = WriteConcern(w=1, j=False)
        self.workers = database["workers"].with_options(write_concern=unflushed)
        self.tickets = self.studies.with_options(write_concern=unflushed)
        self.key, self.lease, self.attempts = key, lease, attempts

    def create(self, evaluations: int, settings: Document) -> None:
        """Make the study, or join it if it stands; `evaluations` may grow but never shrinks below the issued tickets.

        Raises
        ------
        InputError
            If the study was made with other settings.
        """
        self.refuse_others(settings)
        fresh = {"issued": 0, "evaluations": evaluations, "settings": settings, "failures": 0, "stopped": None}
        self.studies.update_one({"_id": self.key}, {"$setOnInsert": fresh}, upsert=True)
        self.refuse_others(settings)  # of a launcher that came between
        found = self._study()
        if evaluations < found["issued"]:
            raise InputError(
                f"tune.evaluations = {evaluations}: {found['issued']} trials were already started in study {self.key}"
            )
        # whoever starts it again has looked into what stopped it
        again = {"evaluations": evaluations, "failures": 0, "stopped": None}
        self.studies.update_one({"_id": self.key}, {"$set": again})
        self.reopen()

    def refuse_others(self, settings: Document) -> None:
        """Have the database ready for trials of these settings, before any worker can take one.

        Raises
        ------
        InputError
            If the study stands, with other settings.
        """
        self.jobs.create_index([("exp_key", 1), ("tid", 1)], unique=True)
        self.jobs.create_index([("exp_key", 1), ("state", 1), ("refresh_time", 1)])
        self.jobs.create_index([("exp_key", 1), ("owner", 1)])
        if self.exists() and self._study().get("settings") != settings:
            raise InputError(f"study {self.key}: the database holds it with other settings; use a new run name")

    def exists(self) -> bool:
        """Whether a launcher has made the study."""
        return self.studies.find_one({"_id": self.key}, {"_id": 1}) is not None

    def reopen(self) -> None:
        """Note that the database answers again after a pause: for one lease from now no trial counts as abandoned."""
        self.studies.update_one({"_id": self.key}, [{"$set": {"opened": "$$NOW"}}])

    def discard(self) -> None:
        """Forget the study and all its trials."""
        for collection in (self.jobs, self.workers):
            collection.delete_many({"exp_key": self.key})
        self.studies.delete_one({"_id": self.key})

    def _study(self) -> Document:
        found = self.studies.find_one({"_id": self.key})
        if found is None or not all(type(found.get(name, 0)) is int for name in ("issued", "evaluations", "failures")):
            raise InputError(f"study {self.key}: the database has none, or a damaged one; run jobs/tune.py")
        return dict(found)

    def documents(self, *fields: str) -> list[Document]:
        """All sound trials, by number; with `fields`, only those besides what every trial must have."""
        wanted = ("tid", "state", "version", "attempts", "misc", "result.status", "result.loss", "result.pruned")
        projection = {"_id": 0, **(dict.fromkeys((*wanted, *fields), 1) if fields else {})}
        return sound(list(self.jobs.find({"exp_key": self.key}, projection).sort("tid")))

    def claim(self, worker: Document, owner: str, again: bool = False) -> Trial | None:
        """A released or expired trial, else a new one, else None: all tickets are issued and nothing waits.

        Parameters
        ----------
        owner : names this claim and no other
        again : it may have been made before, its answer lost: then the trial is the one that it got
        """
        study = self._study()
        if study.get("stopped"):
            return None
        if again:
            mine = self.jobs.find_one({"exp_key": self.key, "owner": owner, "state": JOB_STATE_RUNNING})
            if mine is not None:
                return _trial(mine)
        return self._take_over(owner, worker, study.get("opened")) or self._take_new(owner, worker)

    def is_over(self) -> bool:
        """Whether every ticket has ended as done or as an error, or the study was stopped."""
        study = self._study()
        if study.get("stopped"):
            return True
        if study["issued"] < study["evaluations"]:
            return False
        self._refuse_tampered()
        if self.jobs.find_one({"exp_key": self.key, "state": OPEN}, {"_id": 1}):
            return False
        numbered = {"exp_key": self.key, "tid": {"$gte": 0, "$lt": study["evaluations"]}}
        return bool(self.jobs.count_documents(numbered) >= study["evaluations"])

    def stopped(self) -> str | None:
        """Why no more trials are started, if so."""
        reason = self._study().get("stopped")
        return None if reason is None else str(reason)

    def stop(self, reason: str) -> None:
        """Start no more trials; those that run go on."""
        self.studies.update_one({"_id": self.key}, {"$set": {"stopped": reason}})

    def failures(self) -> int:
        """How many trials failed, of all workers, since one was done."""
        return int(self._study().get("failures", 0))

    def _waiting(self, opened: Any) -> Document:
        # a beat that the server could not hear is not held against its worker
        heard = {"$max": ["$refresh_time", opened if isinstance(opened, datetime) else None]}
        expired = {"$lt": [heard, {"$subtract": ["$$NOW", int(1000 * self.lease)]}]}
        impossible = {"$gt": ["$refresh_time", {"$add": ["$$NOW", 1000 * SECONDS_UNSEEN]}]}  # the clock is the server's
        return {
            "exp_key": self.key,
            "$or": [{"state": JOB_STATE_NEW}, {"state": JOB_STATE_RUNNING, "$expr": {"$or": [expired, impossible]}}],
            **_well_typed(),
        }

    def _take_over(self, owner: str, worker: Document, opened: Any) -> Trial | None:
        given_up = {"$gte": ["$fruitless", self.attempts]}
        reason = {"type": "WorkerLost", "message": f"{self.attempts} workers in a row died with it", "traceback": ""}
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
        while found := self.jobs.find_one_and_update(
            self._waiting(opened), [{"$set": taken}], sort=[("tid", 1)], return_document=ReturnDocument.AFTER
        ):
            if found["state"] == JOB_STATE_RUNNING:
                return _trial(found)
        return None

    def _take_new(self, owner: str, worker: Document) -> Trial | None:
        while (tid := self._next_ticket()) is not None:
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
                self.jobs.update_one(
                    {"exp_key": self.key, "tid": tid, "state": {"$exists": False}}, [{"$set": fresh}], upsert=True
                )
            except DuplicateKeyError:
                continue  # somebody else filled this hole
            return Trial(tid, owner, 1, 1, None)
        return None

    def _next_ticket(self) -> int | None:
        ticket = self.tickets.find_one_and_update(
            {"_id": self.key, "stopped": None, "$expr": {"$lt": ["$issued", "$evaluations"]}}, {"$inc": {"issued": 1}}
        )
        if ticket is not None:
            return int(ticket["issued"])
        # a worker that died between its ticket and its trial left a hole; the unique index decides who fills it
        study = self._study()
        if study.get("stopped"):
            return None
        started = {document["tid"] for document in self.jobs.find({"exp_key": self.key}, {"tid": 1})}
        return next((tid for tid in range(study["evaluations"]) if tid not in started), None)

    def _refuse_tampered(self) -> None:
        """End as errors the open trials that no worker can take, or the study would wait for them for ever."""
        error = {"type": "Tampered", "message": "the document is not one of a trial", "traceback": ""}
        broken = {"exp_key": self.key, "state": OPEN, "$nor": [_well_typed()]}
        self.jobs.update_many(broken, {"$set": {"state": JOB_STATE_ERROR, "error": error}})

    def suggest(self, trial: Trial, values: Values) -> Trial:
        """Fix the hyperparameters of a trial, for whoever runs it."""
        idxs = {name: [trial.tid] for name in values}
        self._write(trial, {"misc.vals": {"$literal": values}, "misc.idxs": {"$literal": idxs}})
        return Trial(trial.tid, trial.owner, trial.version, trial.attempt, values)

    def beat(self, trial: Trial) -> None:
        """Say that the trial is alive."""
        self._write(trial, {})

    def progress(self, trial: Trial, history: list[float], seconds: list[float]) -> None:
        """Say that an epoch was finished: validation losses and durations of all so far."""
        self._write(
            trial,
            {"result.history": {"$literal": history}, "result.seconds": {"$literal": seconds}, "fruitless": 0},
        )

    def finish(self, trial: Trial, history: list[float], seconds: list[float], pruned: bool = False) -> None:
        """The trial is done, or was ended early because others did better; its loss is the best of its epochs."""
        result = {
            "status": STATUS_OK,
            "loss": min(history),
            "history": history,
            "seconds": seconds,
            "pruned": pruned,
        }
        self._write(trial, {"state": JOB_STATE_DONE, "result": {"$literal": result}, "error": None}, JOB_STATE_DONE)
        self.tickets.update_one({"_id": self.key}, {"$set": {"failures": 0}})

    def fail(self, trial: Trial, kind: str, message: str, traceback: str) -> None:
        """The trial cannot be done."""
        error = {"type": kind, "message": message, "traceback": traceback}
        changes = {"state": JOB_STATE_ERROR, "result.status": STATUS_FAIL, "error": {"$literal": error}}
        self._write(trial, changes, JOB_STATE_ERROR)
        self.studies.update_one({"_id": self.key}, {"$inc": {"failures": 1}})

    def release(self, trial: Trial) -> None:
        """Give the trial back as it stands: this worker has to leave, through no fault of the trial's."""
        unspent = {"$max": [0, {"$subtract": ["$fruitless", 1]}]}
        self._write(trial, {"state": JOB_STATE_NEW, "fruitless": unspent}, JOB_STATE_NEW)

    def lose(self, trial: Trial, reason: str) -> None:
        """The process that trained it died: somebody tries again, unless the last attempts were all in vain."""
        error = {"type": "ProcessDied", "message": reason, "traceback": ""}
        in_vain = {"$gte": ["$fruitless", self.attempts]}
        changes = {
            "state": {"$cond": [in_vain, JOB_STATE_ERROR, JOB_STATE_NEW]},
            "result.status": {"$cond": [in_vain, STATUS_FAIL, "$result.status"]},
            "error": {"$literal": error},
        }
        self._write(trial, changes, JOB_STATE_ERROR, JOB_STATE_NEW)

    def _write(self, trial: Trial, changes: Document, *ends_as: int) -> None:
        mine = {"exp_key": self.key, "tid": trial.tid, "owner": trial.owner, "version": trial.version}
        done = self.jobs.update_one(
            {**mine, "state": JOB_STATE_RUNNING}, [{"$set": {"refresh_time": "$$NOW", **changes}}]
        )
        # not matched, but ended as asked under the same version: our own write, whose answer was lost
        if not done.matched_count and not (ends_as and self.jobs.find_one({**mine, "state": {"$in": [*ends_as]}})):
            raise LeaseLost(f"trial {trial.tid} is no longer {trial.owner}'s")

    def see(self, worker: Document, state: str, tid: int | None) -> None:
        """Note that a worker is alive, and what it does, for whoever watches."""
        now = {"seen": "$$NOW", "started": {"$ifNull": ["$started", "$$NOW"]}, "state": state, "tid": tid}
        others = {name: {"$literal": value} for name, value in worker.items() if name != "id"}
        self.workers.update_one({"_id": worker["id"]}, [{"$set": {"exp_key": self.key, **others, **now}}], upsert=True)

    def live_workers(self) -> int:
        """How many workers, of any study of this database, were seen in the last minute and have not said goodbye."""
        recent = {"$gt": ["$seen", {"$subtract": ["$$NOW", 1000 * SECONDS_UNSEEN]}]}
        return int(self.workers.count_documents({"state": {"$ne": "ended"}, "$expr": recent}))

    def longest_epoch(self) -> float:
        """Seconds of the longest epoch that any trial has seen; 0 before the first."""
        longest = {"_id": None, "seconds": {"$max": {"$max": "$result.seconds"}}}
        found = list(self.jobs.aggregate([{"$match": {"exp_key": self.key}}, {"$group": longest}]))
        seconds = found[0]["seconds"] if found else None
        return float(seconds) if isinstance(seconds, int | float) else 0.0

    def retry(self, tids: list[int] | None = None) -> int:
        """Give trials that ended in error, all or some, to the workers again; how many there were."""
        which = {"exp_key": self.key, "state": JOB_STATE_ERROR, **_well_typed()}
        if tids is not None:
            which["tid"] = {"$in": tids}
        fresh = {"state": JOB_STATE_NEW, "error": None, "fruitless": 0, "result.status": STATUS_NEW}
        self.studies.update_one({"_id": self.key}, {"$set": {"failures": 0, "stopped": None}})
        return int(self.jobs.update_many(which, {"$set": fresh}).modified_count)


def _well_typed() -> Document:
    numbers = {name: {"$type": ["int", "long"], "$gte": 0} for name in NUMBERS}
    return {**numbers, "refresh_time": {"$type": "date"}}


def _trial(document: Document) -> Trial:
    misc = document.get("misc")
    values = (misc.get("vals") if isinstance(misc, dict) else None) or None
    return Trial(document["tid"], document["owner"], document["version"], document["attempts"], values)
