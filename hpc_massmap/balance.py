"""Tasks handed out one by one to the threads of all ranks, so that a slow task delays nobody.

Rank 0 keeps the list and answers the others from a thread of its own, beside the threads that work: no rank is spent
on it. An answer takes a few milliseconds, so a task should take much longer.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpi4py import MPI

TAG = 29
POLL_SECONDS = 0.005

Report = tuple[int, Any]  # a task and what its work returned


def balanced(
    comm: "MPI.Intracomm", tasks: int, work: Callable[[int], Any], threads: int, on_done: Callable[[int, Any], bool]
) -> None:
    """Call `work` with every number below `tasks`, once, in this order, somewhere. To be called by all ranks.

    Parameters
    ----------
    work : must leave no trace in this process that others need: only what it returns reaches rank 0
    threads : of this rank
    on_done : called on rank 0 with a task and what its work returned; if False, no more tasks are handed out
    """
    lock, ended = Lock(), Event()
    numbers = iter(range(tasks))
    problems: list[BaseException] = []

    def hand_out(report: Report | None) -> int | None:
        with lock:
            try:
                if report is not None and not on_done(*report):
                    ended.set()
            except BaseException as problem:  # in the thread that answers the others nobody would see it
                problems.append(problem)
                ended.set()
            return None if ended.is_set() else next(numbers, None)

    def ask(report: Report | None) -> int | None:
        with lock:  # an answer is of the question before it
            comm.send(report, dest=0, tag=TAG)
            answer: int | None = comm.recv(source=0, tag=TAG)
            return answer

    everywhere = comm.allgather(threads)
    if comm.rank == 0 and comm.size > 1:
        Thread(target=_answer, args=(comm, hand_out, sum(everywhere[1:])), daemon=True).start()
    _work(hand_out if comm.rank == 0 else ask, work, threads, ended)
    if problems:
        raise problems[0]
    comm.barrier()


def _work(ask: Callable[[Report | None], int | None], work: Callable[[int], Any], threads: int, ended: Event) -> None:
    def thread() -> None:
        report = None
        try:
            while (task := ask(report)) is not None and not ended.is_set():
                report = (task, work(task))
        except BaseException:
            ended.set()  # for the other threads of this rank
            raise

    with ThreadPoolExecutor(threads) as pool:
        try:
            for future in [pool.submit(thread) for _ in range(threads)]:
                future.result()
        finally:
            ended.set()


def _answer(comm: "MPI.Intracomm", hand_out: Callable[[Report | None], int | None], asking: int) -> None:
    from mpi4py import MPI

    status = MPI.Status()
    while asking:
        if not comm.iprobe(source=MPI.ANY_SOURCE, tag=TAG, status=status):
            time.sleep(POLL_SECONDS)  # a blocking receive would keep a core busy
            continue
        source = status.Get_source()
        task = hand_out(comm.recv(source=source, tag=TAG))
        comm.send(task, dest=source, tag=TAG)
        asking -= task is None


def own_threads(comm: "MPI.Intracomm") -> int:
    """As many threads as this rank has CPUs, those that it shares with other ranks of its node counted in parts."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    cpus = os.sched_getaffinity(0)
    others = node.allgather(cpus)
    node.Free()
    return max(1, int(sum(1 / sum(cpu in other for other in others) for cpu in cpus) + 1e-9))
