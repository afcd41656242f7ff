"""Shuts the database of a study down when nobody is left who would: its launcher was killed, its workers have gone.

A small process beside mongod, started with it. While the launcher lives it only watches.
"""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pymongo.errors import PyMongoError

from hpc_massmap.config import load_config
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.storage import read_json, write_json
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import stop
from hpc_massmap.tune.database.server import published
from hpc_massmap.tune.export import export

SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_ALONE = 24 * 3600.0  # for workers that wait in Slurm's queue, with a study that is not over
OWNER = "launcher.json"


def start_watchdog(run: Run, launcher: int) -> None:
    """Guard the database of a run on behalf of a launcher, a process of this machine."""
    write_json(run.database / OWNER, {"pid": launcher, "started": _started(launcher)})
    command = [sys.executable, "-m", "hpc_massmap.tune.watchdog", str(run.folder.resolve())]
    with (run.database / "watchdog.log").open("a", encoding="utf-8") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def watch(run: Run) -> None:
    """Watch until the database is gone or has to go."""
    endpoint = published(run.database)
    alone = time.monotonic()
    while endpoint is not None and published(run.database) == endpoint:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if _launcher_lives(run.database / OWNER):
            alone = time.monotonic()
            continue
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


def _launcher_lives(path: Path) -> bool:
    try:
        owner = read_json(path)
    except InputError:  # damaged: whoever launches next writes it anew
        return False
    started = owner.get("started") if isinstance(owner, dict) else None
    return started is not None and _started(owner.get("pid")) == started


def _started(pid: object) -> str | None:
    """When a process was started, which tells it from a later one of the same number; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


if __name__ == "__main__":
    watched = Run(load_config(Path(sys.argv[1]) / "config.yaml"), Path(sys.argv[1]))
    with suppress(Timeout), FileLock(watched.database / "watchdog.lock", timeout=2 * SECONDS_BETWEEN_LOOKS):
        watch(watched)  # else another watches already, and knows the new launcher by its file
