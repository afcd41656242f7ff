"""The plain export of a study, one JSON document a line: it outlives the server, and restores what a server lost."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR

from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text
from hpc_massmap.tune.documents import Document, sound
from hpc_massmap.tune.trials import Study


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
    documents = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
        try:
            document = json.loads(line)
        except ValueError:
            raise InputError(f"{path}: line {number} is not JSON; restore the file or move it away") from None
        documents.append(document if isinstance(document, dict) else {})
    return sound(documents)


def restore(study: Study, documents: list[Document]) -> int:
    """Take the ended trials of an export into the database where it lacks them; how many were taken."""
    ended = [document for document in sound(documents) if document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR)]
    taken = 0
    for document in ended:
        dates = {name: _date(document.get(name)) for name in ("book_time", "refresh_time")}
        fields = {**document, **dates, "exp_key": study.key, "fruitless": 0}
        place = {"exp_key": study.key, "tid": document["tid"]}
        found = study.jobs.update_one(place, {"$setOnInsert": fields}, upsert=True)
        taken += found.upserted_id is not None
    return taken


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _date(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return datetime.now(UTC)
