"""What every file of a snapshot says about itself, in either format: its header, its units, what it is a part of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from astropy import units as u

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.sims.consistency import check_cosmology
from hpc_massmap.sims.particles import Header

DEFAULT_UNITS = {"Length": u.kpc.to(u.cm), "Mass": 1e10 * u.Msun.to(u.g), "Velocity": (u.km / u.s).to(u.cm / u.s)}
OMEGA_M = ("Omega0", "Omega_Matter", "OmegaMatter", "Omega_m")
OMEGA_LAMBDA = ("OmegaLambda", "Omega_Lambda", "Omega_lambda")
WORD = 2**32
TIME_ERROR = 0.005
BEYOND = 1e60  # what no number of a Header reaches, and none but 0 falls below the inverse of
EARLIEST = 1e4  # redshift
UNIT_NAMES = {
    "Length": ("UnitLength_in_cm", "UnitLength_In_CGS"),
    "Mass": ("UnitMass_in_g", "UnitMass_In_CGS"),
    "Velocity": ("UnitVelocity_in_cm_per_s", "UnitVelocity_In_CGS"),
}


class File(Protocol):
    """One file of a snapshot, in either format: blocks by their HDF5 names, (n,) or (n, 3), in code units."""

    path: Path
    header: Mapping[str, Any]
    counts: list[int]

    def has(self, kind: int, name: str) -> bool: ...
    def others(self) -> list[str]: ...
    def label(self, kind: int, name: str) -> str: ...
    def read(self, kind: int, name: str, rows: slice) -> FloatArray: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Scale:
    """What one unit of the file is in ours: kpc, Msun/h, Msun kpc^-3, (km/s)^2."""

    length: float
    mass: float
    density: float
    energy: float


def header_of(file: File) -> Header:
    """Its cosmology and time, checked."""
    redshift, h = number_of(file, "Redshift"), number_of(file, "HubbleParam")
    if not -1 < redshift < EARLIEST:
        raise InputError(f"{file.path}: Redshift = {redshift} in the Header cannot be")
    omega_m = number_of(file, *OMEGA_M)
    omega_lambda = number_of(file, *OMEGA_LAMBDA) if _first(file, OMEGA_LAMBDA) else 1 - omega_m
    header = Header(redshift, 1 / (1 + redshift), h, omega_m, omega_lambda)
    check_cosmology(file.path, header)
    _check_time(file, header)
    return replace(header, box=_box(file) * scale_of(file, header).length)


def _check_time(file: File, header: Header) -> None:
    """GADGET's time is the scale factor; what cannot be one, as a time in Gyr, is none."""
    if _first(file, ("Time",)) is None:
        return
    time = number_of(file, "Time")
    if 0 < time <= 1 + TIME_ERROR and abs(time / header.a - 1) > TIME_ERROR:
        raise InputError(
            f"{file.path}: Redshift = {header.redshift:g} and Time = {time:g} in the Header do not belong together: "
            f"Time is 1/(1 + z) = {header.a:.4g}"
        )


def _box(file: File) -> float:
    """The side of the box as the file has it; 0 if it has none."""
    if _first(file, ("BoxSize",)) is None:
        return 0.0
    sides = np.unique(_numbers(file, "BoxSize"))
    if len(sides) != 1 or not abs(sides[0]) < BEYOND:
        raise InputError(f"{file.path}: BoxSize = {_said(file, 'BoxSize')} in the Header; expected the side of a cube")
    return max(float(sides[0]), 0.0)


def _first(file: File, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in file.header), None)


def _said(file: File, name: str) -> str:
    return " ".join(str(file.header[name]).split())[:40]


def _numbers(file: File, name: str) -> FloatArray:
    with in_one_line(f"{file.path}: its Header cannot be understood; is it damaged?", TypeError):
        return np.asarray(file.header[name], np.float64).reshape(-1)


def number_of(file: File, *names: str) -> float:
    """The first of these attributes of its header that is there, as a number, its text, or an array of one.

    Raises
    ------
    InputError
        If it is no number that can be, or none is there.
    """
    name = _first(file, names)
    if name is None:
        raise InputError(f"{file.path}: Header has no {' or '.join(names)}")
    try:
        (only,) = np.asarray(file.header[name]).reshape(-1).tolist()
        value = float(only)
    except (TypeError, ValueError):
        value = np.nan
    if not (value == 0 or 1 / BEYOND < abs(value) < BEYOND):
        raise InputError(f"{file.path}: {name} = {_said(file, name)} in the Header")
    return value


def check_same_snapshot(files: list[File], header: Header) -> None:
    """Raise an InputError if some files are of another snapshot than the first, or do not add up to its total."""
    first = files[0]
    for file in files[1:]:
        other = header_of(file)
        if other != header:
            raise InputError(
                f"{file.path}: is of another snapshot than {first.path.name}: "
                f"z = {other.redshift:g} against {header.redshift:g}, h = {other.h:g} against {header.h:g}"
            )
    if len(files) > 1 and "NumPart_Total" in first.header:
        # GADGET-4 leaves NumPart_Total_HighWord as it finds it, so it can be anything
        total = [int(n) for n in np.nan_to_num(_numbers(first, "NumPart_Total"))]
        found = np.sum([file.counts for file in files], axis=0)[: len(total)].tolist()
        if [n % WORD for n in found] != [n % WORD for n in total]:
            raise InputError(
                f"{first.path}: its {len(files)} files hold {found} particles, but NumPart_Total is {total}"
            )


def scale_of(file: File, header: Header) -> Scale:
    """The units that a file names, or GADGET's usual ones."""
    length, mass, velocity = (_unit(file, quantity, header.h) for quantity in DEFAULT_UNITS)
    kpc, msun = length * header.a / header.h, mass * 1e10
    return Scale(kpc, msun, msun / header.h / kpc**3, velocity**2)


def _unit(file: File, quantity: str, h: float) -> float:
    """A unit of the file in GADGET's usual one.

    Within 1 % of a power of ten it is that power: codes round kpc and Msun each in their own way. The same goes for a
    unit that GIZMO gives without its h.
    """
    name = next((name for name in UNIT_NAMES[quantity] if name in file.header), None)
    if name is None:
        return 1.0
    value = number_of(file, name)
    if value <= 0:
        raise InputError(f"{file.path}: {name} = {value:g} in the Header; expected a positive number")
    ratio = value / DEFAULT_UNITS[quantity]
    for candidate in (ratio, ratio * h) if name.endswith("In_CGS") and quantity != "Velocity" else (ratio,):
        power = 10.0 ** round(np.log10(candidate))
        if abs(candidate / power - 1) < 0.01:
            return float(power)
    return float(ratio)
