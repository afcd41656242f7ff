"""A region with more halos than are drawn in one go, as a whole cosmological box: its snapshot is read once for all.

The ranks share its pieces. What lies about the halos is kept in scratch files beside the parts until all halos are
drawn; a rank holds a piece for each of its threads, a million particles, however large the box is. A job that was
killed goes on with the pieces that are left.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpc_massmap.balance import balanced, own_threads
from hpc_massmap.config import Maps
from hpc_massmap.errors import InputError
from hpc_massmap.maps.nearby import SMOOTHED
from hpc_massmap.maps.reach import reach_of
from hpc_massmap.mpi import on_first
from hpc_massmap.progress import say
from hpc_massmap.sims import blocks
from hpc_massmap.sims.blocks import Spheres
from hpc_massmap.sims.consistency import critical_density
from hpc_massmap.sims.particles import BOUNDARY, KINDS, Header
from hpc_massmap.sims.periodic import image_spheres
from hpc_massmap.sims.pieces import Piece, Survey, pieces_of, read_piece, survey
from hpc_massmap.sims.scratch import ELSE, LENGTHS, Scratch, has_key, open_scratch, write_scratch
from hpc_massmap.sims.selection import Halo, sources_digest
from hpc_massmap.sims.snapshot import Asked
from hpc_massmap.storage import digest_of, telling

if TYPE_CHECKING:
    from mpi4py import MPI

SUFFIX = ".scratch"
ABOUT = 2.0  # M200: the mass to the corners of a halo's maps, of an NFW halo 1.5 and what else is there
GB = 1e9


@dataclass(frozen=True)
class Reading:
    """How a snapshot is read for its halos.

    Attributes
    ----------
    files : of its pieces, in their order
    key : of all that they depend on
    spheres : type -> what is kept of it; all where it is None
    side : of the cells that they are sorted by, kpc
    """

    found: Survey
    pieces: list[Piece]
    files: list[Path]
    key: str
    spheres: Mapping[int, Spheres | None]
    side: float
    asked: Asked


def read_once(halos: list[Halo], folder: Path, config: Maps, asked: Asked, comm: "MPI.Intracomm") -> Scratch | str:
    """Read the snapshot of some halos of one source, each of its particles once. To be called by all ranks.

    Parameters
    ----------
    folder : of the scratch files
    asked : of the gas

    Returns
    -------
    The particles about the halos, to be removed by `remove`; or why the snapshot cannot be read.

    Raises
    ------
    InputError
        If the disk has no place for them.
    """
    reading = on_first(comm, lambda: _planned(halos, folder, config, asked))
    if isinstance(reading, str):
        return reading
    todo = on_first(comm, lambda: _unread(reading, halos))
    reasons: dict[int, str] = {}

    def read(place: int) -> str | None:
        try:
            kept = read_piece(reading.found, reading.pieces[todo[place]], reading.spheres, asked)
        except InputError as error:
            return str(error)
        write_scratch(reading.files[todo[place]], reading.key, kept, reading.side)
        return None

    def on_done(place: int, reason: str | None) -> bool:
        if reason is not None:
            reasons[place] = reason
        return not reasons

    def result() -> Scratch | str:
        if reasons:
            _remove(reading.files)
            return reasons[min(reasons)]
        return open_scratch(reading.found.path, reading.found.header, reading.side, reading.files)

    balanced(comm, len(todo), read, own_threads(comm), on_done)
    return on_first(comm, result)


def remove(scratch: Scratch) -> None:
    """Remove the files, when all halos are drawn."""
    _remove(scratch.files)


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _planned(halos: list[Halo], folder: Path, config: Maps, asked: Asked) -> Reading | str:
    source = halos[0].source
    try:
        found = survey(source.snapshot_file)
    except InputError as error:
        return str(error)
    centres, radii = np.array([halo.centre for halo in halos]), reach_of(halos)
    near = image_spheres(centres, radii, found.header.box)
    whole = SMOOTHED if config.adaptive_smoothing else ()  # neighbours may be anywhere
    spheres = {kind: None if kind in whole else near for kind in (*KINDS, *BOUNDARY)}
    side = float(np.median(radii))
    where = [sources_digest([source]), [sphere.tolist() for sphere in near], list(whole)]
    key = digest_of([*where, side, [asked.metallicity, asked.pymsz], blocks.CHUNK])
    name = f"{source.simulation}-{source.region}-{source.snapshot:03d}-{key[:12]}"
    pieces = pieces_of(found)
    files = [folder / f"{name}-{n}{SUFFIX}" for n in range(len(pieces))]
    return Reading(found, pieces, files, key, spheres, side, asked)


def _unread(reading: Reading, halos: list[Halo]) -> list[int]:
    """The pieces that are left, which the disk has place for."""
    left = [n for n, file in enumerate(reading.files) if not has_key(file, reading.key)]
    folder, path = reading.files[0].parent, reading.found.path
    needed = bytes_of(reading, halos) * len(left) / len(reading.files)
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: to read {path} once for its {len(halos)} halos takes about {needed / GB:.3g} GB there, and "
            f"{free / GB:.3g} GB are free; free some, or put maps.file on a larger disk"
        )
    say(
        f"reading {path} once for {len(halos)} halos, {len(left)} of {len(reading.files)} pieces left; about "
        f"{needed / GB:.2g} GB in {folder} until they are drawn"
    )
    return left


def bytes_of(reading: Reading, halos: list[Halo]) -> float:
    """About how much the scratch files of a snapshot take, in all."""
    share = share_of_matter(halos, reading.found.header)
    counts = reading.found.counts.sum(axis=0).tolist()
    of_kinds = reading.spheres.items()
    return float(
        sum(counts[kind] * LENGTHS.get(kind, ELSE) * (1 if near is None else share) for kind, near in of_kinds)
    )


def share_of_matter(halos: list[Halo], header: Header) -> float:
    """About which share of all matter lies about some halos, at most 1, which it is where they do not fill a box."""
    centres = np.array([halo.centre for halo in halos])
    if header.box <= 0 or np.any(np.ptp(centres, axis=0) < header.box / 2):
        return 1.0
    now = float(critical_density(0.0, header.omega_m)) * header.h**2 * header.omega_m  # Msun/kpc^3, comoving
    mass = now * (header.box / header.a) ** 3 * header.h  # Msun/h
    return min(1.0, ABOUT * sum(halo.m200 for halo in halos) / mass)
