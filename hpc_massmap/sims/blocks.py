"""The particles of one type in the files of a snapshot: which are kept, and their blocks, checked as they are read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.errors import InputError
from hpc_massmap.sims.gadget_file import File, Scale
from hpc_massmap.sims.particles import BoolArray, Particles

CHUNK = 1_000_000  # particles read at a time
MANY = 64  # spheres: as long as sorting takes
Spheres = tuple[FloatArray, FloatArray]  # centres (k, 3) and radii (k,), physical kpc


@dataclass(frozen=True)
class Part:
    """Particles of one type, next to each other in one file, of which some are kept."""

    file: File
    rows: slice
    kept: Any  # indices within the rows, or a slice of all
    number: int


class Reader:
    """The particles of one type, over all files: which are kept, and their blocks, checked as they are read."""

    def __init__(self, files: list[File], kind: int, scale: Scale, spheres: Spheres | None) -> None:
        self._files = [file for file in files if file.counts[kind]]
        self.kind, self._scale = kind, scale
        self._parts: list[Part] = []
        self.low, self.high = np.full(3, np.inf), np.full(3, -np.inf)
        pieces: list[FloatArray] = [np.zeros((0, 3))]
        for file in self._files:
            for start in range(0, file.counts[kind], CHUNK):
                rows = slice(start, min(start + CHUNK, file.counts[kind]))
                positions = self._checked(file, "Coordinates", rows, slice(None), False) * scale.length
                self.low = np.minimum(self.low, positions.min(axis=0))
                self.high = np.maximum(self.high, positions.max(axis=0))
                kept: Any = slice(None) if spheres is None else np.flatnonzero(inside(positions, *spheres))
                pieces.append(positions if spheres is None else positions[kept])
                self._parts.append(Part(file, rows, kept, len(pieces[-1])))
        self.positions: FloatArray = np.concatenate(pieces)
        self.number = len(self.positions)

    @property
    def rows(self) -> IntArray:
        """Which rows of the blocks are kept, (n,), where there is one file."""
        kept = [np.arange(part.rows.start, part.rows.stop)[part.kept] for part in self._parts]
        return np.concatenate([np.zeros(0, np.int64), *kept])

    def particles(self) -> Particles:
        return Particles(self.positions, self.masses())

    def has(self, name: str) -> bool:
        """Whether a block is there: in one file at least, and then it must be in all."""
        return any(file.has(self.kind, name) for file in self._files)

    def label(self, name: str) -> str:
        """What the first file calls a block."""
        return self._files[0].label(self.kind, name)

    def where(self) -> str:
        """The first file that holds any."""
        return str(self._files[0].path)

    def masses(self) -> FloatArray:
        """Of each particle, (n,), Msun/h."""

        def of_part(file: File, rows: slice, kept: Any) -> FloatArray:
            table = float(file.header["MassTable"][self.kind])
            if table > 0 and not file.has(self.kind, "Masses"):
                return np.asarray(np.full(rows.stop - rows.start, table)[kept])
            masses = self._checked(file, "Masses", rows, kept, True)
            if table > 0 and not np.allclose(masses, table, rtol=1e-3, atol=0):
                raise InputError(
                    f"{file.path}: {file.label(self.kind, 'Masses')} has {masses.min():.4g} to {masses.max():.4g}, "
                    f"but MassTable in the Header {table:.4g}; set it to 0 where the block is right"
                )
            return masses

        return self._gathered(of_part) * self._scale.mass

    def block(self, name: str, positive: bool = False) -> FloatArray:
        """(n,) float64, code units."""
        return self._gathered(lambda file, rows, kept: self._checked(file, name, rows, kept, positive))

    def _gathered(self, read: Callable[[File, slice, Any], FloatArray]) -> FloatArray:
        values = np.empty(self.number)
        filled = 0
        for part in self._parts:
            if part.number:
                values[filled : filled + part.number] = read(part.file, part.rows, part.kept)
                filled += part.number
        return values

    def _checked(self, file: File, name: str, rows: slice, kept: Any, positive: bool) -> FloatArray:
        """Those rows of a block that are kept, as float64 and finite."""
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            values: FloatArray = file.read(self.kind, name, rows)[kept].astype(np.float64)
        if not np.all(np.isfinite(values)):
            raise InputError(f"{file.path}: {file.label(self.kind, name)} has values that are not finite")
        if positive and not np.all(values > 0):
            raise InputError(f"{file.path}: {file.label(self.kind, name)} has values that are not positive")
        return values


def inside(positions: FloatArray, centres: FloatArray, radii: FloatArray) -> BoolArray:
    """Whether each position lies in any of the spheres, their surface included, (n,)."""
    found = np.zeros(len(positions), bool)
    for near, centre, radius in zip(_slabs(positions, centres, radii), centres, radii, strict=True):
        found[near] |= np.sum((positions[near] - centre) ** 2, axis=1) <= radius**2
    return found


def _slabs(positions: FloatArray, centres: FloatArray, radii: FloatArray) -> Iterator[IntArray]:
    """For each sphere those positions that are as near along one axis: by sorting where there are many spheres."""
    if len(radii) <= MANY:
        for centre, radius in zip(centres, radii, strict=True):
            yield np.flatnonzero(np.abs(positions[:, 0] - centre[0]) <= radius)
        return
    order = np.argsort(positions[:, 0])
    ordered, wide = positions[order, 0], radii * (1 + 1e-9) + np.abs(centres[:, 0]) * 1e-12
    first = np.searchsorted(ordered, centres[:, 0] - wide)
    last = np.searchsorted(ordered, centres[:, 0] + wide, side="right")
    for start, stop in zip(first.tolist(), last.tolist(), strict=True):
        yield order[start:stop]
