"""One owner at a time, whoever asks from wherever: threads, processes, other hosts, dead and frozen ones."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hpc_massmap.storage import read_json
from hpc_massmap.tune import ownership
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.ownership import Owned, Ownership, OwnershipLost
from tests.cluster.namespace import unavailable
from tests.cluster.test_cluster import processes_of
from tests.patience import wait_until, within
from tests.tune.crew import EPOCHS, small_run

HOLD = """
import sys, time
from pathlib import Path
from hpc_massmap.tune.ownership import Ownership
with Ownership(Path(sys.argv[1])).hold("the owner", 0):
    print("holds", flush=True)
    time.sleep(600)
"""
LAUNCH = """
import sys
from hpc_massmap.cli import run_job
from hpc_massmap.jobs import tune
from hpc_massmap.tune import ownership
ownership.SECONDS_STILL = 6.0
run_job(lambda: tune.main(sys.argv[1:]))
"""

elsewhere = pytest.mark.skipif(unavailable() is not None, reason="no right to make namespaces")


def on(host: str, *command: str, network: bool = True) -> list[str]:
    """The command line that runs a command on another host, by its name; without network, of its own loopback too."""
    own = ["--uts"] if network else ["--uts", "--net"]
    return ["unshare", *own, "sh", "-c", 'hostname "$0" && ip link set lo up 2>/dev/null; exec "$@"', host, *command]


@contextmanager
def held_on(host: str, folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process on another host that holds the ownership."""
    process = subprocess.Popen(on(host, sys.executable, "-c", HOLD, str(folder)), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def end_processes_of(folder: Path) -> None:
    """Kill whatever has a folder on its command line."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if os.fsencode(folder) in file.read_bytes():
                os.kill(int(file.parent.name), signal.SIGKILL)


def test_of_many_at_once_one_holds_it(tmp_path: Path) -> None:
    inside, most, rounds = [0], [0], 25

    def work() -> None:
        for _ in range(rounds):
            with Ownership(tmp_path).hold("the owner", 60):
                inside[0] += 1
                most.append(inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 1 + 4 * rounds
    assert max(most) == 1
    assert len(list(tmp_path.glob("*.json"))) <= ownership.TERMS_KEPT + 1


def test_an_owner_of_this_machine_is_named_at_once_and_its_death_is_known_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    with (
        pytest.raises(Owned, match=rf"^the owner is at work already: process {process.pid} on "),
        Ownership(tmp_path).hold("the owner", 0),
    ):
        pass
    process.kill()
    process.communicate()
    assert Ownership(tmp_path).moves() is None
    with Ownership(tmp_path).hold("the owner", 0) as held:
        held.check()


@elsewhere
def test_an_owner_of_another_host_is_alive_as_long_as_its_counter_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ownership, "SECONDS_STILL", 8.0)
    with held_on("login2", tmp_path) as process:
        with (
            pytest.raises(Owned, match=r"^the owner is at work already: process \d+ on login2$"),
            Ownership(tmp_path).hold("the owner", 0),
        ):
            pass
        process.send_signal(signal.SIGSTOP)
        with Ownership(tmp_path).hold("the owner", 0) as heir:
            process.send_signal(signal.SIGCONT)
            heir.check()  # what thaws does not take it back
    assert "8 s tell whether it is still there" in capsys.readouterr().out


def test_who_was_taken_for_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ownership(tmp_path).hold("the owner", 0) as frozen:
        frozen.check()
        monkeypatch.setattr(ownership, "_machine", lambda: "another")
        monkeypatch.setattr(ownership, "SECONDS_STILL", 0.0)
        with Ownership(tmp_path).hold("the owner", 0), pytest.raises(OwnershipLost, match="has taken over"):
            frozen.check()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x"}', "\x00"])
def test_a_damaged_term_is_taken_for_gone(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "SECONDS_STILL", 0.3)
    (tmp_path / "000001.json").write_text(content)
    with Ownership(tmp_path).hold("the owner", 0) as held:
        held.check()


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Ownership(tmp_path).hold("the owner", 0), pytest.raises(Owned), Ownership(tmp_path).hold("the owner", 0):
        pass


@elsewhere
def test_the_same_command_on_a_second_login_node_starts_nothing(tmp_path: Path) -> None:
    """Neither while the first launcher lives nor when it was killed and its database goes on, out of our reach."""
    run = small_run(tmp_path, workers=1, evaluations=50)
    config = str(tmp_path / "c.yaml")

    def data(node: str) -> str:
        return f"database.data={tmp_path / node}"

    first = subprocess.Popen([sys.executable, "-c", LAUNCH, config, data("login1")], stdout=subprocess.DEVNULL)
    try:
        wait_until((run.database / "endpoint.json").exists, "the database", 60)
        wait_until(lambda: any(d["state"] == 1 for d in open_study(run).documents()), "a trial", 60)
        endpoint, jobs = read_json(run.database / "endpoint.json"), read_json(run.logs / "tune" / "workers.json")

        def second() -> str:
            command = on("login2", sys.executable, "-c", LAUNCH, config, data("login2"), network=False)
            done = subprocess.run(command, capture_output=True, text=True, timeout=within(60), check=False)
            assert done.returncode == 2, done.stdout + done.stderr
            assert read_json(run.database / "endpoint.json") == endpoint
            assert read_json(run.logs / "tune" / "workers.json") == jobs
            return done.stderr.splitlines()[-1]

        assert second().startswith(
            f"error: {run.folder}: the launcher of its study is at work already: process {first.pid} on "
        )
        first.kill()
        first.wait()
        assert second().startswith(f"error: {run.database}: its database runs on {endpoint['node']} and is silent")
        assert not (tmp_path / "login2").exists()
        assert all(len(d["result"].get("history", [])) <= EPOCHS for d in open_study(run).documents("result.history"))
    finally:
        first.kill()
        first.wait()
        end_processes_of(tmp_path)
        wait_until(lambda: not processes_of(tmp_path), "workers, database and watchdog to be gone", 60)
