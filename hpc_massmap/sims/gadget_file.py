"""What every file of a snapshot says about itself, in either format: its header, its units, what it is a part of."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from astropy import units as u

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.sims.particles import Header

DEFAULT_UNITS = {"Length": u.kpc.to(u.cm), "Mass": 1e10 * u.Msun.to(u.g), "Velocity": (u.km / u.s).to(u.cm / u.s)}
UNIT_NAMES = {
    "Length": ("UnitLength_in_cm", "UnitLength_In_CGS"),
    "Mass": ("UnitMass_in_g", "UnitMass_In_CGS"),
    "Velocity": ("UnitVelocity_in_cm_per_s", "UnitVelocity_In_CGS"),
}


class File(Protocol):
    """One file of a snapshot, in either format: blocks by their HDF5 names, in code units."""

    path: Path
    header: Mapping[str, Any]
    counts: list[int]

    def has(self, kind: int, name: str) -> bool: ...
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


def understood(path: Path) -> AbstractContextManager[None]:
    """Around all that takes numbers from a Header, where anything can stand."""
    return in_one_line(f"{path}: its Header cannot be understood; is it damaged?")


def header_of(file: File) -> Header:
    """Its cosmology and time, checked."""
    with understood(file.path):
        redshift, h = number_of(file, "Redshift"), number_of(file, "HubbleParam")
        if h <= 0 or redshift <= -1:
            raise InputError(f"{file.path}: HubbleParam = {h}, Redshift = {redshift} in the Header cannot be")
        return Header(
            redshift,
            1 / (1 + redshift),
            h,
            number_of(file, "Omega0", "Omega_Matter"),
        )


def number_of(file: File, *names: str) -> float:
    """The first of these attributes of its header that is there; raises an InputError if it is no finite number."""
    for name in names:
        if name in file.header:
            try:
                value = float(file.header[name])
            except (TypeError, ValueError):
                value = np.nan
            if not np.isfinite(value):
                said = " ".join(str(file.header[name]).split())[:40]
                raise InputError(f"{file.path}: {name} = {said} in the Header")
            return value
    raise InputError(f"{file.path}: Header has no {' or '.join(names)}")


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
        with understood(first.path):
            high = first.header.get("NumPart_Total_HighWord", np.zeros(6))
            total = [int(n) + (int(m) << 32) for n, m in zip(first.header["NumPart_Total"], high, strict=False)]
        found = np.sum([file.counts for file in files], axis=0)[: len(total)].tolist()
        if found != total:
            raise InputError(
                f"{first.path}: its {len(files)} files hold {found} particles, but NumPart_Total is {total}"
            )


def scale_of(file: File, header: Header) -> Scale:
    """The units that a file names, or GADGET's usual ones."""
    with understood(file.path):
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
