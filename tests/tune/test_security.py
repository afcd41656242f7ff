"""Nobody reads or changes trials who should not: TLS, credentials, foreign servers, images, other nodes' disks."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.errors import PyMongoError

from hpc_massmap.config import Database, load_config
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.storage import read_json
from hpc_massmap.tune import trials
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database import certificates, mongod, server
from hpc_massmap.tune.database import connect as databases
from hpc_massmap.tune.database.connect import DatabaseUnreachable, connect, database
from hpc_massmap.tune.export import export
from hpc_massmap.tune.ownership import Ownership
from tests.patience import wait_until, within
from tests.tune.crew import small_run

EMBEDDED = Database()
MONGOD = server.program(EMBEDDED, Path())[0]


def test_with_tls_nobody_listens_in_and_nobody_poses_as_the_server(tmp_path: Path) -> None:
    config = Database(tls=True)
    with database(config, tmp_path) as opened:
        opened["jobs"].insert_one({"tid": 1})
        at, login = read_json(tmp_path / "endpoint.json"), read_json(tmp_path / "credentials.json")
        who: dict[str, Any] = {"username": login["user"], "password": login["password"], "authSource": "massmap"}
        plain = pymongo.MongoClient[Any](at["host"], at["port"], serverSelectionTimeoutMS=1500, **who)
        with pytest.raises(PyMongoError):
            plain["massmap"]["jobs"].find_one()
        (tmp_path / "other").mkdir()
        certificates.issue(tmp_path / "other", ["localhost"])
        shutil.copy(tmp_path / "ca.pem", tmp_path / "ours.pem")
        shutil.copy(tmp_path / "other" / "ca.pem", tmp_path / "ca.pem")
        with pytest.raises(DatabaseUnreachable):
            connect(config, tmp_path, timeout=within(1.5))
        shutil.copy(tmp_path / "ours.pem", tmp_path / "ca.pem")
        connect(config, tmp_path)
        for secret in ("ca.key", "server.pem", "credentials.json"):
            assert stat.S_IMODE((tmp_path / secret).stat().st_mode) == 0o600
    with database(config, tmp_path) as opened:  # on another node the server's certificate is another, ours is not
        assert opened["jobs"].find_one({"tid": 1})


def test_the_password_is_in_one_file_and_nowhere_else(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    with database(run.config.database, run.database):
        study = open_study(run)
        study.create(1, {})
        trial = trials.claim(study, {"id": "a", "host": "h", "pid": 1, "slurm_job": None, "ranks": 1, "gpus": 0}, "o")
        assert trial is not None
        trials.finish(study, trial, [0.5], [1.0])
        export(study, run.trials_export)
        password = read_json(run.database / "credentials.json")["password"].encode()
        holding = [f for f in tmp_path.rglob("*") if f.is_file() and password in f.read_bytes()]
        processes = [f for name in ("cmdline", "environ") for f in Path("/proc").glob(f"[0-9]*/{name}")]
        telling = [f for f in processes if password in _bytes(f)]
    assert holding == [run.database / "credentials.json"]
    assert telling == []
    assert stat.S_IMODE(run.database.stat().st_mode) == 0o700


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextmanager
def foreign_server(folder: Path, *options: str) -> Iterator[int]:
    """Somebody's mongod, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(exist_ok=True)
    command = [MONGOD, f"--dbpath={folder}", f"--port={port}", "--bind_ip=127.0.0.1", "--nounixsocket"]
    process = subprocess.Popen([*command, f"--logpath={folder}/log", *options], stdout=subprocess.DEVNULL)
    try:
        client = pymongo.MongoClient[Any]("127.0.0.1", port, serverSelectionTimeoutMS=20_000)
        client.admin.command("ping")
        client.close()
        yield port
    finally:
        process.terminate()
        process.wait()


def test_somebody_s_server_is_joined_with_credentials_from_a_private_file(tmp_path: Path) -> None:
    secret = tmp_path / "mine.json"
    secret.write_text(json.dumps({"user": "ann", "password": "s3cret/@:"}))
    secret.chmod(0o600)
    with foreign_server(tmp_path / "data") as port:
        config = Database(kind="external", uri=f"mongodb://127.0.0.1:{port}/massmap", credentials=secret)
        with pytest.raises(InputError, match=r"database\.uri: this server lets anybody in; start it with auth"):
            databases.ensure(config, tmp_path)
        client = pymongo.MongoClient[Any]("127.0.0.1", port)
        client["massmap"].command("createUser", "ann", pwd="s3cret/@:", roles=["readWrite"])
    with foreign_server(tmp_path / "data", "--auth") as port:
        config = Database(kind="external", uri=f"mongodb://127.0.0.1:{port}/massmap", credentials=secret)
        with database(config, tmp_path) as opened:
            opened["jobs"].insert_one({"tid": 1})
        secret.write_text(json.dumps({"user": "ann", "password": "guess"}))
        with pytest.raises(InputError, match=r"database\.uri: the database refuses these credentials"):
            connect(config, tmp_path)
        secret.chmod(0o644)
        with pytest.raises(InputError, match=f"others can read this password: chmod 600 {secret}"):
            connect(config, tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("{kind: external, uri: 'mongodb://ann:s3cret@host/x', credentials: c}", r"no user and password in here"),
        ("{kind: external, uri: 'mongodb://host/x'}", r"`credentials` belongs to kind: external, and kind: external"),
        ("{kind: embedded, image: m.sif}", r"`image` belongs to kind: mongod"),
    ],
)
def test_a_config_that_would_give_a_password_away_or_go_without(tmp_path: Path, keys: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"name: x\nsimulations: [{{name: s, folder: f, snapshots: [1]}}]\ndatabase: {keys}\n")
    with pytest.raises(InputError, match=message) as told:
        load_config(path)
    assert "s3cret" not in str(told.value)


APPTAINER = """#!{python}
# A stand-in for Apptainer, which cannot run here: notes what it is asked and runs the program as a child.
import pathlib, subprocess, sys
pathlib.Path({notes!r}).write_text("\\n".join(sys.argv[1:]))
options = [word for word in sys.argv[1:] if word.startswith("--bind=")]
assert sys.argv[1] == "exec" and sys.argv[2 + len(options)].endswith("mongo.sif"), sys.argv
assert sys.argv[3 + len(options)] == "mongod"
sys.exit(subprocess.call([{mongod!r}, *sys.argv[4 + len(options):]]))
"""


def test_a_mongod_in_an_image_is_the_one_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_folder, image, notes = tmp_path / "bin", tmp_path / "mongo.sif", tmp_path / "notes"
    bin_folder.mkdir()
    image.touch()
    config = Database(kind="mongod", image=image)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    with pytest.raises(InputError, match=r"database\.image: neither apptainer nor singularity is on PATH"):
        server.program(config, tmp_path)
    (bin_folder / "apptainer").write_text(APPTAINER.format(python=sys.executable, notes=str(notes), mongod=MONGOD))
    (bin_folder / "apptainer").chmod(0o755)
    with pytest.raises(InputError, match=r"no such file; apptainer pull makes one"):
        server.program(Database(kind="mongod", image=tmp_path / "none.sif"), tmp_path)
    with database(config, tmp_path / "run" / "database") as opened:
        opened["jobs"].insert_one({"tid": 1})
        pid = read_json(tmp_path / "run" / "database" / "endpoint.json")["pid"]
        assert Path(f"/proc/{pid}/exe").resolve() == Path(MONGOD).resolve()
        assert "--auth" in notes.read_text()
    wait_until(lambda: not Path(f"/proc/{pid}/cmdline").exists(), "mongod to end", 10)


SLOW_CHILD = """
import os, signal, sys, time
pid = os.fork()
signal.signal(signal.SIGTERM, signal.SIG_DFL if pid else lambda *_: (time.sleep(1), sys.exit()))
open(sys.argv[-1], "w").write("ready") if not pid else None
time.sleep(60)
"""


def test_a_mongod_that_outlives_its_runtime_is_waited_for(tmp_path: Path) -> None:
    """Else the next mongod finds the data locked."""
    ready, data = tmp_path / "ready", tmp_path / "data"
    command = [sys.executable, "-c", SLOW_CHILD, f"--dbpath={data}", str(ready)]
    process = subprocess.Popen(command, start_new_session=True)
    wait_until(lambda: ready.exists() and ready.read_text() == "ready", "the child to be ready", 20)
    mongod.end(process, data)
    assert not any(mongod.serves(int(entry.name), data) for entry in Path("/proc").glob("[0-9]*"))


def test_data_on_a_node_s_own_disk_are_a_run_s_own_and_may_be_lost(tmp_path: Path) -> None:
    config = Database(data=tmp_path / "disk")
    folders = [tmp_path / name / "database" for name in ("a", "b")]
    for folder in folders:
        with database(config, folder) as opened:
            opened["jobs"].insert_one({"of": folder.parent.name})
    data = sorted((tmp_path / "disk").iterdir())
    assert [path.name[:2] for path in data] == ["a-", "b-"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in data)
    password = read_json(folders[0] / "credentials.json")
    shutil.rmtree(tmp_path / "disk")  # the job went on, on another node
    with database(config, folders[0]) as opened:
        assert opened["jobs"].count_documents({}) == 0
    assert read_json(folders[0] / "credentials.json") == password


def test_a_start_that_was_interrupted_anywhere_is_made_good(tmp_path: Path) -> None:
    with database(EMBEDDED, tmp_path) as opened:
        opened["jobs"].insert_one({"tid": 1})
    (tmp_path / "data" / server.HAS_USER).unlink()  # killed before the user was known to exist
    with database(EMBEDDED, tmp_path) as opened:
        opened["jobs"].insert_one({"tid": 1})
    (tmp_path / "credentials.json").write_text(json.dumps({"user": "massmap", "password": "early"}))
    shutil.rmtree(tmp_path / "data")  # killed after the credentials, before the data
    with database(EMBEDDED, tmp_path) as opened:
        opened.command("ping")


def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(EMBEDDED, tmp_path):
        os.rename(tmp_path / "endpoint.json", tmp_path / "hidden.json")  # as if on a node that we cannot see
        monkeypatch.setattr(server, "pid_of", lambda _: None)
        with pytest.raises(InputError, match=r"mongod does not start: .*(lock|already running).*; its log is"):
            databases.ensure(EMBEDDED, tmp_path)
        os.rename(tmp_path / "hidden.json", tmp_path / "endpoint.json")
    monkeypatch.setattr(databases, "LOCK_SECONDS", 0.2)
    other, who = (
        Ownership(tmp_path / "starting"),
        rf"what starts or ends the database is at work already: process {os.getpid()} on ",
    )
    with other.hold("the other", 0), pytest.raises(InputError, match=who):
        databases.ensure(EMBEDDED, tmp_path)


def test_workers_use_tls_too(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    config = run.config.model_copy(update={"database": Database(tls=True)})
    with database(config.database, run.database):
        open_study(Run(config, run.folder)).create(1, {})
