"""A made-up run whose predictions say more than one map: samples, or quantiles, of lognormal pixels about the truth.

Of 24 regions eight train, eight validate and eight test; each has two lines of sight, whose errors have a part in
common.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from scipy.special import ndtri

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray

from .made_up import Folder, write_folder

LEVELS = (0.05, 0.16, 0.5, 0.84, 0.95)
OF_REGION, OF_PIXEL = 0.05, 0.2  # sigma of ln of what is off


@dataclass(frozen=True)
class Kind:
    """What predictions say."""

    samples: int = 0
    levels: Sequence[float] = ()
    width: float = 1.0  # of what is said, over the right one


POINT, SAMPLES, QUANTILES = Kind(), Kind(samples=12), Kind(levels=LEVELS)


def write_run(path: Path, kind: Kind, regions: int = 24, projections: int = 2) -> Folder:
    folder = write_folder(path, n_test=1, n_halos=regions, projections=projections)
    third = regions // 3 * projections
    rows = np.arange(regions * projections)
    # regions in turn, so that each part has all masses
    part = rows // projections % 3
    train, validation, test = (rows[part == n] for n in range(3))
    assert len(test) == third
    for of, name in ((test, folder.run.predictions), (validation, folder.run.predictions_of_validation)):
        write_kind(folder, name, of, (train, validation), kind)
    return folder


def write_kind(folder: Folder, path: Path, rows: IntArray, made: tuple[IntArray, IntArray], kind: Kind) -> None:
    maps, rng = folder.maps, np.random.default_rng(len(path.name))
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update({"maps": str(maps.path), "maps_digest": maps.digest, "name": "made_up", "model": "0" * 64})
        file.attrs["views"] = ["star"]
        file["index/row"], file["index/train"], file["index/validation"] = rows, *made
        of_region = rng.standard_normal(len(maps.halos["m200"]))[maps.halo[rows]]
        for target in ("mass",):
            true = maps.maps[target][rows].astype(float)
            offset = OF_REGION * of_region[:, None, None] + OF_PIXEL * rng.standard_normal(true.shape)
            centre = true * np.exp(offset)
            file[f"predictions/{target}"] = centre.astype(np.float32)
            if kind.samples:
                write_samples(file, target, centre, kind, rng)
            if kind.levels:
                sigma = kind.width * np.hypot(OF_REGION, OF_PIXEL)
                quantiles = centre[:, None] * np.exp(sigma * ndtri(kind.levels))[:, None, None]
                file[f"quantiles/{target}"] = quantiles.astype(np.float32)
                file[f"quantiles/{target}"].attrs["levels"] = kind.levels


def write_samples(file: h5py.File, target: str, centre: FloatArray, kind: Kind, rng: np.random.Generator) -> None:
    n, s = len(centre), kind.samples
    off = OF_REGION * rng.standard_normal((n, s, 1, 1)) + OF_PIXEL * rng.standard_normal((n, s, PIXELS, PIXELS))
    samples = centre[:, None] * np.exp(kind.width * off)
    scales = samples.mean(axis=(1, 2, 3)).astype(np.float32)
    file[f"samples/{target}"] = (samples / scales[:, None, None, None]).astype(np.float16)
    file[f"scales/{target}"] = scales
