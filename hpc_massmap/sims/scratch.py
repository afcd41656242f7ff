"""What lies about the halos of a snapshot, from one reading of it, in files that are sorted by place.

One file a piece of the snapshot, and in it the particles of each type in the order of cells of space, so that what lies
in a sphere is a few runs of rows. Each particle has its row in the snapshot with it: what is taken out again has the
order of the snapshot, and its sums are the same to the bit, whoever read which piece.
"""

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import attribute_of, dataset_of, names_in, new_hdf5, opened, values_of
from hpc_massmap.sims.blocks import inside
from hpc_massmap.sims.particles import GAS, STARS, Gas, Header, Particles, Stars
from hpc_massmap.sims.pieces import Kept

OF_KIND: dict[int, type[Particles]] = {GAS: Gas, STARS: Stars}
LENGTHS = {GAS: 106, STARS: 41}  # bytes of a particle, at most; its cell not counted
ELSE = 40

Cells = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Scratch:
    """The files of one snapshot; `about` takes particles out of them.

    Attributes
    ----------
    extent : (2, 3) kpc, of all particles of the snapshot
    side : of a cell, kpc
    bounds : (file, type) -> (2, 3), its least and its greatest cell
    """

    path: Path
    header: Header
    extent: FloatArray
    side: float
    files: list[Path]
    bounds: dict[tuple[Path, int], Cells]

    def about(self, kind: int, centres: FloatArray, radii: FloatArray) -> Particles:
        """The particles of a type in any of some spheres, (k, 3) and (k,) kpc, in the order of the snapshot."""
        cells = [
            np.array([np.floor((centre - radius) / self.side), np.floor((centre + radius) / self.side)])
            for centre, radius in zip(centres, radii, strict=True)
        ]
        found = [
            _in_cells(file, kind, cells)
            for (file, of_kind), bounds in self.bounds.items()
            if of_kind == kind and any(np.all((low <= bounds[1]) & (high >= bounds[0])) for low, high in cells)
        ]
        kept = [rows[inside(rows["positions"], centres, radii)] for rows in found]
        kept = [rows for rows in kept if len(rows)]
        if not kept:
            return nothing(kind)
        together = np.concatenate(kept)
        together = together[np.argsort(together["row"])]
        of_kind = OF_KIND.get(kind, Particles)
        names = together.dtype.names or ()
        values: dict[str, Any] = {
            field.name: np.ascontiguousarray(together[field.name]) if field.name in names else None
            for field in fields(of_kind)
        }
        return of_kind(**values)


def write_scratch(path: Path, key: str, kept: Kept, side: float) -> None:
    """Write what is kept of a piece.

    Parameters
    ----------
    key : of all that it depends on
    side : of a cell, kpc
    """
    with new_hdf5(path) as file:
        file.attrs["key"], file.attrs["extent"] = key, kept.extent
        for kind, particles in kept.particles.items():
            if len(particles):
                _write_kind(file.create_group(str(kind)), particles, kept.rows[kind], side)


def _write_kind(group: h5py.Group, particles: Particles, rows: IntArray, side: float) -> None:
    of_cell = np.floor(particles.positions / side).astype(np.int32)
    order = np.lexsort((rows, *of_cell.T[::-1]))
    columns = {field.name: getattr(particles, field.name) for field in fields(particles)}
    columns = {name: values for name, values in columns.items() if values is not None} | {"row": rows}
    kinds = [(name, values.dtype, values.shape[1:]) for name, values in columns.items()]
    table = np.empty(len(rows), kinds)
    for name, values in columns.items():
        table[name] = values[order]
    cells, first = np.unique(of_cell[order], axis=0, return_index=True)
    group["particles"] = table
    group["cells"], group["first"] = cells, first
    group.attrs["bounds"] = np.array([cells.min(axis=0), cells.max(axis=0)])


def _in_cells(path: Path, kind: int, wanted: list[FloatArray]) -> npt.NDArray[Any]:
    """The rows of a file that lie in cells from the first to the last of any pair, (2, 3) each."""
    with opened(path, f"{path}: not readable") as file:
        cells, particles = values_of(dataset_of(file, f"{kind}/cells")), dataset_of(file, f"{kind}/particles")
        ends = np.append(values_of(dataset_of(file, f"{kind}/first")), particles.shape[0])
        near = np.zeros(len(cells), bool)
        for low, high in wanted:
            near |= np.all((cells >= low) & (cells <= high), axis=1)
        edges = np.flatnonzero(np.diff(near, prepend=False, append=False))  # where runs of cells begin and end
        runs = [values_of(particles, slice(ends[a], ends[b])) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        return np.concatenate([*runs, values_of(particles, slice(0, 0))])


def nothing(kind: int) -> Particles:
    """No particles of a type."""
    of_kind = OF_KIND.get(kind, Particles)
    shapes = {"positions": (0, 3)}
    values: dict[str, Any] = {
        field.name: np.zeros(shapes.get(field.name, (0,))) for field in fields(of_kind) if field.default is MISSING
    }
    return of_kind(**values)


def has_key(path: Path, key: str) -> bool:
    """Whether a file is there, can be read, and is of this key."""
    if not path.is_file():
        return False
    try:
        with opened(path, f"{path}: not readable") as file:
            return bool(attribute_of(file, "key") == key)
    except InputError:
        return False


def open_scratch(path: Path, header: Header, side: float, files: list[Path]) -> Scratch:
    """All files of the snapshot at `path`."""
    extents: list[FloatArray] = []
    bounds: dict[tuple[Path, int], Cells] = {}
    for each in files:
        with opened(each, f"{each}: not readable") as file:
            extents.append(np.asarray(attribute_of(file, "extent")))
            bounds |= {(each, int(kind)): attribute_of(file[kind], "bounds") for kind in names_in(file)}
    extent = np.array([np.min([low for low, _ in extents], axis=0), np.max([high for _, high in extents], axis=0)])
    return Scratch(path, header, extent, side, files, bounds)
