#!/usr/bin/env python3
"""Map quartets (star, SZ, X-ray, mass) loaded a second on one core: ours against a torch DataLoader over h5py.

The file has the paper's size, 146,189 x 4 maps, and is sparse: its pages are empty, but they are read through the page
cache all the same. Both draw random batches of the same rows, which fit into memory and were read once before. Claim:
at least 20,000 quartets a second and core. Memory: of this process alone, beyond what is mapped from the file.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from hpc_massmap.arrays import PIXELS
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.normalisation import Normalisation

NAMES = ["star", "sz", "xray", "mass"]
MAPS = 146_189  # section 2.2
BATCH = 32


class Plain(Dataset[torch.Tensor]):
    """What a plain script has: one map after the other out of h5py, normalised by numpy."""

    def __init__(self, path: Path, rows: int) -> None:
        self.path, self.rows = path, rows
        self.file: Any = None

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> torch.Tensor:
        self.file = self.file or h5py.File(self.path)
        return torch.from_numpy(np.stack([(self.file[f"maps/{name}"][row] - 1.0) / 2.0 for name in NAMES]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="of the file, that are drawn from (default 20,000)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.h5"
        with h5py.File(path, "w") as file:
            for name in NAMES:
                space = h5py.h5s.create_simple((MAPS, PIXELS, PIXELS))
                settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
                group = file.require_group("maps")
                h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, settings)
        mean, std, floor = (dict.fromkeys(NAMES, value) for value in (1.0, 2.0, 0.0))
        normalisation = Normalisation("linear", mean, std, floor)
        batches = Batches(mapped(path), np.arange(args.rows), NAMES[:3], NAMES[3:], normalisation, BATCH)
        for _ in batches.in_order():  # warms the cache
            pass
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ours = rate(len(batch.views) for batch in batches.shuffled(0, 1, None))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"ours: {ours:,.0f} quartets a second on one core; the peak of memory grew by {grown:.0f} MB")
        for workers in (0, 2):
            loader: Any = DataLoader(Plain(path, args.rows // 5), BATCH, shuffle=True, num_workers=workers)
            plain = rate(map(len, loader))
            print(
                f"DataLoader over h5py, {workers} workers: {plain:,.0f} a second; ours is {ours / plain:.1f} times it"
            )


def mapped(path: Path) -> MapFile:
    """The maps alone: an empty file has no halos to check."""
    with h5py.File(path) as file:
        offsets = {name: file[f"maps/{name}"].id.get_offset() for name in NAMES}
    shape = (MAPS, PIXELS, PIXELS)
    maps = {name: np.memmap(path, np.float32, "r", offset, shape) for name, offset in offsets.items()}
    empty: Any = np.zeros(0, int)
    return MapFile(path, dict(maps), {}, {}, empty, empty, np.zeros((0, 3, 3)), {}, [], [], "")


def rate(sizes: Iterable[int]) -> float:
    start = time.perf_counter()
    return sum(sizes) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
