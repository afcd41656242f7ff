"""Halo catalogues of AHF: one text line a halo, columns found by the name in the header, never by position.

Releases of AHF differ in the order of columns and call the same quantity Mvir or Mhalo; both are read. Lengths are
comoving kpc/h and masses Msun/h, as AHF writes them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError

NAMES = {
    "halo_id": ("ID",),
    "m200": ("Mvir", "Mhalo"),
    "x": ("Xc",),
    "y": ("Yc",),
    "z": ("Zc",),
    "r200": ("Rvir", "Rhalo"),
    "f_mhires": ("fMhires",),
    "m_gas": ("M_gas",),
    "m_star": ("M_star",),
}
R500 = "R_500"
CONCENTRATION = "cNFW"
USUAL_CONCENTRATION = 4.0  # of a cluster at z = 0, where AHF could fit none (it writes -1)


@dataclass(frozen=True)
class Catalogue:
    """The halos of one AHF file, in its order.

    Attributes
    ----------
    halo_id : (n,) int64; AHF's ids need all 64 bits, so they never pass through a float
    m200, m_gas, m_star : (n,), Msun/h
    centre : (n, 3), comoving kpc/h
    r200, r500 : (n,), comoving kpc/h
    f_mhires : (n,), mass fraction in high-resolution particles; 1 is uncontaminated
    """

    halo_id: npt.NDArray[np.int64]
    m200: FloatArray
    centre: FloatArray
    r200: FloatArray
    r500: FloatArray
    f_mhires: FloatArray
    m_gas: FloatArray
    m_star: FloatArray

    def __len__(self) -> int:
        return len(self.halo_id)


def read_catalogue(path: Path) -> Catalogue:
    """Read an AHF `*_halos` file.

    Raises
    ------
    InputError
        One line that names the file, and the column or row that is wrong.
    """
    header, rows = _read_lines(path)
    places = {field: _place(path, header, names) for field, names in NAMES.items()}
    if not rows:
        raise InputError(f"{path}: holds no halos")
    ids, *columns = (_column(path, rows, header, place) for place in places.values())
    values = dict(zip(list(places)[1:], columns, strict=True))
    for field in ("m200", "r200"):
        if not np.all(values[field] > 0):
            raise InputError(f"{path}: column {header[places[field]]} has a value that is not positive")
    return Catalogue(
        halo_id=ids,
        m200=values["m200"],
        centre=np.column_stack([values[axis] for axis in "xyz"]),
        r200=values["r200"],
        r500=_r500(path, rows, header, values["r200"]),
        f_mhires=values["f_mhires"],
        m_gas=values["m_gas"],
        m_star=values["m_star"],
    )


def _read_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """Column names without their number, "Mvir(4)" -> "Mvir", and the words of each row."""
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such halo catalogue") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: not a readable text file; expected an AHF *_halos catalogue") from None
    if not lines or not lines[0].startswith("#"):
        raise InputError(f"{path}: not an AHF catalogue: the first line must be '#' and the names of the columns")
    header = [name.split("(")[0] for name in lines[0].lstrip("#").split()]
    rows = [line.split() for line in lines[1:] if not line.startswith("#")]
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise InputError(f"{path}: halo {number} has {len(row)} values for {len(header)} columns; is it truncated?")
    return header, rows


def _place(path: Path, header: list[str], names: tuple[str, ...]) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise InputError(f"{path}: has no column {' or '.join(names)}")


def _column(path: Path, rows: list[list[str]], header: list[str], place: int) -> npt.NDArray[Any]:
    number, dtype = (int, np.int64) if header[place] == "ID" else (float, np.float64)
    values = np.empty(len(rows), dtype)
    for i, row in enumerate(rows):
        try:
            values[i] = number(row[place])
        except (ValueError, OverflowError):
            raise InputError(f"{path}: column {header[place]}, halo {i + 1}: {row[place]!r} is not a number") from None
    if not np.all(np.isfinite(values)):
        raise InputError(f"{path}: column {header[place]} has a value that is not finite")
    return values


def _r500(path: Path, rows: list[list[str]], header: list[str], r200: FloatArray) -> FloatArray:
    """R500 as the file gives it, else that of an NFW halo with AHF's concentration."""
    if R500 in header:
        r500: FloatArray = _column(path, rows, header, header.index(R500))
        if not np.all(r500 > 0):
            raise InputError(f"{path}: column {R500} has a value that is not positive")
        return r500
    if CONCENTRATION not in header:
        raise InputError(f"{path}: has no column {R500}, nor {CONCENTRATION} to derive it from")
    concentration = _column(path, rows, header, header.index(CONCENTRATION))
    return r200 * r500_over_r200(np.where(concentration > 0, concentration, USUAL_CONCENTRATION))


def r500_over_r200(concentration: FloatArray) -> FloatArray:
    """R500/R200 of an NFW halo: where the mean density inside is 2.5 times that inside R200.

    Parameters
    ----------
    concentration : (n,), R200 over the scale radius
    """

    def excess(ratio: float, c: float) -> float:
        return _nfw_mass(c * ratio) / _nfw_mass(c) - 2.5 * ratio**3

    return np.array([brentq(excess, 0.05, 1.0, args=(c,)) for c in concentration])


def _nfw_mass(x: float) -> float:
    """Mass inside x scale radii, in units of 4 pi rho_s r_s^3 (Navarro, Frenk & White 1996)."""
    return float(np.log1p(x) - x / (1 + x))
