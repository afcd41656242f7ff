"""How much memory a training takes, and what to do when there is too little.

When a step does not fit, smaller ones are tried, each half as large: seconds, where a person would need a job for each.
"""

import gc
import resource
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from hpc_massmap.arrays import PIXELS
from hpc_massmap.config import Config
from hpc_massmap.errors import InputError
from hpc_massmap.model.unet import UNet
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.recipe import optimiser_of
from hpc_massmap.train.trainer import autocast

Result = TypeVar("Result")
KIB, GIB = 2**10, 2**30


class OutOfMemory(InputError):
    """A step of the training does not fit; says what would."""


def peak_memory(device: torch.device) -> float:
    """The most that this process has held so far, in GiB: on the GPU if it has one, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / GIB


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; torch has no class of its own for one on the CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def within_memory(config: Config, ranks: Ranks, run: Callable[[], Result]) -> Result:
    """What `run` gives.

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
    while fitting and not _fits(config, fitting, ranks.device):
        fitting //= 2
    what = f"train.batch_size = {batch}: out of memory on {ranks.device} with {share} maps a rank"
    if not fitting:
        raise OutOfMemory(f"{what}, and one map does not fit either; take a smaller model or a larger device")
    raise OutOfMemory(f"{what}; {fitting} fit: set train.batch_size={fitting * ranks.world}, or train on more ranks")


def _fits(config: Config, n_maps: int, device: torch.device) -> bool:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        _step(config, n_maps, device)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _step(config: Config, n_maps: int, device: torch.device) -> None:
    """A step as the training's, without other ranks: they may be elsewhere."""
    model = UNet(config.model).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = optimiser_of(config.train, model.parameters())
    views = torch.zeros(n_maps, len(config.model.views), PIXELS, PIXELS, device=device)
    targets = torch.zeros(n_maps, len(config.model.targets), PIXELS, PIXELS, device=device)
    with autocast(config.train.precision, device):
        predicted = model(views.to(memory_format=torch.channels_last))
    torch.autograd.backward(nn.functional.l1_loss(predicted.float(), targets))
    optimiser.step()
