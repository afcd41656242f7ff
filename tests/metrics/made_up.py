"""A small map file, predictions for a part of it and a config, written to a folder: what an evaluation needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.config import Config, load_config
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.writing import write_map_file
from hpc_massmap.metrics.predictions import Predictions, read_predictions
from hpc_massmap.run import Run
from hpc_massmap.views import UNITS

TARGETS = ["mass", "star"]

CONFIG = """
name: made_up
runs: {folder}/runs
maps: {{file: {folder}/maps.h5}}
simulations:
  - {{name: made_up, folder: {folder}, snapshots: [1]}}
evaluate:
  mass_intervals: [13.5, 14.0, 14.5, 17.0, 18.0]
"""


@dataclass(frozen=True)
class Folder:
    """The folder of a made-up run."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def config(self) -> Config:
        return load_config(self.config_file)

    @property
    def run(self) -> Run:
        return Run(self.config, self.path / "runs" / "made_up")

    @property
    def maps(self) -> MapFile:
        return open_maps(self.path / "maps.h5")

    @property
    def predictions(self) -> Predictions:
        return read_predictions(self.run.predictions, self.maps)


def cluster(rng: np.random.Generator, height: float = 1e9) -> FloatArray:
    """A cusp with lognormal lumps, and some pixels that are exactly 0: (80, 80) float32."""
    position = (np.arange(PIXELS) - (PIXELS - 1) / 2) / (PIXELS / 2)
    radius = np.hypot(position[:, None], position[None, :])
    pixels = height / (0.02 + radius) ** 2 * rng.lognormal(0, 0.4, (PIXELS, PIXELS))
    pixels[rng.random((PIXELS, PIXELS)) < 0.01] = 0
    return np.asarray(pixels, np.float32)


def prediction(truth: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Something close to a true map, 0 in half of the pixels where it is 0."""
    off = truth * rng.lognormal(0, 0.2, truth.shape) + (truth == 0) * (rng.random(truth.shape) < 0.5)
    return np.asarray(off, np.float32)


def write_predictions(path: Path, maps: MapFile, rows: IntArray, predicted: Mapping[str, FloatArray]) -> None:
    """predictions.h5 for some rows of a map file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for target, stack in predicted.items():
            file[f"predictions/{target}"] = stack.astype(np.float32)
        file["index/row"] = rows
        file.attrs.update({"maps": str(maps.path), "maps_digest": maps.digest, "name": "made_up"})


def write_folder(path: Path, n_test: int = 7, n_halos: int = 5, projections: int = 2) -> Folder:
    """Everything that an evaluation of `n_test` maps reads; the test maps are in no order."""
    rng = np.random.default_rng(7)
    m200 = 10 ** np.linspace(13.6, 15.2, n_halos)
    halos = {
        "simulation": ["made_up"] * n_halos,
        "region": [f"region_{n}" for n in range(n_halos)],
        "snapshot": [1] * n_halos,
        "redshift": np.linspace(0, 0.1, n_halos),
        "halo_id": np.arange(n_halos) + 100,
        "m200": m200,
        "r200": 900 * (m200 / 1e14) ** (1 / 3),
        "r500": np.linspace(0.6, 0.7, n_halos) * 900 * (m200 / 1e14) ** (1 / 3),
        "f_gas": np.full(n_halos, 0.12),
        "f_star": np.full(n_halos, 0.02),
    }
    stacks = [{name: np.stack([cluster(rng, m / 1e5) for _ in range(projections)]) for name in TARGETS} for m in m200]
    rotations = np.broadcast_to(np.eye(3), (projections, 3, 3))
    write_map_file(path / "maps.h5", TARGETS, halos, rotations, stacks, {"h": 0.7}, UNITS)
    folder = Folder(path)
    folder.config_file.write_text(CONFIG.format(folder=path))
    rows = rng.permutation(n_halos * projections)[:n_test]
    maps = folder.maps
    predicted = {name: np.stack([prediction(maps.maps[name][row], rng) for row in rows]) for name in TARGETS}
    write_predictions(folder.run.predictions, maps, rows, predicted)
    return folder
