"""Snapshots of one or several files, in GADGET's HDF5 layout or GADGET-2's binary formats; the content tells which.

h5py and a binary reader of our own, because pynbody and yt cost 10 to 15 and 23 to 37 times the time on 1e6 particles
(0.02 s; benchmarks/readers.py, warm disk cache), and pynbody finds no density in format 1.

Units are converted here, once, and nowhere else:

position, smoothing length   comoving kpc/h              -> physical kpc, without h
mass                         1e10 Msun/h                 -> Msun/h
density                      1e10 Msun/h (comoving kpc/h)^-3 -> physical Msun kpc^-3, without h
internal energy              (km/s)^2, physical already
electron abundance           electrons per hydrogen nucleus

or from whatever units of length, mass and velocity the file names. Boundary particles of zoom-in runs (types 2 and 3)
are not in a snapshot: the sample has none near its halos, and `boundary_masses` tells where that is not so.

Gas without a stored smoothing length, as Arepo's, gets the radius whose sphere holds the mass of 64 particles at its
density, 4 (3 m / 4 pi rho)^(1/3): GADGET's own definition, where the kernel reaches zero.

Positions stay in double precision: single costs up to 0.03 kpc at 500 Mpc from the origin, and saves 12 of the 72
to 81 bytes of a gas particle.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.hdf5 import is_hdf5
from hpc_massmap.progress import say_once
from hpc_massmap.sims.gadget_binary import BinaryFile, byte_order
from hpc_massmap.sims.gadget_file import File, Scale, check_same_snapshot, header_of, number_of, scale_of, understood
from hpc_massmap.sims.gadget_hdf5 import Hdf5File
from hpc_massmap.sims.particles import (
    BLACK_HOLES,
    BOUNDARY,
    DARK_MATTER,
    FULLY_IONISED,
    GAS,
    STARS,
    Gas,
    Header,
    Particles,
    Snapshot,
    Stars,
)
from hpc_massmap.sims.pymsz import hydrogen_fraction, multiphase

NEIGHBOURS = 64
CHUNK = 1_000_000  # particles read at a time
Spheres = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class Part:
    """Particles of one type, next to each other in one file, of which some are kept."""

    file: File
    rows: slice
    kept: Any  # indices within the rows, or a slice of all
    number: int


def read_header(path: Path) -> Header:
    """The header alone; its errors are those of `read_snapshot`."""
    with _opened(path) as file:
        return header_of(file)


def snapshot_files(path: Path) -> list[Path]:
    """All files of a snapshot, `path` first.

    Raises
    ------
    InputError
        If the snapshot has several and `path` is not the one numbered 0, or another is missing.
    """
    with _opened(path) as file, understood(path):
        number = int(number_of(file, "NumFilesPerSnapshot")) if "NumFilesPerSnapshot" in file.header else 1
    if number <= 1:
        return [path]
    name = re.fullmatch(r"(.*)\.0(\.\w+)?", path.name)
    if name is None:
        raise InputError(f"{path}: one of {number} files of a snapshot; give the one whose name has the number 0")
    files = [path.with_name(f"{name[1]}.{i}{name[2] or ''}") for i in range(number)]
    for file_path in files:
        if not file_path.exists():
            raise InputError(f"{file_path}: missing, but {path} is one of {number} files")
    return files


def read_snapshot(
    path: Path, spheres: Spheres | None = None, metallicity: bool = True, pymsz: bool = False
) -> Snapshot:
    """Read a snapshot and convert its units.

    Parameters
    ----------
    path : the file, or the one numbered 0 of several
    spheres : centres (k, 3) and radii (k,), physical kpc; only particles inside any of them are kept. Memory is then
        at most twice the positions of what is kept, its other fields, and 100 MB for the 1e6 particles under way.
        Blocks of pieces that lie wholly outside are not looked at.
    metallicity : whether it is asked for; if not, what is wrong with it is nobody's business
    pymsz : whether hydrogen and multiphase gas are by the rules of sims/pymsz.py

    Raises
    ------
    InputError
        One line that names the file, and the block that is missing, incomplete or not finite.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(each)) for each in snapshot_files(path)]
        header = header_of(files[0])
        check_same_snapshot(files, header)
        scale = scale_of(files[0], header)
        of_gas = _Reader(files, GAS, scale, spheres)
        gas = _gas(files, header, of_gas, metallicity, pymsz, scale)
        others = [_Reader(files, kind, scale, spheres) for kind in (DARK_MATTER, STARS, BLACK_HOLES)]
        readers, (dark_matter, stars, black_holes) = [of_gas, *others], others
        extent = np.array([_least(reader.low for reader in readers), -_least(-reader.high for reader in readers)])
        return Snapshot(
            path,
            header,
            gas,
            dark_matter.particles(),
            _stars(stars),
            black_holes.particles(),
            extent,
        )


def boundary_masses(path: Path, centres: FloatArray, radii: FloatArray) -> FloatArray:
    """Mass of low-resolution particles in each of some spheres, (k,) Msun/h; parameters as of `read_snapshot`."""
    masses = np.zeros(len(radii))
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(each)) for each in snapshot_files(path)]
        scale = scale_of(files[0], header_of(files[0]))
        for kind in BOUNDARY:
            own = [file for file in files if file.counts[kind] and file.has(kind, "Coordinates")]
            if not any(file.has(kind, "Masses") or file.header["MassTable"][kind] > 0 for file in own):
                continue  # Arepo's tracers have none
            particles = _Reader(own, kind, scale, (centres, radii)).particles()
            for n, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
                inside = np.sum((particles.positions - centre) ** 2, axis=1) <= radius**2
                masses[n] += particles.masses[inside].sum()
    return masses


def _least(of_each: Iterable[FloatArray]) -> FloatArray:
    return np.asarray(np.min(list(of_each), axis=0))


@contextmanager
def _opened(path: Path) -> Iterator[File]:
    file = _open(path)
    try:
        yield file
    finally:
        file.close()


def _open(path: Path) -> File:
    try:
        with path.open("rb") as raw:
            first = raw.read(4)
    except OSError:
        raise InputError(f"{path}: {'not a readable file' if path.exists() else 'no such snapshot'}") from None
    if is_hdf5(path):
        with in_one_line(f"{path}: not a readable HDF5 snapshot, or truncated"):
            return Hdf5File(path)
    if byte_order(first):
        with in_one_line(f"{path}: not a readable GADGET-2 binary snapshot, or truncated"):
            return BinaryFile(path)
    raise InputError(f"{path}: not a readable snapshot: neither HDF5 nor GADGET-2 binary, or truncated")


def _gas(files: list[File], header: Header, reader: "_Reader", metallicity: bool, pymsz: bool, scale: Scale) -> Gas:
    _say_what_is_missing(files, reader)
    cool = reader.has("ElectronAbundance")
    masses = reader.masses()
    density = reader.block("Density", positive=True) * scale.density
    if reader.has("SmoothingLength"):
        radius = reader.block("SmoothingLength", positive=True) * scale.length
    else:
        radius = np.cbrt(NEIGHBOURS * 3 * masses / header.h / (4 * np.pi * density))
    star_formation_rate = _star_formation_rate(files, reader)
    hydrogen = hydrogen_fraction(reader) if pymsz else None
    ionised = np.full(len(masses), FULLY_IONISED) if hydrogen is None else 1 + (1 - hydrogen) / (2 * hydrogen)
    return Gas(
        reader.positions,
        masses,
        density=density,
        smoothing_length=radius,
        internal_energy=reader.block("InternalEnergy", positive=True) * scale.energy,
        electron_abundance=reader.block("ElectronAbundance") if cool else ionised,
        star_formation_rate=star_formation_rate,
        metallicity=reader.block("Metallicity") if metallicity and reader.has("Metallicity") else None,
        wind=reader.block("DelayTime") > 0 if reader.has("DelayTime") else None,
        hydrogen=hydrogen,
        multiphase=multiphase(reader, star_formation_rate) if pymsz else None,
    )


def _say_what_is_missing(files: list[File], reader: "_Reader") -> None:
    """Tell of blocks that are not understood, where one that has a substitute is missing: it may be one of them."""
    substitutes = {
        "ElectronAbundance": "gas is taken as fully ionised",
        "SmoothingLength": f"kernels hold {NEIGHBOURS} particles",
        "StarFormationRate": "no gas forms stars",
    }
    missing = [name for name in substitutes if reader.number and not reader.has(name)]
    others = ", ".join(sorted({name for file in files if missing and file.counts[GAS] for name in file.others()}))
    for name in missing:
        instead = substitutes[name]
        if others:
            say_once(f"{reader.label(name)} is not in the snapshots, so {instead}; not understood there: {others}")


def _stars(reader: "_Reader") -> Stars:
    formed = "GFM_StellarFormationTime"
    return Stars(reader.positions, reader.masses(), reader.block(formed) <= 0 if reader.has(formed) else None)


def _star_formation_rate(files: list[File], reader: "_Reader") -> FloatArray:
    """As stored; zero for a run that formed no stars."""
    flags = [name for name in ("Flag_Sfr", "Flag_SFR") if name in files[0].header]
    without = (flags and number_of(files[0], *flags) == 0) or not any(file.counts[STARS] for file in files)
    if not reader.has("StarFormationRate") and without:
        return np.zeros(reader.number)
    return reader.block("StarFormationRate")


class _Reader:
    """The particles of one type, over all files: which are kept, and their blocks, checked as they are read."""

    def __init__(self, files: list[File], kind: int, scale: Scale, spheres: Spheres | None) -> None:
        self._files = [file for file in files if file.counts[kind]]
        self._kind, self._scale = kind, scale
        self._parts: list[Part] = []
        self.low, self.high = np.full(3, np.inf), np.full(3, -np.inf)
        pieces: list[FloatArray] = [np.zeros((0, 3))]
        for file in self._files:
            for start in range(0, file.counts[kind], CHUNK):
                rows = slice(start, min(start + CHUNK, file.counts[kind]))
                positions = self._checked(file, "Coordinates", rows, slice(None), False) * scale.length
                self.low = np.minimum(self.low, positions.min(axis=0))
                self.high = np.maximum(self.high, positions.max(axis=0))
                kept: Any = slice(None) if spheres is None else np.flatnonzero(_inside(positions, *spheres))
                pieces.append(positions if spheres is None else positions[kept])
                self._parts.append(Part(file, rows, kept, len(pieces[-1])))
        self.positions: FloatArray = np.concatenate(pieces)
        self.number = len(self.positions)

    def particles(self) -> Particles:
        return Particles(self.positions, self.masses())

    def has(self, name: str) -> bool:
        """Whether a block is there: in one file at least, and then it must be in all."""
        return any(file.has(self._kind, name) for file in self._files)

    def label(self, name: str) -> str:
        """What the first file calls a block."""
        return self._files[0].label(self._kind, name)

    def where(self) -> str:
        """The first file that holds any."""
        return str(self._files[0].path)

    def masses(self) -> FloatArray:
        """Msun/h."""

        def of_part(file: File, rows: slice, kept: Any) -> FloatArray:
            table = float(file.header["MassTable"][self._kind])
            if table > 0 and not file.has(self._kind, "Masses"):
                return np.asarray(np.full(rows.stop - rows.start, table)[kept])
            masses = self._checked(file, "Masses", rows, kept, True)
            if table > 0 and not np.allclose(masses, table, rtol=1e-3, atol=0):
                raise InputError(
                    f"{file.path}: {file.label(self._kind, 'Masses')} has {masses.min():.4g} to {masses.max():.4g}, "
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
        with in_one_line(f"{file.path}: {file.label(self._kind, name)} cannot be read; is it truncated?"):
            values: FloatArray = file.read(self._kind, name, rows)[kept].astype(np.float64)
        if not np.all(np.isfinite(values)):
            raise InputError(f"{file.path}: {file.label(self._kind, name)} has values that are not finite")
        if positive and not np.all(values > 0):
            raise InputError(f"{file.path}: {file.label(self._kind, name)} has values that are not positive")
        return values


def _inside(positions: FloatArray, centres: FloatArray, radii: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether each position lies in any of the spheres, their surface included."""
    inside = np.zeros(len(positions), bool)
    for centre, radius in zip(centres, radii, strict=True):
        near = np.flatnonzero(np.abs(positions[:, 0] - centre[0]) <= radius)
        inside[near] |= np.sum((positions[near] - centre) ** 2, axis=1) <= radius**2
    return inside
