"""Ranks that are missing are said within seconds, waited for within bounds, and not at all by who is told to leave."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.train import meeting
from hpc_massmap.train.meeting import ToldToLeave, meet, own_rank
from hpc_massmap.train.ranks import rank_of_launcher
from tests.patience import within
from tests.synthetic import write_synthetic_maps
from tests.test_jobs import CONFIG


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free))
    return free


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_that_never_come(
    port: int, rank: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meeting, "SECONDS_TO_SAY", 0.2)
    monkeypatch.setattr(meeting, "SECONDS_TO_MEET", 0.8)
    who = f"rank {1 - rank} of 2"
    with pytest.raises(InputError, match=rf"^{who} did not come to 127\.0\.0\.1:{port} in 1 s; .* unset RANK and"):
        meet(rank, 2)
    assert f"rank {rank} waits at 127.0.0.1:{port} for {who}, as RANK and WORLD_SIZE tell" in capsys.readouterr().out


def test_who_is_told_to_leave_does_not_wait(port: int) -> None:
    with pytest.raises(ToldToLeave):
        meet(0, 2, leaves=lambda: True)


def test_they_meet_and_listen_nowhere_else(port: int) -> None:
    found = {}
    ranks = [
        threading.Thread(target=lambda rank=rank: found.update({rank: meet(rank, 3, about=f"I am {rank}")}))
        for rank in range(3)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [store.get("here/2") for store in found.values()] == [b"I am 2"] * 3
    wanted = f"0100007F:{port:04X}"
    listening = [row.split()[1] for row in Path("/proc/net/tcp").read_text().splitlines()[1:] if row.split()[3] == "0A"]
    everywhere = [row.split()[1] for row in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    assert wanted in listening
    assert not [
        address for address in [*listening, *everywhere] if address.endswith(f":{port:04X}") and address != wanted
    ]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MASTER_PORT": "here"}, r"^MASTER_PORT = here: must be a whole number$"),
        ({"MASTER_PORT": "99999"}, r"^MASTER_PORT = 99999: must be from 1 to 65535$"),
        ({"RANK": "first"}, r"^RANK = first: must be a whole number$"),
        ({"RANK": "2"}, r"^RANK = 2, WORLD_SIZE = 2: must be a rank below the size; unset both for one process$"),
        ({"WORLD_SIZE": "0"}, r"^RANK = 0, WORLD_SIZE = 0: must be a rank below"),
    ],
)
def test_variables_that_tell_no_rank(variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message):
        meet(*own_rank())
    if "MASTER_PORT" not in variables:
        with pytest.raises(InputError, match=message):
            rank_of_launcher()


def test_a_port_that_is_taken(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)), pytest.raises(InputError, match=rf"^MASTER_PORT = {port}: cannot"):
        meet(0, 2)


def test_a_training_whose_other_rank_nobody_started_obeys_a_term(port: int, tmp_path: Path) -> None:
    """RANK and WORLD_SIZE left over in a shell."""
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=2)
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    shell = {**os.environ, "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    training = subprocess.Popen(
        [sys.executable, "-u", "jobs/train.py", str(config)], env=shell, stdout=subprocess.PIPE, text=True
    )
    assert training.stdout
    assert f"rank 0 waits at 127.0.0.1:{port} for rank 1 of 2" in training.stdout.readline()
    training.send_signal(signal.SIGTERM)
    assert training.wait(within(60)) == 75
