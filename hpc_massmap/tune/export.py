"""The plain export of a study, one JSON document a line: it outlives the server, and restores what a server lost."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson.errors import InvalidDocument
from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR
from pymongo.errors import WriteError

from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text
from hpc_massmap.tune.documents import Document, plain, sound
from hpc_massmap.tune.study import Study

# of a trial's document; whatever else somebody wrote into the file stays there
KEPT = ("tid", "state", "owner", "version", "attempts", "spec", "misc", "result", "worker", "error")


def export(study: Study, path: Path) -> None:
    """Write all trials of a study to a file."""
    lines = [json.dumps(document, default=_as_text) for document in study.documents()]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_export(path: Path) -> list[Document]:
    """The sound trials of an export; none if there is no such file.

    Raises
    ------
    InputError
        If a line is not JSON.
    """
    try:
        lines = path.read_text().splitlines() if path.exists() else []
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; restore the file or move it away") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    documents: dict[int, Document] = {}
    for number, line in enumerate(lines, start=1):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{path}: line {number} is not JSON; restore the file or move it away") from None
        for trial in sound([document if isinstance(document, dict) else {}]):
            if trial["tid"] in documents:
                raise InputError(f"{path}: line {number}: trial {trial['tid']} is there twice; leave one")
            documents[trial["tid"]] = trial
    return list(documents.values())


def restore(study: Study, documents: list[Document]) -> int:
    """Take the ended trials of an export into the database where it lacks them; how many were taken."""
    ended = [document for document in sound(documents) if document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR)]
    taken = 0
    for document in ended:
        dates = {name: _date(document.get(name)) for name in ("book_time", "refresh_time")}
        kept = {name: document[name] for name in KEPT if name in document}
        fields = {**kept, **dates, "exp_key": study.key, "fruitless": 0}
        place = {"exp_key": study.key, "tid": document["tid"]}
        try:
            found = study.jobs.update_one(place, {"$setOnInsert": fields}, upsert=True)
        except (OverflowError, InvalidDocument, WriteError) as error:
            raise InputError(f"trial {document['tid']} cannot be restored: {plain(str(error), 100)}") from None
        taken += found.upserted_id is not None
    return taken


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _date(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return datetime.now(UTC)
