#!/usr/bin/env python3
"""Best validation loss of the fast path (bf16, channels last, maps convolved apart) and of the plain one, by seed.

Both see the same maps in the same order and begin with the same weights. Claim: the ranges over the seeds overlap. The
maps are made up (tests/synthetic.py), or those of a map file.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.train.ranks import Ranks, join_ranks
from hpc_massmap.train.trainer import Trainer
from tests.model.plain import PlainUNet
from tests.synthetic import write_synthetic_maps

PATHS = {"plain": "fp32", "fast": "bf16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=Path, help="a map file (default: 200 made-up maps)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--filters", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, join_ranks(args.threads) as ranks:
        path = args.maps or Path(folder) / "maps.h5"
        if not args.maps:
            write_synthetic_maps(path, regions=50, snapshots=1, projections=4)
        values: dict[str, Any] = {
            "name": "same_result",
            "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}],
            "maps": {"file": path},
            "model": {"filters": args.filters, "layers": 3},
            "train": {"epochs": args.epochs, "batch_size": 16, "learning_rate": 1e-3, "threads": args.threads},
        }
        found: dict[str, list[float]] = {name: [] for name in PATHS}
        for seed in range(args.seeds):
            for name in PATHS:
                found[name].append(best_loss(values, seed, name, ranks))
                print(f"{name}, seed {seed}: {found[name][-1]:.5f}", flush=True)
    (low, high), (lowest, highest) = ((min(losses), max(losses)) for losses in found.values())
    overlap = "overlap" if low <= highest and lowest <= high else "DO NOT overlap"
    print(f"plain {low:.5f} to {high:.5f}, fast {lowest:.5f} to {highest:.5f}: they {overlap}")


def best_loss(values: dict[str, Any], seed: int, name: str, ranks: Ranks) -> float:
    """Train one way; the lowest validation loss of all epochs."""
    train = {**values["train"], "precision": PATHS[name]}
    config = Config.model_validate({**values, "seed": seed, "train": train})
    maps = open_maps(config.maps.file)
    rows = split_maps(maps, config.split)
    normalisation = fit_normalisation(maps, rows.train, [*config.model.views, *config.model.targets], "linear")
    trainer = Trainer(maps, rows, config, ranks, normalisation)
    if name == "plain":
        trainer.learner.model.__class__ = PlainUNet
        trainer.learner.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return min(trainer.epoch(epoch, lambda *_: None).validation_loss for epoch in range(config.train.epochs))


if __name__ == "__main__":
    main()
