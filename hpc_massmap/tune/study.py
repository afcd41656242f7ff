"""A study in MongoDB: its settings and tickets, why it was stopped, and who works on it.

What becomes of its trials is told in trials.py. The clock is the server's.
"""

from bson.codec_options import DatetimeConversion
from hyperopt import JOB_STATE_ERROR, JOB_STATE_NEW, JOB_STATE_RUNNING
from pymongo import ReturnDocument, WriteConcern
from pymongo.database import Database

from hpc_massmap.errors import InputError
from hpc_massmap.tune.documents import Document, sound

OPEN = {"$in": [JOB_STATE_NEW, JOB_STATE_RUNNING]}
NUMBERS = ("tid", "version", "attempts", "fruitless")
SECONDS_UNSEEN = 60  # after which a worker is taken for gone
EXPORT_PAUSE, LONGEST_EXPORT = 9, 60  # times its duration between exports; seconds after which its writer is given up


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
        self.workers = database["workers"].with_options(codec_options=tolerant, write_concern=unflushed)
        self.tickets = self.studies.with_options(write_concern=unflushed)
        self.key, self.lease, self.attempts = key, lease, attempts

    def create(self, evaluations: int, settings: Document) -> int:
        """Make the study, or join it if it stands; how many evaluations it has, which only ever grow.

        Raises
        ------
        InputError
            If the study was made with other settings.
        """
        self.refuse_others(settings)
        fresh = {"issued": 0, "evaluations": evaluations, "settings": settings, "failures": 0, "stopped": None}
        self.studies.update_one({"_id": self.key}, {"$setOnInsert": fresh}, upsert=True)
        self.refuse_others(settings)  # of a launcher that came between
        # whoever starts it again has looked into what stopped it
        again = {"$max": {"evaluations": evaluations}, "$set": {"failures": 0, "stopped": None}}
        self.studies.update_one({"_id": self.key}, again)
        self.reopen()
        return int(self.document()["evaluations"])

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
        if self.exists() and self.document().get("settings") != settings:
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

    def document(self) -> Document:
        """The study's own document.

        Raises
        ------
        InputError
            If there is none, or it is damaged.
        """
        found = self.studies.find_one({"_id": self.key})
        counts = [(found or {}).get(name, 0) for name in ("issued", "evaluations", "failures")]
        if found is None or not all(type(count) is int and count >= 0 for count in counts):
            raise InputError(f"study {self.key}: the database has none, or a damaged one; run massmap tune")
        return dict(found)

    def documents(self, *fields: str) -> list[Document]:
        """All sound trials, by number; with `fields`, only those besides what every trial must have."""
        wanted = ("tid", "state", "version", "attempts", "misc", "result.status", "result.loss", "result.pruned")
        projection = {"_id": 0, **(dict.fromkeys((*wanted, *fields), 1) if fields else {})}
        study = self.studies.find_one({"_id": self.key}) or {}
        evaluations = study.get("evaluations")
        trials = list(self.jobs.find({"exp_key": self.key}, projection).sort("tid"))
        return sound(trials, evaluations if type(evaluations) is int else None)

    def is_over(self) -> bool:
        """Whether every ticket has ended as done or as an error, or the study was stopped."""
        study = self.document()
        if study.get("stopped"):
            return True
        if study["issued"] < study["evaluations"]:
            return False
        self._refuse_tampered(study["evaluations"])
        if self.jobs.find_one({"exp_key": self.key, "state": OPEN}, {"_id": 1}):
            return False
        numbered = {"exp_key": self.key, "tid": {"$gte": 0, "$lt": study["evaluations"]}}
        return bool(self.jobs.count_documents(numbered) >= study["evaluations"])

    def stopped(self) -> str | None:
        """Why no more trials are started, if so."""
        reason = self.document().get("stopped")
        return None if reason is None else str(reason)

    def stop(self, reason: str) -> None:
        """Start no more trials; those that run go on."""
        self.studies.update_one({"_id": self.key}, {"$set": {"stopped": reason}})

    def failures(self) -> int:
        """How many trials failed, of all workers, since one was done."""
        return int(self.document().get("failures", 0))

    def next_ticket(self) -> int | None:
        """The number of a trial that nobody has started; None if all are."""
        ticket = self.tickets.find_one_and_update(
            {"_id": self.key, "stopped": None, "$expr": {"$lt": ["$issued", "$evaluations"]}}, {"$inc": {"issued": 1}}
        )
        if ticket is not None:
            return int(ticket["issued"])
        # a worker that died between its ticket and its trial left a hole; the unique index decides who fills it
        study = self.document()
        if study.get("stopped"):
            return None
        started = {document["tid"] for document in self.jobs.find({"exp_key": self.key}, {"tid": 1})}
        return next((tid for tid in range(study["evaluations"]) if tid not in started), None)

    def _refuse_tampered(self, evaluations: int) -> None:
        """End as errors the open trials that no worker can take, or the study would wait for them for ever."""
        error = {"type": "Tampered", "message": "the document is not one of a trial", "traceback": ""}
        broken = {"exp_key": self.key, "state": OPEN, "$nor": [well_typed(evaluations)]}
        self.jobs.update_many(broken, {"$set": {"state": JOB_STATE_ERROR, "error": error}})

    def see(self, worker: Document, state: str, tid: int | None) -> None:
        """Note that a worker is alive, and what it does, for whoever watches."""
        now = {"seen": "$$NOW", "started": {"$ifNull": ["$started", "$$NOW"]}, "state": state, "tid": tid}
        others = {name: {"$literal": value} for name, value in worker.items() if name != "id"}
        self.workers.update_one({"_id": worker["id"]}, [{"$set": {"exp_key": self.key, **others, **now}}], upsert=True)

    def live_workers(self) -> int:
        """How many workers, of any study of this database, were seen in the last minute and have not said goodbye."""
        recent = {"$gt": ["$seen", {"$subtract": ["$$NOW", 1000 * SECONDS_UNSEEN]}]}
        return int(self.workers.count_documents({"state": {"$ne": "ended"}, "$expr": recent}))

    def workers_at_work(self) -> int:
        """How many workers train, or wait for their machine to let them; seen in the last minute."""
        recent = {"$gt": ["$seen", {"$subtract": ["$$NOW", 1000 * SECONDS_UNSEEN]}]}
        at_work = {"exp_key": self.key, "state": {"$in": ["training", "waiting"]}, "$expr": recent}
        return int(self.workers.count_documents(at_work))

    def epochs(self) -> int:
        """How many epochs all trials together have finished."""
        length = {"$cond": [{"$isArray": "$result.history"}, {"$size": "$result.history"}, 0]}
        found = list(
            self.jobs.aggregate(
                [{"$match": {"exp_key": self.key}}, {"$group": {"_id": None, "epochs": {"$sum": length}}}]
            )
        )
        return int(found[0]["epochs"]) if found else 0

    def begin_export(self, turn: str, due: bool = False, at_once: bool = False) -> bool:
        """Whether the export is this caller's to write, once: it is due, nobody writes it and the pause is over.

        Writing all trials after each of them would be all that hundreds of workers do: after an export there is a
        pause of `EXPORT_PAUSE` times as long as it took.

        Parameters
        ----------
        turn : names this call and no other
        due : a trial has just ended; else the export may be due since another one did
        at_once : there is no time for pauses and for others
        """
        is_due = {"$or": [due, {"$ifNull": ["$export.due", False]}]}
        is_free = {"$or": [at_once, {"$lte": [{"$ifNull": ["$export.until", "$$NOW"]}, "$$NOW"]}]}
        mine = {
            "turn": {"$literal": turn},
            "since": "$$NOW",
            "until": {"$add": ["$$NOW", 1000 * LONGEST_EXPORT]},
            "due": False,
        }
        now = {"$cond": [{"$and": [is_due, is_free]}, mine, {"$mergeObjects": ["$export", {"due": is_due}]}]}
        found = self.tickets.find_one_and_update(
            {"_id": self.key}, [{"$set": {"export": now}}], return_document=ReturnDocument.AFTER
        )
        return bool(found and found["export"].get("turn") == turn)

    def end_export(self, turn: str, written: bool) -> None:
        """Say that an export has been written, or could not be and is due as before."""
        took = {"$subtract": ["$$NOW", "$export.since"]}
        until = {"$add": ["$$NOW", {"$multiply": [EXPORT_PAUSE, took]}]}
        due = {"$or": [not written, "$export.due"]}
        self.tickets.update_one(
            {"_id": self.key, "export.turn": turn}, [{"$set": {"export.until": until, "export.due": due}}]
        )

    def longest_epoch(self) -> float:
        """Seconds of the longest epoch that any trial has seen; 0 before the first."""
        longest = {"_id": None, "seconds": {"$max": {"$max": "$result.seconds"}}}
        found = list(self.jobs.aggregate([{"$match": {"exp_key": self.key}}, {"$group": longest}]))
        seconds = found[0]["seconds"] if found else None
        return float(seconds) if isinstance(seconds, int | float) else 0.0


def well_typed(evaluations: int) -> Document:
    """Matches the documents whose numbers and dates are such, so that a worker can go on with their trials."""
    numbers: dict[str, Document] = {name: {"$type": ["int", "long"], "$gte": 0} for name in NUMBERS}
    numbers["tid"]["$lt"] = evaluations
    return {**numbers, "refresh_time": {"$type": "date"}}
