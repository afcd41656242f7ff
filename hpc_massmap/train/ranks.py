"""The processes that train one model together (DDP): this process' rank, how they meet, and sums over all of them.

The same code serves one process: nothing is then initialised, and every sum is the value itself.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from hpc_massmap.cluster.executor import FIRST_PORT, PORTS
from hpc_massmap.errors import InputError
from hpc_massmap.train.meeting import meet, own_rank

CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among those of its job."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Sums over all ranks, in float64."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return list(map(float, total.tolist()))

    def from_first(self, call: Callable[[], T]) -> T:
        """What `call` returns on the first rank, or the InputError that it raises there; the others do not call it."""
        if self.world == 1:
            return call()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = call()
            except InputError as error:
                told[1] = str(error)
        dist.broadcast_object_list(told)
        value, problem = told
        if problem is not None:
            raise InputError(problem)
        returned: T = value
        return returned

    def sum_tensor(self, value: torch.Tensor) -> torch.Tensor:
        """The same of a tensor of any shape, on its device, without waiting for it; `value` is overwritten."""
        if self.world > 1:
            dist.all_reduce(value)
        return value


@contextmanager
def join_ranks(threads: int, meeting: str | None = None, leaves: Callable[[], bool] = lambda: False) -> Iterator[Ranks]:
    """Join the other ranks as torchrun and submitit describe them (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_*).

    Parameters
    ----------
    meeting : where a store already listens at MASTER_*, the name under which these ranks find each other there
    leaves : whether this rank was told to end, while it waits for the others

    Raises
    ------
    InputError
        If one of them does not come within minutes.
    ToldToLeave
        If this rank was told to end meanwhile.
    """
    rank, world = own_rank()
    torch.set_num_threads(threads)
    device = CPU
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True  # shapes do not change, so that the fastest algorithm is worth finding
    if world == 1:
        yield Ranks(device=device)
        return
    store = meet(rank, world, leaves, meeting)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    yield Ranks(rank, world, device)
    # not after an error: NCCL would wait here for the others, who wait for us; the end of this process ends them
    dist.destroy_process_group()


def is_of_another_rank(error: BaseException) -> bool:
    """Whether a collective broke, which is what a rank sees of another one's end."""
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text))


def rank_of_launcher() -> int | None:
    """This process' rank if torchrun or srun started it as one of several; None if nobody did.

    What torchrun and submitit say of the other ranks is said for srun, too, in the environment.

    Raises
    ------
    InputError
        If srun runs on several nodes whose first is not known, or RANK and WORLD_SIZE are no such numbers.
    """
    world = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if "WORLD_SIZE" not in os.environ and world > 1:
        os.environ["RANK"] = os.environ["SLURM_PROCID"]
        os.environ["WORLD_SIZE"] = str(world)
        os.environ["LOCAL_RANK"] = os.environ["SLURM_LOCALID"]
        # ids of jobs differ, and a port that was taken is left behind by another step
        job, step = int(os.environ["SLURM_JOB_ID"]), int(os.environ["SLURM_STEP_ID"])
        os.environ.setdefault("MASTER_PORT", str(FIRST_PORT + (job + 101 * step) % PORTS))
        if "MASTER_ADDR" not in os.environ:
            os.environ["MASTER_ADDR"] = _first_node()
    return own_rank()[0] if "RANK" in os.environ and "WORLD_SIZE" in os.environ else None


def _first_node() -> str:
    if os.environ.get("SLURM_STEP_NUM_NODES") == "1":
        return "127.0.0.1"  # a host name need not resolve on the machine that bears it
    command = ["scontrol", "show", "hostnames", os.environ["SLURM_STEP_NODELIST"]]
    try:
        names = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    except (OSError, subprocess.SubprocessError):
        raise InputError("no scontrol here to ask for the first node: set MASTER_ADDR to its name") from None
    return names[0]
