"""Every task is done once, on whatever rank is free, and nothing waits for ever when one fails."""

import threading
from collections import Counter
from pathlib import Path

import pytest
from mpi4py import MPI

from hpc_massmap.balance import balanced, own_threads
from tests.conftest import Launch
from tests.patience import within

SHARED = """
import sys, time
from hpc_massmap.balance import balanced
from hpc_massmap.mpi import communicator

def work(task):
    time.sleep(0.3 if task == 0 else 0.01)
    {trouble}
    return comm.rank

def on_done(task, rank):
    done.append((task, rank))
    return {go_on}

done = []
with communicator() as comm:
    balanced(comm, 40, work, 1 + comm.rank, on_done)
    if comm.rank == 0:
        print(sorted(task for task, _ in done) == list(range(40)), len(done), len(set(rank for _, rank in done)))
        print("first", dict(done).get(0), sum(rank == dict(done).get(0) for _, rank in done))
"""


def shared(folder: Path, trouble: str = "", go_on: str = "True") -> Path:
    path = folder / "script.py"
    path.write_text(SHARED.format(trouble=trouble, go_on=go_on))
    return path


def test_every_task_once_and_all_ranks_work(tmp_path: Path, launch: Launch) -> None:
    done = launch(3, shared(tmp_path))
    assert done.stdout.splitlines()[0] == "True 40 3", done.stderr
    done = launch(0, shared(tmp_path))
    assert done.stdout.splitlines()[0] == "True 40 1", done.stderr


def test_no_more_tasks_after_a_no(tmp_path: Path, launch: Launch) -> None:
    done = launch(3, shared(tmp_path, go_on="task != 5"))
    found, number, _ = done.stdout.splitlines()[0].split()
    assert found == "False", done.stderr
    assert 3 <= int(number) < 40


@pytest.mark.parametrize("rank", [0, 2])
def test_a_failing_rank_ends_all(tmp_path: Path, launch: Launch, rank: int) -> None:
    done = launch(3, shared(tmp_path, trouble=f"if comm.rank == {rank}: raise RuntimeError('broken work')"))
    assert done.returncode != 0
    assert "RuntimeError: broken work" in done.stderr


def test_a_failing_report_ends_all(tmp_path: Path, launch: Launch) -> None:
    done = launch(3, shared(tmp_path, go_on="1 / (task - 7)"))
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr


def test_threads_share_the_tasks_of_a_rank() -> None:
    together = threading.Barrier(3, timeout=within(20))
    names: Counter[str] = Counter()

    def work(task: int) -> str:
        if task < 3:
            together.wait()  # passes only if three tasks run at once
        return threading.current_thread().name

    def on_done(task: int, name: str) -> bool:
        names[name] += 1
        return True

    balanced(MPI.COMM_SELF, 30, work, 3, on_done)
    assert (len(names), names.total()) == (3, 30)


def test_a_rank_alone_has_a_thread_for_each_of_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3, 5})
    assert own_threads(MPI.COMM_SELF) == 3
