#!/usr/bin/env python3
"""What each kind of answer is worth at equal images seen: a point, quantiles, a flow, an ensemble of points.

Every model is the config given but for `model.output`, trained on one thread and judged on the test set; the ensemble
has as many points as `--members`, each of which saw as many images. A line of JSON is kept for each, so that a stopped
comparison goes on. Scores of b200 are in units of the true mass, of pixels in units of the mean pixel.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality import over_seeds
from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Config, load_config
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.diagnostics.crps import crps, crps_of_normal, crps_of_quantiles
from hpc_massmap.metrics.power import power_spectrum, wavelengths
from hpc_massmap.mpi import communicator
from hpc_massmap.pipeline.estimate import HALOS, LINES_OF_SIGHT, paper_seconds_per_map
from hpc_massmap.posterior.distribution import MapDistribution
from hpc_massmap.posterior.kinds import levels_of
from hpc_massmap.predict.forward import prepared
from hpc_massmap.predict.members import joined
from hpc_massmap.train.loop import fit
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.trained import TrainedModel, load_model

KINDS = ("point", "quantiles", "flow", "ensemble")
SCALES = (1.0, 0.5, 0.25, 0.15)  # R200
LEVELS = ((np.arange(16) + 0.5) / 16).tolist()
MAPS_PER_BATCH = 16
OF_PAPER, SAMPLES = HALOS * LINES_OF_SIGHT // 10, 64  # test maps
FORWARD = 1 / 3  # of a training step is the pass forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*", help="key=value, of every model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--members", type=int, default=3, help="of the ensemble")
    parser.add_argument("--samples", type=int, default=16, help="of each map")
    parser.add_argument("--maps", type=int, help="of the test set, evenly spread; all of them otherwise")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines, read first if they exist")
    args = parser.parse_args()
    base, results = load_config(args.config, args.overrides), args.results
    known = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []
    done = {(result["kind"], result["seed"]): result for result in known}
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            for kind in args.kinds:
                if (kind, seed) in done:
                    continue
                model = trained(base, kind, seed, args.members, Path(folder))
                done[kind, seed] = judged(model, base, args.maps, args.samples) | {"kind": kind, "seed": seed}
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done[kind, seed]) + "\n")
    print(table(args.kinds, list(done.values())))


def trained(base: Config, kind: str, seed: int, members: int, folder: Path) -> TrainedModel:
    """A model of a kind; the first member of an ensemble is the point of that seed, if it was trained before."""
    maps = open_maps(base.maps.file)

    def one(output: str, own: int) -> Path:
        place = folder / f"{output}_{own}"
        data = base.model_dump(mode="json") | {"seed": own}
        data["model"]["output"] = output
        data["train"] |= {"threads": 1, "ranks": 1}
        config = Config.model_validate_json(json.dumps(data))
        fit(maps, split_maps(maps, config.split), config, Ranks(), place)  # does nothing if it was trained before
        return place

    torch.set_num_threads(1)
    if kind != "ensemble":
        return load_model(one(kind, seed))
    return joined([one("point", seed + 1000 * member) for member in range(members)])


def judged(model: TrainedModel, base: Config, n_maps: int | None, n_samples: int) -> dict[str, Any]:
    """Scores over maps of the test set, and how long a map and a sample take."""
    maps = open_maps(base.maps.file)
    rows = split_maps(maps, base.split)
    test = rows.test[np.linspace(0, len(rows.test) - 1, n_maps or len(rows.test)).astype(int)]
    found: dict[str, list[Any]] = {}
    start = time.perf_counter()
    for part, said in answers(model, maps, test):
        for name, values in scores(model, said, maps, part, n_samples).items():
            found.setdefault(name, []).append(values)
    seconds = (time.perf_counter() - start) / len(test)
    whole = {name: np.concatenate(values) for name, values in found.items()}
    drawn = (len(model.members) or n_samples) if "power_samples" in whole else 0
    b200 = whole["b200"]
    result = {name: values.mean(0).tolist() for name, values in whole.items() if name.startswith(("crps", "inside"))}
    result |= {name: np.median(values, axis=0).tolist() for name, values in whole.items() if name.startswith("power")}
    if not drawn and not levels_of(model.description):  # the point with one width for all, that of its validation
        some = rows.validation[:: max(1, len(rows.validation) // 200)]
        width = np.full(1, np.std(b200_of(model, maps, some)))
        result["crps_b200_constant"] = float(crps_of_normal(np.zeros(1), b200, width).mean())
    return result | {
        "bias": float(np.median(b200)),
        "scatter": float(np.ptp(np.percentile(b200, [16, 84])) / 2),
        "seconds_per_map": seconds,
        "seconds_per_sample": seconds / drawn if drawn else None,
    }


def answers(model: TrainedModel, maps: MapFile, rows: IntArray) -> Any:
    """Rows of each batch, and what the model says of them."""
    views, targets = model.description.views, model.description.targets
    with communicator() as comm:
        says, _ = prepared(model, comm)
    batches = Batches(maps, rows, views, targets, model.normalisation, MAPS_PER_BATCH)
    for start in range(0, len(rows), MAPS_PER_BATCH):
        part = rows[start : start + MAPS_PER_BATCH]
        yield part, says(batches.gather(part, views), part)


def b200_of(model: TrainedModel, maps: MapFile, rows: IntArray) -> FloatArray:
    """Bias of the mass inside R200 of the mean map: (n,)."""
    parts = [relative_mass(said.mean()[:, 0], maps, part) for part, said in answers(model, maps, rows)]
    return np.concatenate(parts)


def relative_mass(predicted: FloatArray, maps: MapFile, rows: IntArray) -> FloatArray:
    """Mass inside R200 over the true one, less 1: (n,) of (n, 80, 80)."""
    r200 = maps.halos["r200"][maps.halo[rows]]
    true = np.asarray(maps.maps["mass"][rows])
    masses = (enclosed_mass(one.astype(np.float64), r200)[:, -1] for one in (predicted, true))
    return np.asarray(next(masses) / next(masses) - 1)


def scores(
    model: TrainedModel, said: MapDistribution, maps: MapFile, rows: IntArray, n_samples: int
) -> dict[str, FloatArray]:
    """Of each of n maps, (n,) or (n, scales)."""
    true = np.asarray(maps.maps["mass"][rows]).astype(np.float64)
    r200, unit = maps.halos["r200"][maps.halo[rows]], true.mean((1, 2))
    quantiles = levels_of(model.description)
    draws = said.by_samples or bool(model.members)
    count = len(model.members) or n_samples  # of points each map once: the fair score takes no sample for two
    samples = np.stack(list(said.samples(count, 0)))[:, :, 0] if draws else None
    mean = samples.mean(0, np.float64) if samples is not None else said.mean()[:, 0].astype(np.float64)
    found = {"b200": relative_mass(mean, maps, rows), "power_mean": power(mean, r200) / power(true, r200) - 1}
    found["crps_b200"] = np.abs(found["b200"])
    found["crps_pixels"] = np.abs(mean - true).mean((1, 2)) / unit
    if quantiles:
        pixels = said.quantiles(LEVELS)[:, :, 0]
        found["crps_pixels"] = crps_of_quantiles(true, pixels).mean((1, 2)) / unit
        low, high = said.quantiles([0.16, 0.84])[:, :, 0]
        found["inside_pixels"] = ((low <= true) & (true <= high)).mean((1, 2))
    if samples is not None:
        of_samples = np.stack([relative_mass(one, maps, rows) for one in samples])
        found["crps_b200"] = crps(np.zeros(len(rows)), of_samples)
        found["crps_pixels"] = crps(true, samples.astype(np.float64)).mean((1, 2)) / unit
        low, high = np.quantile(of_samples, [0.16, 0.84], axis=0, method="weibull")
        found["inside_b200"] = ((low <= 0) & (high >= 0)).astype(float)
        low, high = np.quantile(samples, [0.16, 0.84], axis=0, method="weibull")
        found["inside_pixels"] = ((low <= true) & (true <= high)).mean((1, 2))
        of_maps = np.mean([power(one.astype(np.float64), r200) for one in samples], axis=0)
        found["power_samples"] = of_maps / power(true, r200) - 1
    return found


def power(maps: FloatArray, r200: FloatArray) -> FloatArray:
    """Power in a fifth around each of the scales: (n, scales)."""
    spectra, at = power_spectrum(maps, r200), wavelengths()
    return np.stack([spectra[:, np.abs(at / scale - 1) < 0.2].mean(1) for scale in SCALES], axis=1)


def table(kinds: list[str], results: list[dict[str, Any]]) -> str:
    """Means over seeds and their standard deviations, as Markdown, and what the paper's test set would take."""
    names = ("crps_b200", "crps_b200_constant", "crps_pixels", "inside_b200", "inside_pixels", "bias", "scatter")
    lines = [f"| kind | seeds | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    spectra = [f"| power at | {' | '.join(f'{scale} R200' for scale in SCALES)} |", "|---" * (len(SCALES) + 1) + "|"]
    times = []
    for kind in kinds:
        own = [result for result in results if result["kind"] == kind]
        cells = [over_seeds([one[name] for one in own]) if name in own[0] else "" for name in names]
        lines.append(f"| {kind} | {len(own)} | {' | '.join(cells)} |")
        for name in ("power_mean", "power_samples"):
            if name in own[0]:
                values = np.array([one[name] for one in own]).T
                spectra.append(f"| {kind}, {name} | {' | '.join(over_seeds(v.tolist(), '+') for v in values)} |")
        if own[0]["seconds_per_sample"]:
            seconds = float(np.mean([one["seconds_per_sample"] for one in own]))
            hours = seconds * OF_PAPER * SAMPLES / 3600
            times.append(f"{kind}: {seconds:.3f} s a sample of a map; {SAMPLES} of {OF_PAPER:,}: {hours:,.0f} h here")
    on_gpu = 20 * paper_seconds_per_map() * FORWARD * OF_PAPER * SAMPLES / 3600
    times.append(f"flow on one A100, if a call takes what the paper's network takes forward: {on_gpu:.1f} h")
    return "\n".join([*lines, "", *spectra, "", *times])


if __name__ == "__main__":
    main()
