"""What the whole paper will cost, before anything is submitted: measured on a few steps of a few networks.

Draws networks from the search space and trains each for some steps on made-up maps, on the device of this process: run
it where the trainings will run. For a site with GPUs, asked where there is none, the paper's own rate stands in. Costs
are upper bounds: every trial to its last epoch, nothing ended early.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hpc_massmap.arrays import PIXELS
from hpc_massmap.cluster.site import Site
from hpc_massmap.config import HYPERPARAMETERS, Config, IntegerRange, Split, load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.model.cost import Cost, cost_of
from hpc_massmap.posterior.kinds import network_of
from hpc_massmap.run import Run
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.rehearsal import rehearsed_step

DRAWS, STEPS = 3, 2  # networks of each model, and steps of each
HALOS = 2518 + 2523  # of the paper's two samples (section 2.1), where there are no maps yet
VIEWS = 4  # kinds of maps in a map file
SECONDS_PER_HALO = 7.4  # one core, 29 views of 5e5 particles: benchmarks/maps_at_scale.py
LINES_OF_SIGHT = 29  # in that measurement
PAPER_EPOCH = 120.0  # seconds of an A100 (section 3.2)
PRUNED = (0.20, 0.36)  # the share of epochs that pruned studies trained: benchmarks/pruning.py
HOUR, GIB = 3600.0, 2**30
BYTES = 4  # of a pixel or a weight in a file


@dataclass(frozen=True)
class Rate:
    """Means over networks drawn from a model's search space: the time of a map's step, and what `cost_of` counts."""

    seconds_per_map: float
    weights: float
    flops: float
    kept: float

    @property
    def counted(self) -> str:
        return (
            f"{self.weights / 1e6:,.2f} million parameters, {self.flops / 1e9:,.2f} x 10^9 operations and "
            f"{self.kept:,.0f} MiB a map"
        )


def estimate(base: Config, paths: dict[str, Path], site: Site | None = None, tune: bool = True) -> str:
    """Hours of GPUs or CPU processes, of nodes where a site says how many share one, and disk, as text."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measured = device.type == "cuda" or site is None or site.gpus_per_task == 0
    n_halos, n_maps, source = _sizes(base)
    n_train, n_test = n_maps * base.split.train, n_maps * (1 - base.split.train - base.split.validation)
    rate_of = f"{device} with {base.train.threads} threads" if measured else "the paper's A100: there is no GPU here"
    lines = [f"{n_maps:,} maps of each kind, {source}; rates of {rate_of}"]
    rates: dict[tuple[str, ...], Rate] = {}
    total_hours, disk = 0.0, n_maps * VIEWS * PIXELS**2 * BYTES / GIB
    for model, path in paths.items():
        config = load_config(path)
        key = (
            *config.model.views,
            "|",
            *config.model.targets,
            config.model.encoders,
            config.model.output,
            config.model.network,
        )
        if key not in rates:
            rates[key] = measure(config, device if measured else None)
        rate = rates[key]
        of_study = _trial_epochs(config) * _maps_per_epoch(config, n_train, trial=True) * rate.seconds_per_map / HOUR
        is_tuned = tune and config.tuned_by is None
        if not is_tuned:
            of_study = 0.0
        final = config.train.epochs * _maps_per_epoch(config, n_train, trial=False) * rate.seconds_per_map / HOUR
        kept = (config.tune.evaluations if is_tuned else 0) + 4  # best of trials; last, best, optimiser
        disk += (kept * rate.weights + n_test * len(config.model.targets) * PIXELS**2) * BYTES / GIB
        total_hours += of_study + final
        pruned = ""
        if config.tune.pruning is not None and of_study:
            pruned = f" (pruned: {_said(PRUNED[0] * of_study)} to {_said(PRUNED[1] * of_study)})"
        lines.append(
            f"  {model}: {1 / rate.seconds_per_map:,.0f} maps/s; study {_said(of_study)}{pruned}, final {_said(final)}"
            f"; {rate.counted}"
        )
    who = "one process on CPUs" if measured and device.type == "cpu" else "one GPU"
    cores = n_halos * SECONDS_PER_HALO * base.maps.lines_of_sight / LINES_OF_SIGHT / HOUR
    lines += [
        f"trainings: at most {_said(total_hours)} of {who}, less what early stopping ends",
        *_of_nodes(total_hours, base, site),
        f"maps: {_said(cores)} of a core at 5e5 particles a halo",
        f"disk: {disk:,.1f} GiB, of which maps {n_maps * VIEWS * PIXELS**2 * BYTES / GIB:,.1f}",
    ]
    return "\n".join(lines)


def _said(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 or hours == 0 else f"{60 * hours:,.1f} min"


def _of_nodes(hours: float, base: Config, site: Site | None) -> list[str]:
    if site is None:
        return []
    per_node = site.tasks_per_node or -(-base.train.ranks // site.nodes)
    return [f"  that is {_said(hours / per_node)} of a node with {per_node} at once"]


def measure(config: Config, device: torch.device | None) -> Rate:
    """Means over networks drawn from the search space; no device: the paper's seconds."""
    stream = np.random.default_rng(config.seed)
    space = config.space
    seconds, costs = [], list[Cost]()
    for _ in range(DRAWS):
        drawn = {
            name: int(stream.integers(bounds.low, bounds.high, endpoint=True))
            if isinstance(bounds := getattr(space, name), IntegerRange)
            else float(stream.uniform(bounds.low, bounds.high))
            for name in HYPERPARAMETERS
        }
        one = config.with_values("model", **drawn)
        seconds.append(_seconds_per_map(one, device) if device else paper_seconds_per_map())
        with torch.device("meta"):  # nowhere
            costs.append(cost_of(network_of(one.model), one.model))
    weights, flops, kept = np.mean([(cost.parameters, cost.flops, cost.kept) for cost in costs], axis=0).tolist()
    return Rate(float(np.mean(seconds)), weights, flops, kept)


def paper_seconds_per_map() -> float:
    """Seconds a map of one of the paper's trainings, on four fifths of its maps (section 3.2)."""
    return PAPER_EPOCH / (Split().train * HALOS * LINES_OF_SIGHT)


def _seconds_per_map(config: Config, device: torch.device) -> float:
    train = config.train
    torch.set_num_threads(train.threads)
    step = rehearsed_step(config, train.batch_size, Ranks(device=device))
    step()  # warms up
    start = _now(device)
    for _ in range(STEPS):
        step()
    return (_now(device) - start) / STEPS / train.batch_size


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _sizes(base: Config) -> tuple[int, int, str]:
    """Halos, maps of each kind, and where these numbers are from."""
    path = Run(base, base.runs / base.name).maps
    if path.exists():
        maps = open_maps(path)
        return len(maps.halos["m200"]), len(maps), f"in {path}"
    return HALOS, HALOS * base.maps.lines_of_sight, f"as many as the paper has, for want of {path}"


def _trial_epochs(config: Config) -> int:
    return config.tune.evaluations * (config.tune.epochs or config.train.epochs)


def _maps_per_epoch(config: Config, n_train: float, trial: bool) -> float:
    some = (config.tune.maps_per_epoch if trial else None) or config.train.maps_per_epoch
    return min(some or n_train, n_train)
