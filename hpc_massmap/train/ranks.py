"""The processes that train one model together: who am I, who are the others, and sums over all.

The same code for one process: without a world nothing is initialised and every sum is the identity.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

CPU = torch.device("cpu")


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

    def sum_tensor(self, value: torch.Tensor) -> torch.Tensor:
        """The same, on the device and without waiting for it; `value` is overwritten."""
        if self.world > 1:
            dist.all_reduce(value)
        return value


@contextmanager
def join_ranks(threads: int, meeting: str | None = None) -> Iterator[Ranks]:
    """Join the other ranks as torchrun and submitit describe them (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_*).

    Parameters
    ----------
    meeting : where a store already listens at MASTER_*, the name under which these ranks find each other there
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(threads)
    device = CPU
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    if world == 1:
        yield Ranks(device=device)
        return
    store = None
    if meeting is not None:
        store = PrefixStore(meeting, TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), world, False))
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    try:
        yield Ranks(rank, world, device)
    finally:
        dist.destroy_process_group()
