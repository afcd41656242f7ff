"""The trials of a study in MongoDB: every change of state is one atomic call, here and nowhere else.

Documents follow hyperopt's `jobs` schema and hold data only; nothing is ever unpickled. The clock of every lease is
the server's.

    new ticket --claim--> RUNNING --finish--> DONE
                          |  ^  '--fail-----> ERROR
              lease expires  |  (the last of its attempts: ERROR)
                          '--'  claim, by another worker
"""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_RUNNING, STATUS_FAIL, STATUS_OK
from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text
from hpc_massmap.tune.space import Values

Document = dict[str, Any]


class LeaseLost(Exception):
    """Another worker owns this trial now, or it is finished: whatever this worker has is void."""


@dataclass(frozen=True)
class Trial:
    """A trial that this worker owns, as long as owner and version still match the database."""

    tid: int
    owner: str
    version: int
    attempt: int
    values: Values | None  # None: not yet suggested


class Study:
    """One study: its settings and tickets in `studies`, its trials in `jobs`.

    Parameters
    ----------
    key : hyperopt's exp_key
    lease : seconds without a heartbeat before a trial may be taken over
    attempts : how often a trial is started before it is given up
    """

    def __init__(self, database: Database[Document], key: str, lease: float, attempts: int) -> None:
        self.studies, self.jobs = database["studies"], database["jobs"]
        self.key, self.lease, self.attempts = key, lease, attempts

    def create(self, evaluations: int, settings: Document) -> None:
        """Make the study, or join it if it stands; `evaluations` may grow but never shrinks below the issued tickets.

        Raises
        ------
        InputError
            If the study was made with other settings.
        """
        self.jobs.create_index([("exp_key", 1), ("tid", 1)], unique=True)
        self.jobs.create_index([("exp_key", 1), ("state", 1), ("refresh_time", 1)])
        self.studies.update_one({"_id": self.key}, {"$setOnInsert": {"issued": 0, "settings": settings}}, upsert=True)
        found = self.studies.find_one({"_id": self.key}) or {}
        if found.get("settings") != settings:
            raise InputError(f"study {self.key}: the database holds it with other settings; use a new run name")
        if evaluations < found["issued"]:
            raise InputError(
                f"tune.evaluations = {evaluations}: {found['issued']} trials were already started in study {self.key}"
            )
        self.studies.update_one({"_id": self.key}, {"$set": {"evaluations": evaluations}})

    def documents(self) -> list[Document]:
        """All trials, by number."""
        return list(self.jobs.find({"exp_key": self.key}, {"_id": 0}).sort("tid"))

    def claim(self, worker: Document) -> Trial | None:
        """An expired trial, else a new one, else None: all tickets are issued and nothing has expired."""
        owner = f"{worker['host']}:{worker['pid']}:{uuid.uuid4().hex[:8]}"
        self._give_up_expired()
        return self._reclaim(owner, worker) or self._claim_new(owner, worker)

    def is_over(self) -> bool:
        """Whether every ticket has ended as done or as an error."""
        ended = {"exp_key": self.key, "state": {"$in": [JOB_STATE_DONE, JOB_STATE_ERROR]}}
        study = self.studies.find_one({"_id": self.key}) or {}
        return bool(self.jobs.count_documents(ended) >= study["evaluations"])

    def _expired(self) -> Document:
        oldest = {"$subtract": ["$$NOW", int(1000 * self.lease)]}
        return {"exp_key": self.key, "state": JOB_STATE_RUNNING, "$expr": {"$lt": ["$refresh_time", oldest]}}

    def _give_up_expired(self) -> None:
        error = {"type": "WorkerLost", "message": f"{self.attempts} workers died with this trial", "traceback": ""}
        self.jobs.update_many(
            {**self._expired(), "attempts": {"$gte": self.attempts}},
            [{"$set": {"state": JOB_STATE_ERROR, "error": error, "result.status": STATUS_FAIL}}],
        )

    def _reclaim(self, owner: str, worker: Document) -> Trial | None:
        taken = {
            "owner": {"$literal": owner},
            "worker": {"$literal": worker},
            "version": {"$add": ["$version", 1]},
            "attempts": {"$add": ["$attempts", 1]},
            "refresh_time": "$$NOW",
        }
        found = self.jobs.find_one_and_update(
            self._expired(), [{"$set": taken}], sort=[("tid", 1)], return_document=ReturnDocument.AFTER
        )
        return _trial(found) if found else None

    def _claim_new(self, owner: str, worker: Document) -> Trial | None:
        while (tid := self._next_ticket()) is not None:
            fresh = {
                "state": JOB_STATE_RUNNING,
                "owner": {"$literal": owner},
                "worker": {"$literal": worker},
                "version": 1,
                "attempts": 1,
                "book_time": "$$NOW",
                "refresh_time": "$$NOW",
                "spec": None,
                "error": None,
                "result": {"status": {"$literal": "new"}},
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
        ticket = self.studies.find_one_and_update(
            {"_id": self.key, "$expr": {"$lt": ["$issued", "$evaluations"]}}, {"$inc": {"issued": 1}}
        )
        if ticket is not None:
            return int(ticket["issued"])
        # a worker that died between its ticket and its trial left a hole; the unique index decides who fills it
        study = self.studies.find_one({"_id": self.key}) or {}
        started = {document["tid"] for document in self.jobs.find({"exp_key": self.key}, {"tid": 1})}
        return next((tid for tid in range(study["evaluations"]) if tid not in started), None)

    def suggest(self, trial: Trial, values: Values) -> Trial:
        """Fix the hyperparameters of a trial, for whoever runs it."""
        idxs = {name: [trial.tid] for name in values}
        self._write(trial, {"misc.vals": {"$literal": values}, "misc.idxs": {"$literal": idxs}})
        return Trial(trial.tid, trial.owner, trial.version, trial.attempt, values)

    def beat(self, trial: Trial, history: list[float] | None = None) -> None:
        """Say that the trial is alive, and its validation losses so far."""
        self._write(trial, {} if history is None else {"result.history": {"$literal": history}})

    def finish(self, trial: Trial, loss: float, history: list[float]) -> None:
        """The trial is done."""
        result = {"status": STATUS_OK, "loss": loss, "history": history}
        self._write(trial, {"state": JOB_STATE_DONE, "result": {"$literal": result}})

    def fail(self, trial: Trial, kind: str, message: str, traceback: str) -> None:
        """The trial cannot be done."""
        error = {"type": kind, "message": message, "traceback": traceback}
        self._write(trial, {"state": JOB_STATE_ERROR, "result.status": STATUS_FAIL, "error": {"$literal": error}})

    def _write(self, trial: Trial, changes: Document) -> None:
        fence = {
            "exp_key": self.key,
            "tid": trial.tid,
            "owner": trial.owner,
            "version": trial.version,
            "state": JOB_STATE_RUNNING,
        }
        if not self.jobs.update_one(fence, [{"$set": {"refresh_time": "$$NOW", **changes}}]).matched_count:
            raise LeaseLost(f"trial {trial.tid} is no longer {trial.owner}'s")

    def export(self, path: Path) -> None:
        """Write all trials to a file of one JSON document a line, which outlives the server."""
        lines = [json.dumps(document, default=lambda value: value.isoformat()) for document in self.documents()]
        write_text(path, "".join(f"{line}\n" for line in lines))


def _trial(document: Document) -> Trial:
    values = document["misc"]["vals"] or None
    return Trial(document["tid"], document["owner"], document["version"], document["attempts"], values)
