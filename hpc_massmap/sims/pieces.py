"""A snapshot in pieces, for whoever has time: what all its files have is found out first, from their headers alone.

A piece is a run of particles of every type in one file, a million in all. Every particle is in one piece.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.sims import blocks
from hpc_massmap.sims.blocks import Reader, Spheres
from hpc_massmap.sims.gadget_file import File, Scale, check_same_snapshot, header_of, scale_of
from hpc_massmap.sims.particles import BOUNDARY, KINDS, Header, Particles
from hpc_massmap.sims.snapshot import Asked, extent_of, formed_no_stars, opened, particles_of, snapshot_files

BLOCKS = (
    *("Coordinates", "Masses", "Density", "InternalEnergy", "ElectronAbundance", "SmoothingLength"),
    *("StarFormationRate", "Metallicity", "DelayTime", "GFM_StellarFormationTime", "HeliumFraction", "ColdFraction"),
)


@dataclass(frozen=True)
class Survey:
    """What the headers of a snapshot say.

    Attributes
    ----------
    counts : (files, 6), particles of each type
    has : (type, block) -> whether it is there: in one file at least, and then it must be in all
    weighed : the boundary particles that have masses; Arepo's tracers have none
    """

    path: Path
    header: Header
    scale: Scale
    starless: bool
    files: list[Path]
    counts: IntArray
    has: Mapping[tuple[int, str], bool]
    weighed: frozenset[int]


@dataclass(frozen=True)
class Piece:
    """Some particles of each type in one file.

    Attributes
    ----------
    first, last : (6,), rows of the file: from one to before the other
    before : (6,), particles in the files before this one
    """

    file: Path
    first: IntArray
    last: IntArray
    before: IntArray


@dataclass(frozen=True)
class Kept:
    """Of a piece, what is asked for.

    Attributes
    ----------
    particles : by type
    rows : by type, (n,): their places among all particles of the snapshot of their type
    extent : (2, 3) kpc, of all particles of the piece, kept or not
    """

    particles: dict[int, Particles]
    rows: dict[int, IntArray]
    extent: FloatArray


def survey(path: Path) -> Survey:
    """Look at every file of a snapshot; the errors are those of `read_snapshot`, of what headers say."""
    files: list[File] = []
    has = {(kind, name): False for kind in (*KINDS, *BOUNDARY) for name in BLOCKS}
    weighed = set[int]()
    for each in snapshot_files(path):
        with opened(each) as file:
            for kind, name in has:
                has[kind, name] |= bool(file.counts[kind]) and file.has(kind, name)
            for kind in BOUNDARY:
                own = file.counts[kind] and file.has(kind, "Coordinates")
                if own and (file.has(kind, "Masses") or file.header["MassTable"][kind] > 0):
                    weighed.add(kind)
        files.append(file)  # closed: its header stays
    header = header_of(files[0])
    check_same_snapshot(files, header)
    counts = np.array([file.counts for file in files])
    paths = [file.path for file in files]
    scale, starless = scale_of(files[0], header), formed_no_stars(files)
    return Survey(path, header, scale, starless, paths, counts, has, frozenset(weighed))


def pieces_of(found: Survey) -> list[Piece]:
    """All pieces of a snapshot, in its order."""
    pieces = []
    before = np.cumsum(found.counts, axis=0) - found.counts
    for file, counts, earlier in zip(found.files, found.counts, before, strict=True):
        number = max(1, -(-int(counts.sum()) // blocks.CHUNK))
        ends = [counts * n // number for n in range(number + 1)]
        pieces += [Piece(file, *pair, earlier) for pair in pairwise(ends)]
    return pieces


def read_piece(found: Survey, piece: Piece, spheres: Mapping[int, Spheres | None], asked: Asked) -> Kept:
    """Read one piece of a snapshot, as `read_snapshot` reads all.

    Parameters
    ----------
    spheres : type -> what is kept of it, as of `read_snapshot`
    """
    particles: dict[int, Particles] = {}
    rows: dict[int, IntArray] = {}
    with opened(piece.file) as file:
        window = _Window(file, piece, found.has)
        readers = []
        for kind in KINDS:
            reader = Reader([window], kind, found.scale, spheres[kind])
            particles[kind] = particles_of(reader, [window], found.header, found.scale, asked, found.starless)
            readers.append(reader)
        boundary = [kind for kind in found.weighed if file.counts[kind] and file.has(kind, "Coordinates")]
        others = [Reader([window], kind, found.scale, spheres[kind]) for kind in boundary]
        particles |= {reader.kind: reader.particles() for reader in others}
        for reader in (*readers, *others):
            rows[reader.kind] = reader.rows + piece.first[reader.kind] + piece.before[reader.kind]
        return Kept(particles, rows, extent_of(readers))


class _Window:
    """A piece of a file as if it were one, which has the blocks that any file of its snapshot has."""

    def __init__(self, file: File, piece: Piece, has: Mapping[tuple[int, str], bool]) -> None:
        self.path, self.header = file.path, file.header
        self.counts: list[int] = (piece.last - piece.first).tolist()
        self._file, self._first, self._has = file, piece.first.tolist(), has

    def has(self, kind: int, name: str) -> bool:
        return self._has[kind, name]

    def others(self) -> list[str]:
        return self._file.others()

    def label(self, kind: int, name: str) -> str:
        return self._file.label(kind, name)

    def read(self, kind: int, name: str, rows: slice) -> Any:
        first = self._first[kind]
        return self._file.read(kind, name, slice(rows.start + first, rows.stop + first))

    def close(self) -> None:
        """The file is closed where it was opened."""
