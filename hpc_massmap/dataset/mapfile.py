"""The map file: four stacks of maps or more, the table of halos and the index that joins them.

HDF5, schema 1::

    /maps/{sz,xray,star,mass}   float32 (n_maps, 80, 80), contiguous, so that training memory-maps them; or virtual, of
                                part files that are contiguous (parts.py); further bands of X-rays beside them
    /halo/*                     one row a halo
    /index/{halo,projection}    row i of /maps is projection p of halo h: all projections of halo 0, of halo 1, ...
    /digests                    SHA-256 of the maps of each halo
    /lines_of_sight             (p, 3, 3) rotations; row 2 of each is the line of sight
    /map, /y, /x                number of each map, and places of pixels in R200: the scales of the axes of /maps
    /skipped                    lines of text: the regions that could not be drawn, and why
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.dataset.global_heaps import has_sound_heaps
from hpc_massmap.dataset.stacks import Stack, check_in_one_piece, memory_maps, parted_stacks
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import attribute_of, attributes_of, dataset_of, names_in, opened, values_of
from hpc_massmap.units import from_file

SCHEMA = 1

TEXT = h5py.string_dtype()
HALO_COLUMNS: dict[str, tuple[Any, str]] = {
    "simulation": (TEXT, "1"),
    "region": (TEXT, "1"),  # the same in all snapshots and simulations: what the split keeps together
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
    maps : name -> (n_maps, 80, 80) float32, in the units of `units`; indexed by a row, a slice or an array of rows
    halos : column -> (n_halos,), see `HALO_COLUMNS`
    halo, projection : (n_maps,), which halo and which line of sight each map shows
    skipped : the regions that could not be drawn, each with its reason
    digests : (n_halos,), SHA-256 of the maps of each halo
    digest : SHA-256 of the content, the identity of the data
    """

    path: Path
    maps: dict[str, Stack]
    units: dict[str, str]
    halos: dict[str, npt.NDArray[Any]]
    halo: IntArray
    projection: IntArray
    rotations: FloatArray
    attributes: dict[str, Any]
    skipped: list[str]
    digests: list[str]
    digest: str

    def __len__(self) -> int:
        return len(self.halo)


def open_maps(path: Path, needed: Iterable[str] = (), check_values: bool = False) -> MapFile:
    """Open a map file and check its schema; with `check_values` every pixel and the digest too.

    Raises
    ------
    InputError
        If it is missing, truncated, of another schema, lacks a map of `needed`, or holds NaN or negative pixels.
    """
    complaint = f"{path}: not a readable map file; make it again"
    by = "make it with massmap make_maps CONFIG, or sbatch slurm/make_maps.sh CONFIG"
    with opened(path, complaint, f"{path}: no such map file; {by}") as file:
        maps = _read(path, file, list(needed))
        if check_values:
            _check_values(path, file, maps)
        return maps


def _read(path: Path, file: h5py.File, needed: list[str]) -> MapFile:
    schema = attribute_of(file, "schema")
    if not isinstance(schema, np.integer) or schema != SCHEMA:
        raise InputError(f"{path}: schema {schema}, but this version reads schema {SCHEMA}")
    names = sorted(names_in(file, "maps"))
    for name in names:  # all but pixels in one piece is read in the next step
        check_in_one_piece(path, dataset_of(file, f"maps/{name}", False))
    if not has_sound_heaps(path, file):
        raise InputError(f"{path}: its texts are damaged; make it again")
    attributes = attributes_of(file)  # with texts, of which damaged ones would never be read to their end
    for name in needed:
        if name not in names:
            raise InputError(f"{path}: holds no {name!r} maps, only {', '.join(names)}; change model.views or targets")
    halos = {column: _column(path, file, f"halo/{column}", kind) for column, (kind, _) in HALO_COLUMNS.items()}
    halo, projection = (values_of(dataset_of(file, f"index/{name}")) for name in ("halo", "projection"))
    rotations = values_of(dataset_of(file, "lines_of_sight"))
    if rotations.shape[1:] != (3, 3) or rotations.dtype.kind != "f":
        raise InputError(f"{path}: /lines_of_sight is {rotations.dtype} {rotations.shape}, not rotations (p, 3, 3)")
    n_halos = len(halos["m200"])
    if any(len(values) != n_halos for values in halos.values()):
        raise InputError(f"{path}: the columns of /halo have different lengths")
    in_order = index(n_halos, len(rotations))
    if not (np.array_equal(halo, in_order["halo"]) and np.array_equal(projection, in_order["projection"])):
        raise InputError(f"{path}: /index is not that of {n_halos} halos along {len(rotations)} lines of sight each")
    for column in ("m200", "r200", "r500"):
        if not np.all(np.isfinite(halos[column]) & (halos[column] > 0)):
            raise InputError(f"{path}: /halo/{column} has a value that is not positive")
    maps = _stacks(path, file, names, len(halo))
    units = {name: _unit_of(file, name) for name in names}
    skipped = _column(path, file, "skipped", TEXT).tolist() if "skipped" in names_in(file) else []
    digests, digest = _column(path, file, "digests", TEXT).tolist(), str(attribute_of(file, "digest"))
    attributes.pop("digest")
    if len(digests) != n_halos:
        raise InputError(f"{path}: {len(digests)} digests of {n_halos} halos")
    return MapFile(path, maps, units, halos, halo, projection, rotations, attributes, skipped, digests, digest)


def _unit_of(file: h5py.File, name: str) -> str:
    return from_file(str(attribute_of(dataset_of(file, f"maps/{name}", False), "unit")))


def _column(path: Path, file: h5py.File, name: str, kind: Any) -> npt.NDArray[Any]:
    dataset = dataset_of(file, name)
    is_text, wants_text = h5py.check_string_dtype(dataset.dtype) is not None, kind is TEXT
    fits = is_text == wants_text and (is_text or np.can_cast(dataset.dtype, kind, "same_kind"))
    if not fits or len(dataset.shape) != 1:
        wanted = "texts" if wants_text else f"numbers like {np.dtype(kind)}"
        raise InputError(f"{path}: {dataset.name} is {dataset.dtype} {dataset.shape}, not a column of {wanted}")
    return values_of(dataset)


def _stacks(path: Path, file: h5py.File, names: list[str], n_maps: int) -> dict[str, Stack]:
    datasets = {name: dataset_of(file, f"maps/{name}", False) for name in names}
    for dataset in datasets.values():
        if dataset.shape != (n_maps, PIXELS, PIXELS) or dataset.dtype != np.dtype("<f4"):
            raise InputError(
                f"{path}: {dataset.name} is {dataset.dtype} {dataset.shape}, not float32 ({n_maps}, {PIXELS}, {PIXELS})"
            )
    virtual = {name: dataset for name, dataset in datasets.items() if dataset.is_virtual}
    in_one_piece = {name: dataset for name, dataset in datasets.items() if name not in virtual}
    whole: Mapping[str, Stack] = memory_maps(path, in_one_piece)
    return {**whole, **(parted_stacks(path, virtual) if virtual else {})}


def provenance_of(maps: MapFile) -> dict[str, Any]:
    """How a map file was made; empty where it does not say so, or where that is damaged, which no digest covers."""
    try:
        said = json.loads(str(maps.attributes.get("provenance")))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def index(n_halos: int, n_projections: int) -> dict[str, IntArray]:
    """Halo and projection of each row of the maps, (n_halos * n_projections,) each."""
    return {
        "halo": np.repeat(np.arange(n_halos), n_projections),
        "projection": np.tile(np.arange(n_projections), n_halos),
    }


def halo_digest(stack: Mapping[str, npt.NDArray[np.float32]]) -> str:
    """SHA-256 of all maps of one halo; `stack` is name -> (p, 80, 80) float32."""
    digest = hashlib.sha256()
    for name in sorted(stack):
        digest.update(f"{name} {stack[name].shape}".encode())
        digest.update(np.ascontiguousarray(stack[name]).tobytes())
    return digest.hexdigest()


def content_digest(file: h5py.File) -> str:
    """SHA-256 over an open map file: attributes, units, tables and the digests of maps, but not how it was made."""
    digest = hashlib.sha256()
    texts = {key: str(value) for key, value in attributes_of(file).items() if key not in ("digest", "provenance")}
    texts |= {name: _unit_of(file, name) for name in names_in(file, "maps")}
    digest.update(json.dumps(texts, sort_keys=True).encode())
    for name in (*(f"halo/{column}" for column in HALO_COLUMNS), "lines_of_sight", "digests", "skipped"):
        values = values_of(dataset_of(file, name))
        digest.update(f"{name} {values.shape}".encode())
        digest.update("\0".join(values).encode() if values.dtype == object else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def halo_stacks(opened: MapFile) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """The maps of each halo in order, name -> (p, 80, 80)."""
    n_projections = len(opened.rotations)
    for h in range(len(opened.digests)):
        rows = slice(h * n_projections, (h + 1) * n_projections)
        yield {name: opened.maps[name][rows] for name in opened.maps}


def check_digest(opened: MapFile, h: int, stack: dict[str, npt.NDArray[np.float32]]) -> None:
    """Raise an InputError if these maps of halo `h`, name -> (p, 80, 80), are not what was written."""
    if halo_digest(stack) != opened.digests[h]:
        raise InputError(
            f"{opened.path}: the maps of halo {h} do not match their digest, so the file was changed or damaged; "
            "make it again"
        )


def _check_values(path: Path, file: h5py.File, opened: MapFile) -> None:
    if content_digest(file) != opened.digest:
        raise InputError(f"{path}: its content does not match its digest, so it was changed or damaged; make it again")
    for h, stack in enumerate(halo_stacks(opened)):
        for name, maps in stack.items():
            bad = ~np.isfinite(maps) | (maps < 0)
            if bad.any():
                p, i, j = (int(n) for n in np.argwhere(bad)[0])
                value, row = maps[p, i, j], h * len(maps) + p
                kind = "negative" if value < 0 else "not finite"
                raise InputError(f"{path}: /maps/{name}[{row}, {i}, {j}] = {value} is {kind}; make it again")
        check_digest(opened, h, stack)


def describe(opened: MapFile) -> str:
    """One line on what a map file holds."""
    m200 = np.log10(opened.halos["m200"])
    simulations = json.dumps(sorted(set(opened.halos["simulation"].tolist())))
    return (
        f"{opened.path}: {len(opened)} maps of {len(m200)} halos from {simulations}, "
        f"log10 M200 {m200.min():.2f} to {m200.max():.2f}, digest {opened.digest[:12]}"
        + (f", {len(opened.skipped)} regions skipped" if opened.skipped else "")
    )
