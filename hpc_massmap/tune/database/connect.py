"""The trials database of a run: a mongod of ours (server.py), or somebody's server; always with authentication.

It is started by one process at a time, publishes its endpoint when it answers, and whoever comes later joins it.
"""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError

from hpc_massmap.config import Database
from hpc_massmap.errors import InputError, first_line
from hpc_massmap.progress import say
from hpc_massmap.tune.database.certificates import AUTHORITY
from hpc_massmap.tune.database.mongod import START_SECONDS, terminate
from hpc_massmap.tune.database.server import NAME, Endpoint, login, publish, published, start, stop
from hpc_massmap.tune.ownership import Ownership, OwnershipLost

LOCK_SECONDS = 2 * START_SECONDS
SECONDS_TO_REFUSE = 1.0
SHUTTING_DOWN = (91, 189, 11600, 11602)  # MongoDB's codes for a server that is about to end, or has no primary

__all__ = ["DatabaseUnreachable", "connect", "database", "ensure", "is_transient", "stop"]


class DatabaseUnreachable(InputError):
    """No server answers, for now: it may be starting, moving to another node, or cut off."""


@contextmanager
def database(config: Database, folder: Path) -> Iterator[MongoDatabase[dict[str, Any]]]:
    """The database of a run, started if it must be; a server of ours is shut down at the end.

    Raises
    ------
    InputError
        If there is no mongod, no free port, or a server that does not let us in, or lets anybody in.
    """
    if config.kind == "external":
        _refuse_if_open(config)
        yield connect(config, folder)
        return
    opened, _ = _serve(config, folder)
    is_ours = True
    try:
        yield opened
    except OwnershipLost:  # whoever has taken over goes on with it
        is_ours = False
        raise
    finally:
        if is_ours:
            _leave(config, folder)


def _leave(config: Database, folder: Path) -> None:
    """Shut a server of ours down; one that several runs share, if we started it: those that go on start it anew."""
    if config.folder is None:
        stop(folder)
        return
    try:
        with _starting(folder):  # nobody starts the next one while this one has the data
            endpoint = published(folder)
            if endpoint is not None and endpoint.starter == os.getpid():
                stop(folder)
    except InputError as error:  # what ends us matters more
        say(f"the database is left running: {error}")


def ensure(config: Database, folder: Path) -> bool:
    """Have a server of ours run, started if none answers; whether it had to be. Raises what `database` does."""
    if config.kind == "external":
        _refuse_if_open(config)
        return False
    opened, started = _serve(config, folder)
    opened.client.close()
    return started


def _serve(config: Database, folder: Path) -> tuple[MongoDatabase[dict[str, Any]], bool]:
    """Join the server of a folder, or start it; the database, and whether it was started."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = published(folder)
    with suppress(DatabaseUnreachable):
        return connect(config, folder), False
    with _starting(folder):
        if published(folder) != before:  # another was faster
            with suppress(DatabaseUnreachable):
                return connect(config, folder), False
        _refuse_elsewhere(folder)
        endpoint = start(config, folder)
        try:  # before anybody knows where it answers: no trial is abandoned while its worker could not speak
            opened = _join(config, folder, endpoint, 10.0)
            opened["studies"].update_many({}, [{"$set": {"opened": "$$NOW"}}])
            publish(folder, endpoint)
        except BaseException:
            terminate(endpoint.pid, Path(endpoint.data))
            raise
        return opened, True


@contextmanager
def _starting(folder: Path) -> Iterator[None]:
    """Within, nobody else starts or ends the server of a folder, from whatever machine.

    Raises
    ------
    InputError
        If another process does for too long.
    """
    with Ownership(folder / "starting").hold(f"{folder}: what starts or ends the database", LOCK_SECONDS):
        yield


def _refuse_elsewhere(folder: Path) -> None:
    """Raise an InputError if a server runs where we cannot reach it: a second one would not know of its trials."""
    endpoint, watchdog = published(folder), watchdogs(folder).moves()
    if endpoint is not None and watchdog is not None and not watchdog.is_here:
        raise InputError(
            f"{folder}: its database runs on {endpoint.node} and is silent here ({endpoint.host}:{endpoint.port}); "
            "use that machine, or stop the launcher there and set database.bind to 0.0.0.0"
        )


def watchdogs(folder: Path) -> Ownership:
    """What is owned by the process that looks after the server of a folder, on its machine, for as long as it runs."""
    return Ownership(folder / "watchdogs")


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
    endpoint = None if config.kind == "external" else published(folder)
    if endpoint is None and config.kind != "external":
        path = folder / "endpoint.json"
        raise DatabaseUnreachable(f"{path}: no such file: no database runs; massmap tune starts it")
    if endpoint is not None and _is_refused(endpoint):
        raise DatabaseUnreachable(f"{endpoint.host}:{endpoint.port}: no MongoDB answers there (connection refused)")
    return _join(config, folder, endpoint, timeout)


def _is_refused(endpoint: Endpoint) -> bool:
    """Whether its node lives and nothing listens there: no reason to wait for it, as for a node that is silent."""
    try:
        socket.create_connection((endpoint.host, endpoint.port), SECONDS_TO_REFUSE).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _join(config: Database, folder: Path, endpoint: Endpoint | None, timeout: float) -> MongoDatabase[dict[str, Any]]:
    where: dict[str, Any]
    if endpoint is None:
        assert config.credentials is not None
        where, shown = {"host": config.uri, **_credentials(config.credentials)}, "database.uri"
    else:
        secret = {**_credentials(folder / "credentials.json"), "authSource": NAME}
        where, shown = {"host": endpoint.host, "port": endpoint.port, **secret}, f"{endpoint.host}:{endpoint.port}"
    milliseconds: Any = int(1000 * timeout)
    limits = dict.fromkeys(("serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS"), milliseconds)
    try:
        # acknowledged means journalled: without it a killed server forgets its last 100 ms
        client: MongoClient[dict[str, Any]] = MongoClient(
            **where, **_encryption(config, folder), **limits, tz_aware=True, journal=True
        )
        opened = client.get_default_database(NAME)
        opened.command("ping")
        opened["studies"].find_one()
    except (PyMongoError, ValueError) as error:
        if isinstance(error, OperationFailure) and not is_transient(error):
            raise InputError(f"{shown}: the database refuses these credentials") from None
        reason = re.split("[,(]", str(error))[0][:100]
        raise DatabaseUnreachable(f"{shown}: no MongoDB answers there ({reason.strip()})") from None
    return opened


def _encryption(config: Database, folder: Path) -> dict[str, Any]:
    if not config.tls:
        return {}
    return {"tls": True} if config.kind == "external" else {"tls": True, "tlsCAFile": str(folder / AUTHORITY)}


def _credentials(path: Path) -> dict[str, Any]:
    user, password = login(path)
    return {"username": user, "password": password}


def _refuse_if_open(config: Database) -> None:
    """Whoever can reach an open server could change our trials, and what is trained from them."""
    encryption: dict[str, Any] = {"tls": True} if config.tls else {}
    try:
        stranger: MongoClient[dict[str, Any]] = MongoClient(config.uri, serverSelectionTimeoutMS=10_000, **encryption)
    except (ConfigurationError, ValueError, OSError) as error:
        raise InputError(f"database.uri = {config.uri}: not an address of a MongoDB ({first_line(error)})") from None
    try:
        stranger.get_default_database(NAME)["studies"].find_one()
    except PyMongoError:
        return
    finally:
        stranger.close()
    raise InputError("database.uri: this server lets anybody in; start it with authentication (--auth)")
