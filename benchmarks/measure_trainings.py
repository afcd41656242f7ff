#!/usr/bin/env python3
"""Train small U-Nets all over the space of table 3 and keep their loss curves for the benchmarks of the tuning.

Wrote `trainings.json`: real trainings on the maps of configs/demo.yaml, on one core, at a budget that one core bears.
Points are the dearest corner of the space, then a Sobol sequence over all of it without what would take too long (many
filters with large kernels, 40%): `surrogate.py` has to reach over that gap to the corner.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import qmc

from hpc_massmap.config import Space, load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import Rows, split_maps
from hpc_massmap.storage import write_text
from hpc_massmap.train.loop import fit
from hpc_massmap.train.ranks import Ranks

TRAININGS = Path(__file__).parent / "trainings.json"
BUDGET = {"epochs": 12, "maps_per_epoch": 96, "batch_size": 8, "learning_rate": 2e-3, "late_after": 100, "patience": 12}
VALIDATION_MAPS = 96
SLOWEST = 0.020  # seconds an image and step: what is slower is left out


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, help="map file of `python jobs/make_maps.py configs/demo.yaml`")
    parser.add_argument("--seconds", type=float, default=660, help="add points to the file for that long (default 660)")
    parser.add_argument("--output", type=Path, default=TRAININGS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    base = load_config(Path("configs/demo.yaml"), ["model.encoders=one"])
    base = base.with_values("train", ranks=1, **BUDGET)
    maps = open_maps(args.maps, [*base.model.views, *base.model.targets])
    rows = split_maps(maps, base.split)
    few = np.linspace(0, len(rows.validation) - 1, VALIDATION_MAPS).round().astype(int)
    rows = Rows(rows.train, rows.validation[few], rows.test)
    trainings: list[dict[str, Any]] = (
        json.loads(args.output.read_text(encoding="utf-8"))["trainings"] if args.output.exists() else []
    )
    start = time.perf_counter()
    for values in itertools.islice(points(Space(), seed=0), len(trainings), None):
        if time.perf_counter() - start > args.seconds:
            break
        with tempfile.TemporaryDirectory() as folder:
            history = fit(maps, rows, base.with_values("model", **values), Ranks(), Path(folder)).history
        losses = [round(epoch.validation_loss, 5) for epoch in history]
        seconds = round(float(np.median([epoch.seconds for epoch in history])), 3)
        trainings.append({**values, "losses": losses, "seconds": seconds})
        print(f"{time.perf_counter() - start:6.1f} s  {trainings[-1]}", flush=True)
        lines = ",\n".join(f"  {json.dumps(training)}" for training in trainings)
        how = json.dumps({"encoders": "one", "validation_maps": VALIDATION_MAPS, **BUDGET})
        write_text(args.output, f'{{"how": {how},\n"trainings": [\n{lines}\n]}}\n')


def points(space: Space, seed: int) -> Iterator[dict[str, float | int]]:
    """Hyperparameters all over the space, without the slowest except the very slowest."""
    yield {"filters": space.filters.high, "kernel": space.kernel.high, "layers": space.layers.high, "dropout": 0.25}
    sobol = qmc.Sobol(4, seed=seed)
    while True:
        (u,) = sobol.random(1)
        filters, kernel, layers = (
            int(bounds.low + part * (bounds.high + 1 - bounds.low))
            for part, bounds in zip(u, (space.filters, space.kernel, space.layers), strict=False)
        )
        dropout = space.dropout.low + u[3] * (space.dropout.high - space.dropout.low)
        if seconds_an_image(filters, kernel, layers) <= SLOWEST:
            yield {"filters": filters, "kernel": kernel, "layers": layers, "dropout": round(float(dropout), 3)}


def seconds_an_image(filters: int, kernel: int, layers: int) -> float:
    """A power law through seven timed trainings of one core."""
    return float(0.0178 * (filters / 16) ** 0.93 * (kernel / 3) ** 0.61 * (layers / 4) ** 0.37)


if __name__ == "__main__":
    main()
