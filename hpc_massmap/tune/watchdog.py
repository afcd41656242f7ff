"""Shuts the database of a study down when nobody is left who would: its launcher was killed, its workers have gone.

A small process beside mongod, started with it. While the launcher lives it only watches.
"""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from pymongo.errors import PyMongoError

from hpc_massmap.config import load_config
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import stop, watchdogs
from hpc_massmap.tune.database.mongod import serves
from hpc_massmap.tune.database.server import published
from hpc_massmap.tune.export import export
from hpc_massmap.tune.ownership import Owned, Ownership

SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_ALONE = 24 * 3600.0  # for workers that wait in Slurm's queue, with a study that is not over


def launchers(run: Run) -> Ownership:
    """What is owned by the launcher of a run."""
    return Ownership(run.logs / "tune" / "launchers")


def holders(run: Run) -> Ownership:
    """What is owned by who keeps the database of a run open without a launcher (massmap database)."""
    return Ownership(run.database / "holders")


def start_watchdog(run: Run) -> None:
    """Guard the database of a run, a server on this machine, on behalf of its launcher and of who keeps it open."""
    command = [sys.executable, "-m", "hpc_massmap.tune.watchdog", str(run.folder.resolve())]
    with (run.database / "watchdog.log").open("a", encoding="utf-8") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def watch(run: Run) -> None:
    """Watch until the database is gone or has to go."""
    endpoint, owners = published(run.database), [launchers(run), holders(run)]
    alone = time.monotonic()
    while endpoint is not None and published(run.database) == endpoint:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if _is_owned(owners):
            alone = time.monotonic()
            continue
        if not serves(endpoint.pid, Path(endpoint.data)):
            return  # and nobody is left who would start it again
        try:
            study = open_study(run)
            begun = study.exists()  # else its launcher was killed before all trials were back: the export has them
            if study.live_workers():
                alone = time.monotonic()
            elif not begun or study.is_over() or time.monotonic() - alone > SECONDS_ALONE:
                if begun:
                    export(study, run.trials_export)
                stop(run.database)
                return
        except (InputError, PyMongoError) as error:
            print(error, flush=True)


def _is_owned(owners: list[Ownership]) -> bool:
    return any(ownership.living() is not None for ownership in owners)


if __name__ == "__main__":
    watched = Run(load_config(Path(sys.argv[1]) / "config.yaml"), Path(sys.argv[1]))
    with suppress(Owned), watchdogs(watched.database).hold("the watchdog", 2 * SECONDS_BETWEEN_LOOKS):
        watch(watched)  # else another watches already
