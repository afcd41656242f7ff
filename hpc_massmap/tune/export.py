"""The plain export of a study, one JSON document a line: it outlives the server, and restores what a server lost."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson.errors import InvalidDocument
from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR
from pymongo.errors import WriteError

from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text
from hpc_massmap.tune.documents import Document, date_of, fault_of, plain, sound
from hpc_massmap.tune.study import Study

ENDED = (JOB_STATE_DONE, JOB_STATE_ERROR)
# of a trial's document; whatever else somebody wrote into the file stays there
KEPT = ("tid", "state", "owner", "version", "attempts", "spec", "misc", "result", "worker", "error")


def export(study: Study, path: Path) -> None:
    """Write all trials of a study to a file.

    Ended trials that the file has and the database lacks stay: the database may be a new one, and of two that write,
    one may have read it later than the other.
    """
    documents = {document["tid"]: document for document in study.documents()}
    for _, before in lines_of(path) if path.exists() else []:
        if isinstance(before, dict) and before.get("state") in ENDED and fault_of(before) is None:
            now = documents.get(before["tid"])
            if now is None or not (now["state"] in ENDED or now.get("retried")):
                documents[before["tid"]] = before
    write_text(path, to_jsonl(list(documents.values())))


def export_if_due(study: Study, path: Path, due: bool = False, at_once: bool = False) -> None:
    """Write the export if it is this caller's turn: see `Study.begin_export`."""
    turn = uuid.uuid4().hex
    if study.begin_export(turn, due, at_once):
        written = False
        try:
            export(study, path)
            written = True
        finally:
            study.end_export(turn, written)


def to_jsonl(documents: list[Document]) -> str:
    """The documents as they are, one a line, by number; what `trials.jsonl` is."""
    ordered = sorted(documents, key=lambda document: document["tid"])
    return "".join(f"{json.dumps(document, default=as_text)}\n" for document in ordered)


def as_text(value: Any) -> str:
    """What JSON has no kind for: dates in ISO 8601."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def lines_of(path: Path) -> list[tuple[int, Any]]:
    """Number and content of each line of an export that is not empty; None for one that is not JSON.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return [(number, _parsed(line)) for number, line in enumerate(lines, start=1) if line.strip()]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def read_export(path: Path) -> list[Document]:
    """The sound trials of an export; none if there is no such file.

    Raises
    ------
    InputError
        If a line is not JSON.
    """
    documents: dict[int, Document] = {}
    for number, document in lines_of(path) if path.exists() else []:
        if document is None:
            raise InputError(f"{path}: line {number} is not JSON; restore the file or move it away")
        for trial in sound([document if isinstance(document, dict) else {}]):
            if trial["tid"] in documents:
                raise InputError(f"{path}: line {number}: trial {trial['tid']} is there twice; leave one")
            documents[trial["tid"]] = trial
    return list(documents.values())


def restore(study: Study, documents: list[Document]) -> int:
    """Take the ended trials of an export into the database where it lacks them; how many were taken."""
    ended = [document for document in sound(documents) if document["state"] in ENDED]
    taken = 0
    for document in ended:
        dates = {name: date_of(document.get(name)) or datetime.now(UTC) for name in ("book_time", "refresh_time")}
        kept = {name: document[name] for name in KEPT if name in document}
        fields = {**kept, **dates, "exp_key": study.key, "fruitless": 0}
        place = {"exp_key": study.key, "tid": document["tid"]}
        try:
            found = study.jobs.update_one(place, {"$setOnInsert": fields}, upsert=True)
        except (OverflowError, InvalidDocument, WriteError) as error:
            raise InputError(f"trial {document['tid']} cannot be restored: {plain(str(error), 100)}") from None
        taken += found.upserted_id is not None
    return taken
