#!/usr/bin/env python3
"""What options of the recipe are worth: bias and scatter of b200 by mass interval, over seeds.

Every variant is the config given but for what its name says, trained for the same number of maps on one thread, and
judged on the test set. A line of JSON is kept for each training, so that an interrupted comparison goes on.
"""

import argparse
import json
import tempfile
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Config, load_config
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.train.loop import fit
from hpc_massmap.train.precision import autocast
from hpc_massmap.train.ranks import CPU, Ranks
from hpc_massmap.train.trained import TrainedModel, load_model

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "recipe": {},
    "log": {"train": {"normalisation": "log"}},
    "augment": {"train": {"augment": True}},
    "ema": {"train": {"ema": 0.99}},
    "cosine": {"train": {"schedule": "cosine", "warmup": 1}},
    "relative": {"train": {"loss": "relative"}},
    "wide": {"model": {"kernel": 5}},
    "deep": {"model": {"layers": 4}},
    "fused": {"train": {"optimiser": "adam_fused"}},
    "large": {"train": {"batch_size": 64, "learning_rate": 4e-3, "late_learning_rate": 6e-4, "warmup": 1}},
}
TARGET = "mass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", help="key=value, of every variant")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="names joined by + are combined")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, read first if they exist")
    args = parser.parse_args()
    base = load_config(args.config, args.overrides)
    maps = open_maps(base.maps.file)
    known = (
        [json.loads(line) for line in args.results.read_text(encoding="utf-8").splitlines()]
        if args.results.exists()
        else []
    )
    done = {(result["variant"], result["seed"]): result for result in known}
    for seed, variant in product(range(args.seeds), args.variants):
        if (variant, seed) not in done:
            done[variant, seed] = train_and_judge(varied(base, variant, seed), maps) | {
                "variant": variant,
                "seed": seed,
            }
            with args.results.open("a", encoding="utf-8") as results:
                results.write(json.dumps(done[variant, seed]) + "\n")
    print(table(base.evaluate.mass_intervals, args.variants, list(done.values())))


def varied(base: Config, variant: str, seed: int) -> Config:
    """The config of one training."""
    data = base.model_dump(mode="json") | {"seed": seed}
    data["train"] |= {"threads": 1, "ranks": 1}
    for name in variant.split("+"):
        for section, values in VARIANTS[name].items():
            data[section] |= values
    return Config.model_validate_json(json.dumps(data))


def train_and_judge(config: Config, maps: MapFile) -> dict[str, Any]:
    """Train one model and compare its predictions of the test set with the truth."""
    torch.set_num_threads(1)
    rows = split_maps(maps, config.split)
    with tempfile.TemporaryDirectory() as folder:
        history = fit(maps, rows, config, Ranks(), Path(folder)).history
        predicted = predictions(load_model(Path(folder)), maps, rows.test)
    true = np.asarray(maps.maps[TARGET][rows.test])
    halo = maps.halo[rows.test]
    r200, mass = maps.halos["r200"][halo], np.log10(maps.halos["m200"][halo])
    b200 = enclosed_mass(predicted, r200)[:, -1] / enclosed_mass(true, r200)[:, -1] - 1
    inside = [(low <= mass) & (mass < high) for low, high in pairwise(config.evaluate.mass_intervals)]
    return {
        "epochs": len(history),
        "images_per_second": float(np.mean([epoch.images_per_second for epoch in history])),
        "pixels": float(np.abs(predicted - true).mean() / true.mean()),
        "bias": [float(np.median(b200[which])) for which in inside],
        "scatter": [half_width(b200[which]) for which in inside],
    }


def predictions(model: TrainedModel, maps: MapFile, rows: IntArray) -> FloatArray:
    """Of the first target, (len(rows), 80, 80) in physical units."""
    views, targets = model.description.views, model.description.targets
    parts = []
    with torch.inference_mode(), autocast(model.precision, CPU):
        for batch in Batches(maps, rows, views, targets, model.normalisation, batch_size=32).in_order():
            parts.append(model.normalisation.invert(model.network(batch.views).float(), targets)[:, 0].numpy())
    return np.concatenate(parts)


def half_width(values: FloatArray) -> float:
    """Half the distance of the 16th and 84th percentile."""
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2


def table(edges: list[float], variants: list[str], results: list[dict[str, Any]]) -> str:
    """Means over seeds and their standard deviations, as Markdown."""
    intervals = [f"{low:g}-{high:g}" for low, high in pairwise(edges)]
    head = ["variant", "seeds", "error of pixels", *(f"{what}, {i}" for i in intervals for what in ("bias", "scatter"))]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for variant in variants:
        own = [result for result in results if result["variant"] == variant]
        cells = [variant, str(len(own)), over_seeds([result["pixels"] for result in own])]
        for n in range(len(intervals)):
            cells += [over_seeds([result[what][n] for result in own], "+") for what in ("bias", "scatter")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def over_seeds(values: list[float], sign: str = "") -> str:
    return f"{np.mean(values):{sign}.3f} ± {np.std(values, ddof=min(1, len(values) - 1)):.3f}"


if __name__ == "__main__":
    main()
