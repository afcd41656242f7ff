"""Looks at a study from outside: in its database while that runs, else in its export. Never writes."""

from datetime import UTC, datetime
from pathlib import Path

from pymongo.errors import PyMongoError

from hpc_massmap.config import load_config
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import DatabaseUnreachable, is_transient
from hpc_massmap.tune.documents import Document, date_of, fault_of
from hpc_massmap.tune.export import lines_of
from hpc_massmap.tune.monitor.snapshot import DATABASE, RECENT, Reading, Snapshot, last_ended, snapshot
from hpc_massmap.tune.study import Study

PATIENCE = 2.0  # seconds for a server to answer
ARRAYS = ("result.history", "result.seconds")


def run_in(folder: Path) -> Run:
    """The run whose folder this is, wherever it has been moved to.

    Raises
    ------
    InputError
        If it is not the folder of a run.
    """
    if not (folder / "config.yaml").is_file():
        raise InputError(f"{folder}: not the folder of a run (it has no config.yaml); give one, like runs/multi3")
    return Run(load_config(folder / "config.yaml"), folder)


class StudyReader:
    """Looks at one run, again and again; stays connected in between."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._study: Study | None = None

    def read(self, recent: int | None = None) -> Reading:
        """What there is now.

        Parameters
        ----------
        recent : of how many ended trials, the last ones, to read the loss of every epoch too; None: of all

        Raises
        ------
        InputError
            If there is neither a database that answers nor an export.
        """
        try:
            self._study = self._study or open_study(self._run, PATIENCE)
            return read_database(self._study, recent)
        except (InputError, PyMongoError) as error:
            self._leave()
            export = self._run.trials_export
            if not export.exists():
                raise InputError(
                    f"{self._run.folder}: neither a database that answers ({error}) nor {export.name}; "
                    "massmap tune starts a study"
                ) from None
            return _of_export(export, "database not running" if _is_away(error) else str(error))

    def snapshot(self, recent: int | None = RECENT) -> Snapshot:
        """The study as it is now; raises what `read` does."""
        config = self._run.config
        return snapshot(self.read(recent), config.name, config.tune.evaluations, config.space, config.tune.lease)

    def _leave(self) -> None:
        if self._study is not None:
            self._study.jobs.database.client.close()
        self._study = None


def read_database(study: Study, recent: int | None) -> Reading:
    """All trials and workers of a study; what is long, only of the trials that it is wanted of."""
    now = study.jobs.database.command("hello")["localTime"].replace(tzinfo=UTC)
    without = ("_id",) if recent is None else ("_id", "owner", "spec", *ARRAYS)
    trials = list(study.jobs.find({"exp_key": study.key}, dict.fromkeys(without, 0)))
    if recent is not None:
        _add_arrays(study, trials, recent)
    return Reading(
        DATABASE,
        now,
        study.studies.find_one({"_id": study.key}) or {},
        trials,
        list(study.workers.find({"exp_key": study.key})),
    )


def _add_arrays(study: Study, trials: list[Document], recent: int) -> None:
    sound = [document for document in trials if fault_of(document) is None]
    wanted = [document for document in sound if date_of(document.get("refresh_time"))]
    chosen = [*last_ended(wanted, recent), *(d for d in sound if d["state"] in (0, 1))]
    tids = [document["tid"] for document in chosen]
    found = study.jobs.find({"exp_key": study.key, "tid": {"$in": tids}}, {"tid": 1, **dict.fromkeys(ARRAYS, 1)})
    arrays = {document["tid"]: document.get("result") for document in found}
    for document in chosen:
        more = arrays.get(document["tid"])
        document["result"].update(more if isinstance(more, dict) else {})


def _is_away(error: Exception) -> bool:
    return isinstance(error, DatabaseUnreachable) or is_transient(error)


def _of_export(path: Path, why: str) -> Reading:
    """The trials of an export, as they were when it was written, and why they are not those of the database."""
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    lines = [content for _, content in lines_of(path)]
    trials = [document for document in lines if isinstance(document, dict)]
    source = f"{why}: from {path.name} of {written.astimezone():%Y-%m-%d %H:%M:%S}"
    return Reading(source, written, {}, trials, [], len(lines) - len(trials))
