#!/usr/bin/env python3
"""What options of the recipe are worth: error of pixels and of b200 over seeds, each beside the first variant's.

Every variant is the config given but for what its name says, trained on the same number of maps on one thread. What is
printed is of the validation regions, on which a variant may be chosen; `--judge` prints the test regions, once that is
done. A line of JSON is kept for each training, so that an interrupted comparison goes on.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from itertools import product
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
from hpc_massmap.diagnostics.bootstrap import half_width
from hpc_massmap.model.symmetries import OverSymmetries
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
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="names joined by + are combined")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, read first if they exist")
    parser.add_argument("--judge", action="store_true", help="print the test regions, on which nothing may be chosen")
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
            found = train_and_judge(varied(base, variant, seed), maps)
            done[variant, seed] = {"variant": variant, "seed": seed} | found
            with args.results.open("a", encoding="utf-8") as results:
                results.write(json.dumps(done[variant, seed]) + "\n")
    own = [done[variant, seed] for variant in args.variants for seed in range(args.seeds)]
    print(table(args.variants, own, "test" if args.judge else "validation"))


def varied(base: Config, variant: str, seed: int) -> Config:
    """The config of one training."""
    data = base.model_dump(mode="json") | {"seed": seed}
    data["train"] |= {"threads": 1, "ranks": 1}
    for name in variant.split("+"):
        for section, values in VARIANTS[name].items():
            data[section] |= values
    return Config.model_validate_json(json.dumps(data))


def train_and_judge(config: Config, maps: MapFile, most: int | None = None) -> dict[str, Any]:
    """Train one model and compare its predictions with the truth, region by region.

    Parameters
    ----------
    most : so many maps validate, and so many test, evenly spread; None: all
    """
    torch.set_num_threads(1)
    rows = split_maps(maps, config.split)
    rows = replace(rows, validation=spread(rows.validation, most), test=spread(rows.test, most))
    with tempfile.TemporaryDirectory() as folder:
        history = fit(maps, rows, config, Ranks(), Path(folder)).history
        model = load_model(Path(folder))
    return {
        "epochs": len(history),
        "images_per_second": float(np.mean([epoch.images_per_second for epoch in history])),
        "validation": by_region(model, maps, rows.validation),
        "test": by_region(model, maps, rows.test),
    }


def spread(rows: IntArray, most: int | None) -> IntArray:
    """At most so many of the rows, evenly over all of them: (n,)."""
    return rows if most is None or most >= len(rows) else rows[np.arange(most) * len(rows) // most]


def by_region(model: TrainedModel, maps: MapFile, rows: IntArray) -> dict[str, Any]:
    """Error of pixels over the mean of the truth, and b200, of each region's maps.

    Each is given twice: of the prediction, and of the mean of the predictions of the map's eight symmetries.
    """
    true = np.asarray(maps.maps[TARGET][rows])
    halo = maps.halo[rows]
    region, r200 = maps.halos["region"][halo], maps.halos["r200"][halo]
    found: dict[str, Any] = {"regions": sorted(set(region.tolist()))}
    plain, turned = predictions(model, maps, rows)
    for name, predicted in (("plain", plain), ("symmetries", turned)):
        pixels = np.abs(predicted - true).mean((1, 2)) / true.mean()
        b200 = enclosed_mass(predicted, r200)[:, -1] / enclosed_mass(true, r200)[:, -1] - 1
        found[name] = {
            "pixels": [float(pixels[region == one].mean()) for one in found["regions"]],
            "b200": [np.round(b200[region == one], 5).tolist() for one in found["regions"]],
        }
    return found


def predictions(model: TrainedModel, maps: MapFile, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """Of the first target, as it is and averaged over symmetries: (len(rows), 80, 80) each, in physical units."""
    views, targets = model.description.views, model.description.targets
    plain, turned = list[FloatArray](), list[FloatArray]()
    with torch.inference_mode(), autocast(model.precision, CPU):
        for batch in Batches(maps, rows, views, targets, model.normalisation, batch_size=32).in_order():
            for found, network in ((plain, model.network), (turned, OverSymmetries(model.network))):
                found.append(model.normalisation.invert(network(batch.views).float(), targets)[:, 0].numpy())
    return np.concatenate(plain), np.concatenate(turned)


def table(variants: list[str], results: list[dict[str, Any]], part: str) -> str:
    """Means over seeds as Markdown, and how far each is from the first variant, with the 68 % error over regions."""
    columns = ["pixels", "from the first", "mean abs b200", "from the first", "median b200", "half-width of b200"]
    lines = [f"| variant | seeds | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    first: dict[str, FloatArray] = {}
    for variant, way in product(variants, ("plain", "symmetries")):
        own = [result[part][way] for result in results if result["variant"] == variant]
        measured = {
            "pixels": np.array([one["pixels"] for one in own]),
            "mean abs b200": np.array([[np.mean(np.abs(b200)) for b200 in one["b200"]] for one in own]),
        }  # (seeds, regions)
        first = first or measured
        cells = [variant if way == "plain" else f"{variant}, symmetries averaged", str(len(own))]
        for name, values in measured.items():
            cells += [over_seeds(values.mean(1).tolist()), over_regions((values - first[name]).mean(0))]
        every = [np.concatenate(one["b200"]) for one in own]
        cells.append(over_seeds([float(np.median(b200)) for b200 in every], "+"))
        cells.append(over_seeds([float(np.diff(np.percentile(b200, [16, 84]))[0]) / 2 for b200 in every]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def over_seeds(values: list[float], sign: str = "") -> str:
    return f"{np.mean(values):{sign}.4f} ± {np.std(values, ddof=min(1, len(values) - 1)):.4f}"


def over_regions(differences: FloatArray) -> str:
    """The mean of a difference, (regions,), with the 68 % interval of Student's t."""
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{differences.mean():+.4f} ± {float(half_width(error, len(differences))):.4f}"


if __name__ == "__main__":
    main()
