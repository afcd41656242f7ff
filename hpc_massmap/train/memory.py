"""How much memory a training takes, and which batch fits when there is too little.

When a step does not fit, batches of half the size are tried until one does: seconds, where a person would need a job
for each.
"""

import gc
import resource
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from hpc_massmap.config import Config
from hpc_massmap.errors import InputError
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.rehearsal import rehearsed_step

Result = TypeVar("Result")
KIB, GIB = 2**10, 2**30


class OutOfMemory(InputError):
    """A training step does not fit into memory; the message names a batch size that does."""


def peak_memory(device: torch.device) -> float:
    """The most that this process has held so far, in GiB: on the GPU if it has one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / GIB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is of a failed allocation; torch has no class of its own for one on the CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def within_memory(config: Config, ranks: Ranks, run: Callable[[], Result]) -> Result:
    """Call `run` and return what it returns.

    Raises
    ------
    OutOfMemory
        If it needs more memory than there is; names the largest batch, halved again and again, of which a step fits.
    """
    try:
        return run()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # only here: while the error is handled, its trace keeps the step's maps alive
    batch, share = config.train.batch_size, -(-config.train.batch_size // ranks.world)
    fitting = share // 2
    # alone: the other ranks may be elsewhere
    group = dist.new_group([ranks.rank], use_local_synchronization=True) if ranks.world > 1 else None
    while fitting and not _fits(config, fitting, ranks, group):
        fitting //= 2
    what = f"train.batch_size = {batch}: out of memory on {ranks.device} with {share} maps a rank"
    if not fitting:
        raise OutOfMemory(f"{what}, and one map does not fit either; take a smaller model or a larger device")
    raise OutOfMemory(f"{what}; {fitting} fit: set train.batch_size={fitting * ranks.world}, or train on more ranks")


def _fits(config: Config, n_maps: int, ranks: Ranks, group: dist.ProcessGroup | None) -> bool:
    gc.collect()
    if ranks.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        rehearsed_step(config, n_maps, ranks, group)()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
