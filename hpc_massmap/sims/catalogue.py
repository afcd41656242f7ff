"""Halo catalogues of AHF: one text line a halo, columns found by the name in the header, never by position.

Releases of AHF differ in the order of columns and call the same quantity Mvir or Mhalo; both are read, and taken as
R200c's. In files that carry several overdensities a column that says so, as M200c or R_200, goes before them. Lengths
are comoving kpc/h and masses Msun/h, as AHF writes them.

The text has no checksum. What a damaged file shows is looked for: values that no halo has, halos that are there twice,
an end that is cut off.

Only the columns needed become numbers, by numpy's own parser; the words are looked at one by one only to say which
is wrong.
"""

import warnings
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
    "m200": ("M200c", "M_200c", "M_200", "M200", "Mvir", "Mhalo"),
    "x": ("Xc",),
    "y": ("Yc",),
    "z": ("Zc",),
    "r200": ("R200c", "R_200c", "R_200", "R200", "Rvir", "Rhalo"),
    "f_mhires": ("fMhires",),
    "m_gas": ("M_gas",),
    "m_star": ("M_star",),
}
R500 = ("R500c", "R_500c", "R500", "R_500")
CONCENTRATION = "cNFW"  # where there is no R500
POSSIBLE = {  # from, to
    **dict.fromkeys(("m200", "r200", "r500"), (np.finfo(float).tiny, np.inf)),
    **dict.fromkeys(("m_gas", "m_star"), (0.0, np.inf)),
    "f_mhires": (0.0, 1.0),
}
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
    if (place := _found(header, R500)) is not None:
        places["r500"] = place
    elif (place := _found(header, (CONCENTRATION,))) is not None:
        places["concentration"] = place
    else:
        raise InputError(f"{path}: has no column {R500[-1]}, nor {CONCENTRATION} to derive it from")
    if not rows:
        raise InputError(f"{path}: holds no halos")
    values = _columns(path, rows, header, places)
    _refuse_impossible(path, values, header, places)
    return Catalogue(
        halo_id=values["halo_id"],
        m200=values["m200"],
        centre=np.column_stack([values[axis] for axis in "xyz"]),
        r200=values["r200"],
        r500=values["r500"] if "r500" in values else _r500(values["r200"], values["concentration"]),
        f_mhires=values["f_mhires"],
        m_gas=values["m_gas"],
        m_star=values["m_star"],
    )


def _refuse_impossible(
    path: Path, values: dict[str, npt.NDArray[Any]], header: list[str], places: dict[str, int]
) -> None:
    for field, (low, high) in POSSIBLE.items():
        if field not in values:
            continue
        possible = (values[field] >= low) & (values[field] <= high)
        if not possible.all():
            row = int(np.argmin(possible))
            what = f"column {header[places[field]]}, halo {row + 1}: {values[field][row]:g}"
            raise InputError(f"{path}: {what} cannot be; is the file damaged?")
    ids, first = np.unique(values["halo_id"], return_index=True)
    if len(ids) < len(values["halo_id"]):
        row = int(np.setdiff1d(np.arange(len(values["halo_id"])), first)[0])
        raise InputError(f"{path}: halo {row + 1}: its {header[places['halo_id']]} is that of one before it")


def _read_lines(path: Path) -> tuple[list[str], list[str]]:
    """Column names without their number, "Mvir(4)" -> "Mvir", and the line of each halo."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise InputError(f"{path}: no such halo catalogue") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: not a readable text file; expected an AHF *_halos catalogue") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].startswith("#"):
        raise InputError(f"{path}: not an AHF catalogue: the first line must be '#' and the names of the columns")
    header = [name.split("(")[0] for name in lines[0].lstrip("#").split()]
    # not comments, nor the header again, where the files of several processes were joined
    rows = [line for line in lines[1:] if not line.startswith("# ") and line != lines[0]]
    for number, row in enumerate(rows, 1):
        found = len(row.split())
        if found != len(header):
            raise InputError(f"{path}: halo {number} has {found} values for {len(header)} columns; is it truncated?")
    if not text.endswith("\n"):
        raise InputError(f"{path}: the last line has no end; is it truncated? (If it is whole, end it.)")
    return header, rows


def _found(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _place(path: Path, header: list[str], names: tuple[str, ...]) -> int:
    place = _found(header, names)
    if place is None:
        raise InputError(f"{path}: has no column {' or '.join(names[-2:])}")
    if header.count(header[place]) > 1:
        raise InputError(f"{path}: column {header[place]} is there twice; which is meant?")
    return place


def _columns(path: Path, rows: list[str], header: list[str], places: dict[str, int]) -> dict[str, npt.NDArray[Any]]:
    """The columns at these places; the id as an integer."""
    dtype = np.dtype([(field, np.int64 if field == "halo_id" else np.float64) for field in places])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # an id that is no integer
            table = np.loadtxt(rows, dtype, comments=None, usecols=list(places.values()), ndmin=1)
    except (ValueError, DeprecationWarning) as error:
        raise InputError(_wrong_word(path, rows, header, places) or f"{path}: {error}") from None
    for field, place in places.items():
        if not np.all(np.isfinite(table[field])):
            raise InputError(f"{path}: column {header[place]} has a value that is not finite")
    return {field: np.ascontiguousarray(table[field]) for field in places}


def _wrong_word(path: Path, rows: list[str], header: list[str], places: dict[str, int]) -> str | None:
    """Which word is no number, in one line."""
    for i, row in enumerate(rows, 1):
        words = row.split()
        for field, place in places.items():
            try:
                np.int64(int(words[place])) if field == "halo_id" else float(words[place])
            except (ValueError, OverflowError):
                return f"{path}: column {header[place]}, halo {i}: {words[place]!r} is not a number"
    return None


def _r500(r200: FloatArray, concentration: FloatArray) -> FloatArray:
    """R500 of an NFW halo with AHF's concentration."""
    return r200 * r500_over_r200(np.where(concentration > 0, concentration, USUAL_CONCENTRATION))


def r500_over_r200(concentration: FloatArray) -> FloatArray:
    """R500/R200 of an NFW halo: where the mean density inside is 2.5 times that inside R200.

    Parameters
    ----------
    concentration : (n,), R200 over the scale radius
    """

    def excess(ratio: float, c: float) -> float:
        return float(nfw_mass(c * ratio) / nfw_mass(c)) - 2.5 * ratio**3

    return np.array([brentq(excess, 0.05, 1.0, args=(c,)) for c in concentration])


def nfw_mass(x: float | FloatArray) -> FloatArray:
    """Mass inside x scale radii, in units of 4 pi rho_s r_s^3 (Navarro, Frenk & White 1996)."""
    return np.asarray(np.log1p(x) - x / (1 + x))
