"""The collaboration's finished maps as a map file: read in blocks, rebinned to 80 x 80, in our units.

Every map is an average over the area of its pixels, so rebinning averages. Their rotations were not published with the
maps: /lines_of_sight is NaN. Gas and stellar fractions are those of the cylinder inside R200, the mean over the views;
that of gas is NaN without `gas`.

A file is read twice, for the fractions and for the maps, in blocks of at most `READ_BYTES` or of one chunk of the
file's; beside that one chunk's halos are held at 80 x 80.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.dataset.check import sums_inside_r200
from hpc_massmap.dataset.collaboration import DATASETS, GAS, Assumed, Source, factors_of, not_readable
from hpc_massmap.dataset.mapfile import HALO_COLUMNS, open_maps, provenance_of
from hpc_massmap.dataset.writing import write_map_file
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import dataset_of, opened, values_of
from hpc_massmap.run import machine

READ_BYTES = 128 * 1024**2


def import_maps(out: Path, sources: list[Source], assumed: Assumed, on_halo: Callable[[], None] = lambda: None) -> None:
    """Write the maps of all sources as one map file, whole or not at all; `on_halo` is called twice for each halo.

    Raises
    ------
    InputError
        If `out` exists, or a map holds a pixel that is negative or not finite.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; remove it or name another file to make")
    factors = factors_of(assumed)
    tables = [source.halos | _fractions(source, factors, on_halo) for source in sources]
    halos = {column: np.concatenate([table[column] for table in tables]) for column in HALO_COLUMNS}
    origin = [
        {"file": str(s.path), "bytes": s.path.stat().st_size, "halos": len(s), "pixels": s.pixels} for s in sources
    ]
    attributes = {
        "h": assumed.h,
        "omega_m": assumed.omega_m,
        "fwhm": np.nan,  # not known; the maps are taken as they are
        "provenance": json.dumps({**machine(), "imported": origin}),
    }
    unknown = np.full((sources[0].views, 3, 3), np.nan)
    stacks = (stack for source in sources for stack in _stacks(source, list(DATASETS), factors, on_halo))
    write_map_file(out, list(DATASETS), halos, unknown, stacks, attributes)


def was_imported(path: Path) -> bool:
    """Whether there is a map file that was made of finished maps, so that no snapshots are needed."""
    return path.exists() and "imported" in provenance_of(open_maps(path))


def _fractions(source: Source, factors: dict[str, float], on_halo: Callable[[], None]) -> dict[str, FloatArray]:
    """Gas and stellar mass over total mass inside the cylinder of R200, the mean over the views."""
    names = ["star", "mass", *([GAS] if source.has_gas else [])]
    columns = {name: np.full(len(source), np.nan) for name in ("f_gas", "f_star")}
    for halo, stack in enumerate(_stacks(source, names, factors, on_halo)):
        inside = {name: sums_inside_r200(maps) for name, maps in stack.items()}
        if not np.all(inside["mass"] > 0):
            raise InputError(f"{source.path}: total_mass of halo {halo} has a map that is 0 everywhere inside R200")
        columns["f_star"][halo] = np.mean(inside["star"] / inside["mass"])
        if source.has_gas:
            columns["f_gas"][halo] = np.mean(inside[GAS] / inside["mass"])
    return columns


def _stacks(
    source: Source, names: list[str], factors: dict[str, float], on_halo: Callable[[], None]
) -> Iterator[dict[str, FloatArray]]:
    """For each halo, name -> (views, 80, 80) in our units."""
    with opened(source.path, not_readable(source.path)) as file:
        each = [_halo_stacks(source.path, dataset_of(file, DATASETS.get(name, name))) for name in names]
        for stack in zip(*each, strict=True):
            yield {name: factors[name] * maps for name, maps in zip(names, stack, strict=True)}
            on_halo()


def _halo_stacks(path: Path, dataset: h5py.Dataset) -> Iterator[FloatArray]:
    """The maps of one halo after the other at 80 x 80, each chunk of the file read once."""
    n_halos, n_views, pixels, _ = dataset.shape
    halos, views = (dataset.chunks or (1, 1))[:2]
    if halos * n_views * pixels**2 * dataset.dtype.itemsize <= READ_BYTES:
        views = n_views
    for first in range(0, n_halos, halos):
        stacks = np.empty((min(halos, n_halos - first), n_views, PIXELS, PIXELS))
        for view in range(0, n_views, views):
            maps = values_of(dataset, np.s_[first : first + halos, view : view + views])
            _check_pixels(path, dataset.name.lstrip("/"), maps, first, view)
            stacks[:, view : view + views] = rebinned(maps)
        yield from stacks


def rebinned(maps: FloatArray) -> FloatArray:
    """Averages over blocks of pixels: (..., N, N) -> (..., 80, 80)."""
    block = maps.shape[-1] // PIXELS
    blocks = maps.reshape(*maps.shape[:-2], PIXELS, block, PIXELS, block)
    return np.asarray(blocks.mean(axis=(-3, -1), dtype=np.float64))


def _check_pixels(path: Path, name: str, maps: FloatArray, first: int, view: int) -> None:
    if maps.min() >= 0 and maps.max() < np.inf:  # a NaN is neither
        return
    halo, projection, i, j = (int(n) for n in np.argwhere(~((maps >= 0) & (maps < np.inf)))[0])
    raise InputError(
        f"{path}: {name} of halo {first + halo}, projection {view + projection}: pixel [{i}, {j}] is "
        f"{maps[halo, projection, i, j]}; mend or remove this halo"
    )
