import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpc_massmap.errors import EXIT_BAD_INPUT, InputError
from hpc_massmap.mpi import communicator, share
from tests.conftest import Launch

START = """
from hpc_massmap.cli import run_job
from hpc_massmap.errors import InputError
from hpc_massmap.mpi import communicator, on_first, together

def main():
    with communicator() as comm:
"""


def script(folder: Path, *body: str) -> Path:
    path = folder / "script.py"
    path.write_text(START + "".join(f"        {line}\n" for line in body) + "run_job(main)\n")
    return path


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(("n", "size"), [(10, 1), (10, 3), (2, 5), (0, 2), (9, 9)])
def test_shares_are_contiguous_even_and_complete(n: int, size: int) -> None:
    def part(rank: int) -> list[int]:
        comm: Any = SimpleNamespace(rank=rank, size=size)
        return list(range(n))[share(n, comm)]

    parts = [part(rank) for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(n))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_an_input_error_on_one_rank_is_one_line_of_all(tmp_path: Path, launch: Launch) -> None:
    done = launch(
        3, script(tmp_path, "with together(comm):", "    if comm.rank == 2:", "        raise InputError('bad pixel')")
    )
    assert done.returncode == EXIT_BAD_INPUT
    assert errors(done) == ["error: bad pixel"]
    assert "Traceback" not in done.stderr


def test_an_input_error_that_one_rank_alone_meets_ends_the_others(tmp_path: Path, launch: Launch) -> None:
    done = launch(2, script(tmp_path, "if comm.rank == 1:", "    raise InputError('disk full')", "comm.barrier()"))
    assert done.returncode == EXIT_BAD_INPUT
    assert errors(done) == ["error: disk full"]
    assert "Traceback" not in done.stderr


def test_any_other_error_ends_all_ranks_with_its_traceback(tmp_path: Path, launch: Launch) -> None:
    done = launch(2, script(tmp_path, "if comm.rank == 1:", "    [][3]", "comm.barrier()"))
    assert done.returncode == 1
    assert "IndexError: list index out of range" in done.stderr


def test_what_the_first_rank_finds_is_known_to_all(tmp_path: Path, launch: Launch) -> None:
    done = launch(
        3,
        script(
            tmp_path,
            "value = on_first(comm, lambda: f'from rank {comm.rank}')",
            "assert comm.gather(value) in (None, ['from rank 0'] * 3)",
        ),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, "srun started 4 worlds of one rank each"),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, "`srun --mpi=pmix`"),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, "mpirun started 2 worlds"),
        ({"PMI_SIZE": "3", "PMI_RANK": "0"}, "mpiexec started 3 worlds"),
    ],
)
def test_worlds_of_one_rank_each_are_refused(
    tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], says: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = launch(0, script(tmp_path, "print('started')"))
    assert done.returncode == EXIT_BAD_INPUT
    assert len(errors(done)) == 1
    assert says in errors(done)[0]
    assert "started\n" not in done.stdout


def test_a_silent_worlds_other_ranks_leave_the_word_to_the_first(
    tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    done = launch(0, script(tmp_path, "print('started')"))
    assert done.returncode == EXIT_BAD_INPUT
    assert (done.stdout, errors(done)) == ("", [])


def test_a_single_process_needs_no_launcher() -> None:
    with communicator() as comm:
        assert (comm.rank, comm.size) == (0, 1)
    with pytest.raises(InputError, match="alone"), communicator():
        raise InputError("alone")
