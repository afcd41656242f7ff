"""Batches on the device that trains: held there whole where they fit, else gathered a step ahead into pinned memory.

Holding costs memory, 10 bytes a pixel of three views and a target in bf16, and leaves a step nothing to wait for.
Either way the numbers are those of a batch gathered from the file: targets stay in fp32, and views lose in bf16 what
autocast would take from them. On CPUs batches are left as they are. This was written where there was no GPU to run it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from hpc_massmap.arrays import PIXELS, IntArray
from hpc_massmap.dataset.batches import Batch, Batches, moved

SHARE = 0.5  # of the device's free memory that maps may take; the network needs the rest
MAPS_PER_BLOCK = 1024  # gathered at once while the device is filled


def on_device(batches: Batches, device: torch.device, precision: str) -> Batches:
    """The same batches, held on the device if it is a GPU with enough free memory.

    Parameters
    ----------
    precision : of the views there, 'bf16' or 'fp32'
    """
    if device.type != "cuda" or bytes_of(batches, precision) > SHARE * torch.cuda.mem_get_info(device)[0]:
        return batches
    return preloaded(batches, device, precision)


def bytes_of(batches: Batches, precision: str) -> int:
    """Bytes that all maps of these batches take on the device."""
    of_views, of_targets = (
        _dtype(precision).itemsize * len(batches.views),
        torch.float32.itemsize * len(batches.targets),
    )
    return len(np.unique(batches.rows)) * PIXELS**2 * (of_views + of_targets)


def preloaded(batches: Batches, device: torch.device, precision: str) -> Batches:
    """The same batches, taken from normalised maps that the device holds."""
    rows = np.unique(batches.rows)
    shape = (PIXELS, PIXELS)
    views = torch.empty((len(rows), len(batches.views), *shape), dtype=_dtype(precision), device=device)
    targets = torch.empty((len(rows), len(batches.targets), *shape), device=device)
    for start in range(0, len(rows), MAPS_PER_BLOCK):
        part = slice(start, start + MAPS_PER_BLOCK)
        views[part] = batches.gather(rows[part], batches.views).to(device)
        targets[part] = batches.gather(rows[part], batches.targets).to(device)

    def take(wanted: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        at = moved(torch.from_numpy(np.searchsorted(rows, wanted)), device)
        return views.index_select(0, at), targets.index_select(0, at)

    return replace(batches, take=take)


def prefetched(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches on the device, each gathered by a thread while the one before is trained on; on CPUs as they are."""
    if device.type == "cpu":
        yield from batches
        return
    with ThreadPoolExecutor(1, initializer=torch.cuda.set_device, initargs=(device,)) as thread:
        coming = thread.submit(_next, batches)
        while (batch := coming.result()) is not None:
            coming = thread.submit(_next, batches)
            views, targets = (maps.to(device, non_blocking=True) for maps in (batch.views, batch.targets))
            yield replace(batch, views=views, targets=targets)


def _next(batches: Iterator[Batch]) -> Batch | None:
    batch = next(batches, None)
    if batch is None or batch.views.device.type != "cpu":
        return batch
    return replace(batch, views=batch.views.pin_memory(), targets=batch.targets.pin_memory())


def _dtype(precision: str) -> torch.dtype:
    return torch.bfloat16 if precision == "bf16" else torch.float32
