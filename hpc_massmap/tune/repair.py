"""Changes a study from outside: trials of another export come in, failed ones are tried again.

The database is joined if it runs, and else started for the while.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.storage import read_json
from hpc_massmap.tune import trials
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import ensure, stop
from hpc_massmap.tune.export import export, read_export, restore
from hpc_massmap.tune.space import hyperparameters
from hpc_massmap.tune.study import Study


def import_trials(run: Run, path: Path) -> tuple[int, int]:
    """Take the ended trials of an export into the study where it lacks them; how many were taken, of how many.

    Raises
    ------
    InputError
        If the file is missing or of a study with other settings.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; massmap trials export runs/... FILE writes one")
    theirs = path.with_name(run.study.name)
    if theirs.exists() and run.study.exists() and read_json(theirs) != read_json(run.study):
        raise InputError(f"{path}: its trials have other settings than this run ({theirs} differs from {run.study})")
    documents = read_export(path)
    for document in documents:
        if document["misc"]["vals"]:
            try:
                hyperparameters(document["misc"]["vals"], run.config.space)
            except InputError as error:
                raise InputError(f"{path}: trial {document['tid']} is not of this run's space ({error})") from None
    with _changing(run) as study:
        return restore(study, documents), len(documents)


def retry_trials(run: Run, tids: list[int] | None) -> int:
    """Give failed trials, all or some, to the workers again; how many."""
    with _changing(run) as study:
        return trials.retry(study, tids)


@contextmanager
def _changing(run: Run) -> Iterator[Study]:
    started = ensure(run.config.database, run.database)
    try:
        study = open_study(run)
        study.stopped()  # raises if there is no study
        yield study
        export(study, run.trials_export)
        run.step("tune", {}, {}, []).record.unlink(missing_ok=True)  # massmap tune looks again at what is left to do
    finally:
        if started:
            stop(run.database)
