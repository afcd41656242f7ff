"""Snapshots in GADGET's HDF5 layout (GADGET-2/3/4, GIZMO), in one file each.

Units are converted here, once, and nowhere else:

position, smoothing length   comoving kpc/h              -> physical kpc, without h
mass                         1e10 Msun/h                 -> Msun/h
density                      1e10 Msun/h (comoving kpc/h)^-3 -> physical Msun kpc^-3, without h
internal energy              (km/s)^2, physical already
electron abundance           electrons per hydrogen nucleus

GADGET's smoothing length is the radius at which the kernel reaches zero, and so is ours. Boundary particles of
zoom-in runs (types 2 and 3) are not read: the sample has none inside its halos.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.sims.particles import (
    BLACK_HOLES,
    DARK_MATTER,
    GAS,
    HYDROGEN_FRACTION,
    STARS,
    Gas,
    Header,
    Particles,
    Snapshot,
)

FULLY_IONISED = 1 + (1 - HYDROGEN_FRACTION) / (2 * HYDROGEN_FRACTION)  # electrons per hydrogen, with helium
MASS_UNIT = 1e10  # Msun/h
CODE_UNITS = {"UnitLength_in_cm": 3.0857e21, "UnitMass_in_g": 1.989e43, "UnitVelocity_in_cm_per_s": 1e5}


def read_header(path: Path) -> Header:
    """The header alone; its errors are those of `read_snapshot`."""
    with _opened(path) as reader:
        return reader.header


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot and convert its units.

    Raises
    ------
    InputError
        One line that names the file, and the block that is missing, incomplete or not finite.
    """
    with _opened(path) as reader:
        return Snapshot(
            path,
            reader.header,
            reader.gas(),
            Particles(*reader.positions_and_masses(DARK_MATTER)),
            Particles(*reader.positions_and_masses(STARS)),
            Particles(*reader.positions_and_masses(BLACK_HOLES)),
        )


@contextmanager
def _opened(path: Path) -> Iterator["_Reader"]:
    """A reader of an open file; whatever HDF5 makes of a damaged one becomes an InputError."""
    try:
        with h5py.File(path, "r") as file:
            yield _Reader(path, file)
    except FileNotFoundError:
        raise InputError(f"{path}: no such snapshot") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a readable HDF5 snapshot, or truncated ({reason})") from None


class _Reader:
    """An open snapshot, whose header has been read and whose blocks are checked as they are read."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file
        self._read_header()

    def _read_header(self) -> None:
        if "Header" not in self._file:
            raise InputError(f"{self.path}: has no Header; expected a snapshot in GADGET's HDF5 layout")
        # GADGET-4 keeps the cosmology and the units under Parameters
        parameters = self._file["Parameters"].attrs if "Parameters" in self._file else {}
        attributes = {**parameters, **self._file["Header"].attrs}
        redshift, h = self._number(attributes, "Redshift"), self._number(attributes, "HubbleParam")
        self.header = Header(
            redshift,
            1 / (1 + redshift),
            h,
            self._number(attributes, "Omega0", "Omega_Matter"),
            self._number(attributes, "OmegaLambda", "Omega_Lambda"),
        )
        for name, expected in CODE_UNITS.items():
            if name in attributes and abs(attributes[name] / expected - 1) > 0.01:
                raise InputError(
                    f"{self.path}: {name} = {attributes[name]:g}; only kpc/h, 1e10 Msun/h and km/s are understood"
                )
        files = int(attributes.get("NumFilesPerSnapshot", 1))
        if files != 1:
            raise InputError(f"{self.path}: one of {files} files of a snapshot; join them into one first")
        for name in ("NumPart_ThisFile", "MassTable"):
            if name not in attributes:
                raise InputError(f"{self.path}: Header has no {name}")
        self._counts = [int(n) for n in attributes["NumPart_ThisFile"]]
        self._mass_table = [float(m) for m in attributes["MassTable"]]
        self._length = self.header.a / h

    def _number(self, attributes: Mapping[str, Any], *names: str) -> float:
        for name in names:
            if name in attributes:
                value = float(attributes[name])
                if not np.isfinite(value):
                    raise InputError(f"{self.path}: {name} = {value} in the Header")
                return value
        raise InputError(f"{self.path}: Header has no {' or '.join(names)}")

    def positions_and_masses(self, kind: int) -> tuple[FloatArray, FloatArray]:
        count = self._count(kind)
        positions = self._block(kind, "Coordinates", (count, 3)) * self._length
        table = self._mass_table[kind] if kind < len(self._mass_table) else 0.0
        masses = np.full(count, table) if table > 0 else self._block(kind, "Masses", (count,), positive=True)
        return positions, masses * MASS_UNIT

    def gas(self) -> Gas:
        shape = (self._count(GAS),)
        positions, masses = self.positions_and_masses(GAS)
        if f"PartType{GAS}/ElectronAbundance" in self._file:
            electrons = self._block(GAS, "ElectronAbundance", shape)
        else:
            electrons = np.full(shape, FULLY_IONISED)
        return Gas(
            positions,
            masses,
            density=self._block(GAS, "Density", shape, positive=True) * MASS_UNIT / self.header.h / self._length**3,
            smoothing_length=self._block(GAS, "SmoothingLength", shape, positive=True) * self._length,
            internal_energy=self._block(GAS, "InternalEnergy", shape, positive=True),
            electron_abundance=electrons,
            star_formation_rate=self._block(GAS, "StarFormationRate", shape),
        )

    def _count(self, kind: int) -> int:
        return self._counts[kind] if kind < len(self._counts) else 0

    def _block(self, kind: int, name: str, shape: tuple[int, ...], positive: bool = False) -> FloatArray:
        """One block as float64, complete and finite."""
        block = f"PartType{kind}/{name}"
        if shape[0] == 0:
            return np.zeros(shape)
        if block not in self._file:
            raise InputError(f"{self.path}: has no {block}")
        if self._file[block].shape != shape:
            raise InputError(f"{self.path}: {block} is {self._file[block].shape}, but the Header counts {shape}")
        values: FloatArray = self._file[block][:].astype(np.float64)
        if not np.all(np.isfinite(values)):
            raise InputError(f"{self.path}: {block} has values that are not finite")
        if positive and not np.all(values > 0):
            raise InputError(f"{self.path}: {block} has values that are not positive")
        return values
