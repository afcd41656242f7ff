#!/usr/bin/env python3
"""Training on one and two ranks of this machine, and what message sizes let expect of 1 to 64 GPUs.

Measured: images a second of one rank, of two that share its batch (strong) and of two that have as large a batch each
(weak), one thread a rank, over gloo. Each rank runs beside as many others as in the measurement it is compared with:
cores share caches and memory, which is no fault of DDP.

On paper: every step sums the gradients over N ranks by a ring, 2 (N - 1) / N times their size through the slowest link
and 2 (N - 1) latencies; none of it hidden behind the backward pass, though DDP hides most. The rates of links and GPUs
are options, their defaults are what vendors print for an A100 node with four GPUs and one HDR card each.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hpc_massmap.config import Config, Model
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.model.unet import UNet
from hpc_massmap.train.ranks import join_ranks
from hpc_massmap.train.trainer import Trainer
from tests.synthetic import write_synthetic_maps

PAPER = {"filters": 32, "kernel": 3, "layers": 4}
PAPER_MAPS = 117_000  # of a training epoch, section 3.2
EPOCHS = 3  # the fastest counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="of one rank (default 8)")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--images-per-second", type=float, default=4_000, help="of one GPU, on paper: an assumption")
    parser.add_argument("--gpus-per-node", type=int, default=4)
    parser.add_argument("--nvlink", type=float, default=300e9, help="bytes a second, one way (NVLink of an A100)")
    parser.add_argument("--network", type=float, default=25e9, help="bytes a second of a GPU's card (HDR, 200 Gbit/s)")
    parser.add_argument("--latency", type=float, default=20e-6, help="seconds of one message")
    parser.add_argument("--batch-on-paper", type=int, default=64, help="maps a GPU (default 64)")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        train(**args.worker)
        return
    measured(args.batch, args.filters)
    on_paper(args)


def measured(batch: int, filters: int) -> None:
    """Print images a second on one and two ranks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.h5"
        write_synthetic_maps(path, regions=20, snapshots=1, projections=8)
        alone = rates(1, 1, path, batch, filters)[0]
        beside = sum(rates(2, 1, path, batch, filters))
        strong = rates(1, 2, path, batch, filters)[0]
        weak = rates(1, 2, path, 2 * batch, filters)[0]
    print(f"one rank {alone:.1f} images/s; two that do not know each other {beside:.1f} together")
    print(f"two ranks, batch of {batch}: {strong:.1f} images/s, {strong / beside:.0%} of the latter")
    print(f"two ranks, batch of {2 * batch}: {weak:.1f} images/s, {weak / beside:.0%}")


def rates(trainings: int, world: int, path: Path, batch: int, filters: int) -> list[float]:
    """Images a second of each of some trainings at once, on `world` ranks each."""
    processes = []
    for _ in range(trainings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            there = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
        asked = json.dumps({"path": str(path), "batch": batch, "filters": filters})
        command = [sys.executable, "-m", "benchmarks.scaling", "--worker", asked]
        for rank in range(world):
            environment = {**os.environ, **there, "RANK": str(rank)}
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    told = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a training failed")
    return [float(words) for words in told if words]


def train(path: str, batch: int, filters: int) -> None:
    """Train on this rank; the first prints the images a second of all."""
    values: dict[str, Any] = {
        "name": "scaling",
        "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}],
        "maps": {"file": Path(path)},
        "model": {"filters": filters},
        "train": {"batch_size": batch, "threads": 1},
    }
    config = Config.model_validate(values)
    with join_ranks(1) as ranks:
        maps = open_maps(config.maps.file)
        rows = split_maps(maps, config.split)
        fitted = fit_normalisation(maps, rows.train, [*config.model.views, *config.model.targets], "linear")
        trainer = Trainer(maps, rows, config, ranks, fitted)
        best = max(trainer.epoch(epoch, lambda *_: None).images_per_second for epoch in range(EPOCHS))
        if ranks.is_first:
            print(best)


def on_paper(args: argparse.Namespace) -> None:
    """Print the efficiency that message sizes allow."""
    size = 4 * sum(weight.numel() for weight in UNet(Model.model_validate(PAPER)).parameters())
    buffers = 4 * sum(buffer.numel() for buffer in UNet(Model.model_validate(PAPER)).buffers())
    step = args.batch_on_paper / args.images_per_second
    print(f"multi3, F=32 K=3 N=4: {size / 2**20:.1f} MiB of gradients, {buffers / 2**20:.2f} MiB of statistics")
    print("| GPUs | ms a step to sum | efficiency | seconds an epoch of 117,000 maps |")
    print("|---|---|---|---|")
    for n in (1, 2, 4, 8, 16, 32, 64):
        link = args.nvlink if n <= args.gpus_per_node else args.network
        summing = 2 * (n - 1) / n * size / link + 2 * (n - 1) * args.latency
        epoch = PAPER_MAPS / (args.batch_on_paper * n) * (step + summing)
        print(f"| {n} | {summing * 1e3:.2f} | {step / (step + summing):.0%} | {epoch:.1f} |")


if __name__ == "__main__":
    main()
