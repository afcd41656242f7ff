"""The map file: four stacks of maps, the table of halos and the index that joins them (schema 1).

/maps/{sz,xray,star,mass}   float32 (n_maps, 80, 80), contiguous, so that training memory-maps them
/halo/*                     one row a halo
/index/{halo,projection}    row i of /maps is projection p of halo h
/lines_of_sight             (p, 3, 3) rotations; row 2 of each is the line of sight
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.errors import InputError
from hpc_massmap.maps.units import UNITS
from hpc_massmap.storage import replacing

SCHEMA = 1
MAPS_PER_BLOCK = 512  # 13 MB of one map: what a check or a digest holds at a time

HALO_COLUMNS: dict[str, tuple[Any, str]] = {
    "simulation": (h5py.string_dtype(), "1"),
    "region": (h5py.string_dtype(), "1"),  # the same in all snapshots and simulations: what the split keeps together
    "snapshot": (np.int64, "1"),
    "redshift": (np.float64, "1"),
    "halo_id": (np.int64, "1"),
    "m200": (np.float64, "h^-1 Msun"),
    "r200": (np.float64, "kpc"),  # physical, without h
    "r500": (np.float64, "kpc"),
    "f_gas": (np.float64, "1"),
    "f_star": (np.float64, "1"),
}


@dataclass(frozen=True)
class MapFile:
    """An open, checked map file. The stacks are memory maps: nothing is read until it is indexed.

    Attributes
    ----------
    maps : name -> (n_maps, 80, 80) float32, in the units of `units`
    halos : column -> (n_halos,), see `HALO_COLUMNS`
    halo, projection : (n_maps,), which halo and which line of sight each map shows
    digest : SHA-256 of the content, the identity of the data
    """

    path: Path
    maps: dict[str, npt.NDArray[np.float32]]
    units: dict[str, str]
    halos: dict[str, npt.NDArray[Any]]
    halo: IntArray
    projection: IntArray
    rotations: FloatArray
    attributes: dict[str, Any]
    digest: str

    def __len__(self) -> int:
        return len(self.halo)


def write_map_file(
    path: Path,
    names: list[str],
    halos: Mapping[str, Any],
    rotations: FloatArray,
    stacks: Iterable[Mapping[str, FloatArray]],
    attributes: Mapping[str, Any],
    units: Mapping[str, str] = UNITS,
) -> None:
    """Write a map file, whole or not at all.

    Parameters
    ----------
    halos : column -> (n_halos,)
    rotations : (p, 3, 3)
    stacks : for each halo in order, name -> (p, 80, 80)
    attributes : written on the file: h, omega_m, fwhm, provenance
    """
    n_halos, n_projections = len(halos["m200"]), len(rotations)
    n_maps = n_halos * n_projections
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name in names:
            dataset = file.create_dataset(f"maps/{name}", (n_maps, PIXELS, PIXELS), np.float32)
            dataset.attrs["unit"] = units[name]
        for h, stack in enumerate(stacks):
            rows = slice(h * n_projections, (h + 1) * n_projections)
            for name in names:
                file[f"maps/{name}"][rows] = stack[name]
        for column, (dtype, unit) in HALO_COLUMNS.items():
            values = file.create_dataset(f"halo/{column}", data=list(halos[column]), dtype=dtype)
            values.attrs["unit"] = unit
        file["index/halo"] = np.repeat(np.arange(n_halos), n_projections)
        file["index/projection"] = np.tile(np.arange(n_projections), n_halos)
        file["lines_of_sight"] = rotations
        file.attrs.update({"schema": SCHEMA, "pixels": PIXELS, **attributes})
        file.attrs["digest"] = content_digest(file)


def content_digest(file: h5py.File) -> str:
    """SHA-256 over the maps, the halo table and the index of an open map file."""
    digest = hashlib.sha256()
    for group in ("halo", "index", "maps"):
        for name in sorted(file[group]):
            dataset = file[group][name]
            digest.update(f"{group}/{name} {dataset.shape}".encode())
            for start in range(0, len(dataset), MAPS_PER_BLOCK):
                block = dataset[start : start + MAPS_PER_BLOCK]
                digest.update(b"\0".join(block) if block.dtype == object else np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def open_maps(path: Path, needed: Iterable[str] = (), check_values: bool = False) -> MapFile:
    """Open a map file and check its schema; with `check_values` every pixel and the digest too.

    Raises
    ------
    InputError
        If it is missing, truncated, of another schema, lacks a map of `needed`, or holds NaN or negative pixels.
    """
    try:
        with h5py.File(path, "r") as file:
            opened = _read(path, file, list(needed))
            if check_values:
                _check_values(path, file, opened)
            return opened
    except FileNotFoundError:
        raise InputError(f"{path}: no such map file; make it with jobs/make_maps.py") from None
    except InputError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise InputError(f"{path}: not a readable map file ({_one_line(error)}); make it again") from None


def _read(path: Path, file: h5py.File, needed: list[str]) -> MapFile:
    if file.attrs.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema {file.attrs.get('schema')}, but this version reads schema {SCHEMA}")
    names = sorted(file["maps"])
    for name in needed:
        if name not in names:
            raise InputError(f"{path}: holds no {name!r} maps, only {', '.join(names)}; change model.views or targets")
    halos = {column: _column(file[f"halo/{column}"]) for column in HALO_COLUMNS}
    halo, projection = file["index/halo"][:], file["index/projection"][:]
    rotations = file["lines_of_sight"][:]
    n_halos = len(halos["m200"])
    if any(len(values) != n_halos for values in halos.values()):
        raise InputError(f"{path}: the columns of /halo have different lengths")
    if len(halo) != len(projection) or (len(halo) and not (halo.min() >= 0 and halo.max() < n_halos)):
        raise InputError(f"{path}: /index does not fit the {n_halos} halos")
    if len(projection) and not (projection.min() >= 0 and projection.max() < len(rotations)):
        raise InputError(f"{path}: /index/projection does not fit the {len(rotations)} lines of sight")
    for column in ("m200", "r200", "r500"):
        if not np.all(np.isfinite(halos[column]) & (halos[column] > 0)):
            raise InputError(f"{path}: /halo/{column} has a value that is not positive")
    maps = {name: _memory_map(path, file[f"maps/{name}"], len(halo)) for name in names}
    units = {name: str(file[f"maps/{name}"].attrs["unit"]) for name in names}
    attributes = {key: value for key, value in file.attrs.items() if key != "digest"}
    return MapFile(path, maps, units, halos, halo, projection, rotations, attributes, str(file.attrs["digest"]))


def _column(dataset: h5py.Dataset) -> npt.NDArray[Any]:
    values = dataset.asstr()[:] if h5py.check_string_dtype(dataset.dtype) else dataset[:]
    return np.asarray(values)


def _memory_map(path: Path, dataset: h5py.Dataset, n_maps: int) -> npt.NDArray[np.float32]:
    if dataset.shape != (n_maps, PIXELS, PIXELS) or dataset.dtype != np.dtype("<f4"):
        raise InputError(
            f"{path}: {dataset.name} is {dataset.dtype} {dataset.shape}, not float32 ({n_maps}, {PIXELS}, {PIXELS})"
        )
    offset = dataset.id.get_offset()
    if offset is None:
        raise InputError(f"{path}: {dataset.name} is not contiguous and uncompressed; repack the file")
    return np.memmap(path, np.float32, "r", offset, dataset.shape)


def _check_values(path: Path, file: h5py.File, opened: MapFile) -> None:
    for name, stack in opened.maps.items():
        for start in range(0, len(stack), MAPS_PER_BLOCK):
            block = stack[start : start + MAPS_PER_BLOCK]
            bad = ~np.isfinite(block) | (block < 0)
            if bad.any():
                row, i, j = (int(n) for n in np.argwhere(bad)[0])
                value = block[row, i, j]
                kind = "negative" if value < 0 else "not finite"
                raise InputError(f"{path}: /maps/{name}[{start + row}, {i}, {j}] = {value} is {kind}; make it again")
    if content_digest(file) != opened.digest:
        raise InputError(f"{path}: its content does not match its digest, so it was changed or damaged; make it again")


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def describe(opened: MapFile) -> str:
    """One line on what a map file holds."""
    m200 = np.log10(opened.halos["m200"])
    simulations = json.dumps(sorted(set(opened.halos["simulation"].tolist())))
    return (
        f"{opened.path}: {len(opened)} maps of {len(m200)} halos from {simulations}, "
        f"log10 M200 {m200.min():.2f} to {m200.max():.2f}, digest {opened.digest[:12]}"
    )
