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

import errno
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import is_hdf5
from hpc_massmap.progress import say_once
from hpc_massmap.sims.blocks import Reader, Spheres
from hpc_massmap.sims.gadget_binary import BinaryFile, byte_order
from hpc_massmap.sims.gadget_file import File, Scale, check_same_snapshot, header_of, number_of, scale_of
from hpc_massmap.sims.gadget_hdf5 import Hdf5File
from hpc_massmap.sims.particles import (
    BOUNDARY,
    FULLY_IONISED,
    GAS,
    KINDS,
    STARS,
    Gas,
    Header,
    Particles,
    Snapshot,
    Stars,
)
from hpc_massmap.sims.pymsz import hydrogen_fraction, multiphase

NEIGHBOURS = 64


@dataclass(frozen=True)
class Asked:
    """What of the gas is asked for beside what all maps need.

    Attributes
    ----------
    metallicity : whether it is; if not, what is wrong with it is nobody's business
    pymsz : whether hydrogen and multiphase gas are by the rules of sims/pymsz.py
    """

    metallicity: bool
    pymsz: bool = False


def read_header(path: Path) -> Header:
    """The header alone; its errors are those of `read_snapshot`."""
    with opened(path) as file:
        return header_of(file)


def snapshot_files(path: Path) -> list[Path]:
    """All files of a snapshot, `path` first.

    Raises
    ------
    InputError
        If the snapshot has several and `path` is not the one numbered 0, or another is missing.
    """
    with opened(path) as file:
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
        files = [stack.enter_context(opened(each)) for each in snapshot_files(path)]
        header = header_of(files[0])
        check_same_snapshot(files, header)
        scale, starless = scale_of(files[0], header), formed_no_stars(files)
        readers: list[Reader] = []
        particles: dict[str, Any] = {}
        for kind, name in KINDS.items():
            readers.append(Reader(files, kind, scale, spheres))
            particles[name] = particles_of(readers[-1], files, header, scale, Asked(metallicity, pymsz), starless)
        return Snapshot(path, header, **particles, extent=extent_of(readers))


def particles_of(
    reader: Reader, files: list[File], header: Header, scale: Scale, asked: Asked, starless: bool
) -> Particles:
    """What is kept of one type, with all its blocks; errors as of `read_snapshot`."""
    if reader.kind == GAS:
        return _gas(files, header, reader, asked, scale, starless)
    return _stars(reader) if reader.kind == STARS else reader.particles()


def extent_of(readers: list[Reader]) -> FloatArray:
    """The least and the greatest coordinate of all particles, kept or not, (2, 3) kpc."""
    low, high = [reader.low for reader in readers], [reader.high for reader in readers]
    return np.array([np.min(low, axis=0), np.max(high, axis=0)])


def boundary_masses(path: Path, centres: FloatArray, radii: FloatArray) -> FloatArray:
    """Mass of low-resolution particles in each of some spheres, (k,) Msun/h; parameters as of `read_snapshot`."""
    masses = np.zeros(len(radii))
    with ExitStack() as stack:
        files = [stack.enter_context(opened(each)) for each in snapshot_files(path)]
        scale = scale_of(files[0], header_of(files[0]))
        for kind in BOUNDARY:
            own = [file for file in files if file.counts[kind] and file.has(kind, "Coordinates")]
            if not any(file.has(kind, "Masses") or file.header["MassTable"][kind] > 0 for file in own):
                continue  # Arepo's tracers have none
            particles = Reader(own, kind, scale, (centres, radii)).particles()
            for n, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
                inside = np.sum((particles.positions - centre) ** 2, axis=1) <= radius**2
                masses[n] += particles.masses[inside].sum()
    return masses


@contextmanager
def opened(path: Path) -> Iterator[File]:
    """One file of a snapshot, in whatever format it is."""
    file = _open(path)
    try:
        yield file
    finally:
        file.close()


def _open(path: Path) -> File:
    try:
        with path.open("rb") as raw:
            first = raw.read(4)
    except FileNotFoundError:
        raise InputError(f"{path}: no such snapshot") from None
    except OSError as error:
        if error.errno == errno.EMFILE:  # no fault of this file
            raise
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if is_hdf5(path):
        return Hdf5File(path)
    if byte_order(first):
        return BinaryFile(path)
    raise InputError(f"{path}: not a readable snapshot: neither HDF5 nor GADGET-2 binary, or truncated")


def _gas(files: list[File], header: Header, reader: Reader, asked: Asked, scale: Scale, starless: bool) -> Gas:
    _say_what_is_missing(files, reader)
    cool = reader.has("ElectronAbundance")
    masses = reader.masses()
    density = reader.block("Density", positive=True) * scale.density
    if reader.has("SmoothingLength"):
        radius = reader.block("SmoothingLength", positive=True) * scale.length
    else:
        radius = np.cbrt(NEIGHBOURS * 3 * masses / header.h / (4 * np.pi * density))
    star_formation_rate = _star_formation_rate(reader, starless)
    hydrogen = hydrogen_fraction(reader) if asked.pymsz else None
    ionised = np.full(len(masses), FULLY_IONISED) if hydrogen is None else 1 + (1 - hydrogen) / (2 * hydrogen)
    return Gas(
        reader.positions,
        masses,
        density=density,
        smoothing_length=radius,
        internal_energy=reader.block("InternalEnergy", positive=True) * scale.energy,
        electron_abundance=reader.block("ElectronAbundance") if cool else ionised,
        star_formation_rate=star_formation_rate,
        metallicity=reader.block("Metallicity") if asked.metallicity and reader.has("Metallicity") else None,
        wind=reader.block("DelayTime") > 0 if reader.has("DelayTime") else None,
        hydrogen=hydrogen,
        multiphase=multiphase(reader, star_formation_rate) if asked.pymsz else None,
    )


def _say_what_is_missing(files: list[File], reader: Reader) -> None:
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


def _stars(reader: Reader) -> Stars:
    formed = "GFM_StellarFormationTime"
    return Stars(reader.positions, reader.masses(), reader.block(formed) <= 0 if reader.has(formed) else None)


def formed_no_stars(files: list[File]) -> bool:
    """Whether the files say so, by their header or by having none."""
    flags = [name for name in ("Flag_Sfr", "Flag_SFR") if name in files[0].header]
    return bool(flags and number_of(files[0], *flags) == 0) or not any(file.counts[STARS] for file in files)


def _star_formation_rate(reader: Reader, starless: bool) -> FloatArray:
    """As stored; zero for a run that formed no stars."""
    if not reader.has("StarFormationRate") and starless:
        return np.zeros(reader.number)
    return reader.block("StarFormationRate")
