"""Halo catalogues of AHF: one text line a halo, columns found by the name in the header, never by position.

Releases of AHF differ in the order of columns and call the same quantity Mvir or Mhalo; both are read, and taken as
R200c's. In files that carry several overdensities a column that says so, as M200c or R_200, goes before them. Lengths
are comoving kpc/h and masses Msun/h, as AHF writes them. AHF under MPI writes a file a rank, `.0000.`, `.0001.` and so
on, the names of the columns in the first alone: they are one catalogue.

The text has no checksum. What a damaged file shows is looked for: words that are no numbers, halos that are there
twice, an end that is cut off. Values that no halo has are a fault of the halos that are selected, and of no others:
AHF writes 0, -1 or nan where it could not measure.

Only the columns needed become numbers, by numpy's own parser; the words are looked at one by one only to say which
is wrong.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.errors import InputError
from hpc_massmap.sims.particles import BoolArray

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
OPTIONAL = {"host": ("hostHalo",), "ovdens": ("ovdens",), "particles": ("npart",)}
CONCENTRATION = "cNFW"  # where there is no R500
POSSIBLE = {  # from, to
    **dict.fromkeys(("m200", "r200", "r500"), (np.finfo(float).tiny, np.finfo(float).max)),
    **dict.fromkeys(("x", "y", "z"), (np.finfo(float).min, np.finfo(float).max)),
    **dict.fromkeys(("m_gas", "m_star"), (0.0, np.finfo(float).max)),
    "f_mhires": (0.0, 1.0),
}
ROUNDING = 5e-6  # of fMhires, whose sum is of single precision; one particle of 10^5 is more
USUAL_CONCENTRATION = 4.0  # of a cluster at z = 0, where AHF could fit none (it writes -1)
OF_RANK = re.compile(r"(.*)\.(\d{4})(\..*)")  # the name of a file that one rank of AHF wrote


@dataclass(frozen=True)
class Catalogue:
    """The halos of one AHF run, in its order; values as they stand there, for `check_halo` to judge.

    Attributes
    ----------
    path : of the file, or the first of several
    columns : field -> what the file calls it
    halo_id : (n,) uint64; AHF's ids need all 64 bits, so they never pass through a float
    m200, m_gas, m_star : (n,), Msun/h
    centre : (n, 3), comoving kpc/h
    r200, r500 : (n,), comoving kpc/h
    f_mhires : (n,), mass fraction in high-resolution particles; 1 is uncontaminated
    hosted : (n,), whether it lies in another halo
    ovdens : (n,), mean density inside R200 in critical ones, as AHF says; NaN where the file does not
    particles : (n,), inside R200; NaN where the file does not say
    """

    path: Path
    columns: dict[str, str]
    halo_id: npt.NDArray[np.uint64]
    m200: FloatArray
    centre: FloatArray
    r200: FloatArray
    r500: FloatArray
    f_mhires: FloatArray
    m_gas: FloatArray
    m_star: FloatArray
    hosted: BoolArray
    ovdens: FloatArray
    particles: FloatArray

    def __len__(self) -> int:
        return len(self.halo_id)

    def halo_name(self, row: int) -> str:
        """The file, and a halo by its row and its id."""
        return f"{self.path}: halo {self.halo_id[row]} (row {row + 1})"


def read_catalogue(path: Path) -> Catalogue:
    """Read an AHF `*_halos` file, or all files of a run under MPI.

    Raises
    ------
    InputError
        One line that names the file, and the column or row that is wrong.
    """
    header, rows = _read_files(catalogue_files(path))
    places = {field: _place(path, header, names) for field, names in NAMES.items()}
    if (place := _found(header, R500)) is not None:
        places["r500"] = place
    elif (place := _found(header, (CONCENTRATION,))) is not None:
        places["concentration"] = place
    else:
        raise InputError(f"{path}: has no column {R500[-1]}, nor {CONCENTRATION} to derive it from")
    places |= {field: header.index(name) for field, (name,) in OPTIONAL.items() if name in header}
    values = _columns(path, rows, header, places)
    _refuse_twins(path, values["halo_id"], header[places["halo_id"]])
    unknown = np.full(len(rows), np.nan)
    f_mhires = values["f_mhires"]
    return Catalogue(
        path,
        {field: header[place] for field, place in places.items()},
        halo_id=values["halo_id"],
        m200=values["m200"],
        centre=np.column_stack([values[axis] for axis in "xyz"]),
        r200=values["r200"],
        r500=values["r500"] if "r500" in values else _r500(values["r200"], values["concentration"]),
        f_mhires=np.where(np.abs(f_mhires - 1) <= ROUNDING, 1.0, f_mhires),
        m_gas=values["m_gas"],
        m_star=values["m_star"],
        hosted=_hosted(values["host"]) if "host" in values else np.zeros(len(rows), bool),
        ovdens=values.get("ovdens", unknown),
        particles=values.get("particles", unknown),
    )


def catalogue_files(path: Path) -> list[Path]:
    """All files of the AHF run that wrote this one, by rank; itself if it is not one of several.

    Raises
    ------
    InputError
        If the file of a rank is missing.
    """
    name = OF_RANK.fullmatch(path.name)
    if name is None or not path.parent.is_dir():
        return [path]
    others = (OF_RANK.fullmatch(file.name) for file in path.parent.iterdir())
    ranks = sorted(int(other[2]) for other in others if other and (other[1], other[3]) == (name[1], name[3]))
    if not ranks or (0 not in ranks and _has_header(path)):
        return [path]  # those digits are of something else
    files = [path.with_name(f"{name[1]}.{rank:04d}{name[3]}") for rank in range(ranks[-1] + 1)]
    for rank, file in enumerate(files):
        if rank not in ranks:
            raise InputError(f"{file}: missing, but {path.name} is one of several files of AHF under MPI")
    return files


def _has_header(path: Path) -> bool:
    return "".join(_lines_of(path)[:1]).startswith("#")


def check_halo(catalogue: Catalogue, row: int) -> None:
    """Look at what the catalogue says of a halo that is to be drawn.

    Raises
    ------
    InputError
        If a value cannot be.
    """
    values = {name: getattr(catalogue, name)[row] for name in POSSIBLE if name not in "xyz"}
    values |= dict(zip("xyz", catalogue.centre[row], strict=True))
    for field, (low, high) in POSSIBLE.items():
        if not low <= values[field] <= high:  # nor NaN
            column = catalogue.columns.get(field, CONCENTRATION)
            name = catalogue.halo_name(row)
            raise InputError(f"{name}: {column} = {values[field]:g} cannot be; is the file damaged?")


def _hosted(host: FloatArray) -> BoolArray:
    """Releases of AHF say -1, or 0 where no halo has that id, of a halo that lies in no other."""
    none = np.array([-1.0, 2.0**64])  # and -1 as an unsigned integer
    outside = np.isin(host, none) | np.isnan(host)
    return np.asarray(~(outside if outside.any() else host == 0))


def _refuse_twins(path: Path, ids: IntArray, column: str) -> None:
    once, first = np.unique(ids, return_index=True)
    if len(once) < len(ids):
        row = int(np.setdiff1d(np.arange(len(ids)), first)[0])
        raise InputError(f"{path}: halo {ids[row]} (row {row + 1}): its {column} is that of one before it")


def _read_files(files: list[Path]) -> tuple[list[str], list[str]]:
    """Column names without their number, "Mvir(4)" -> "Mvir", and the line of each halo of all files."""
    first = _lines_of(files[0])
    if not first or not first[0].startswith("#"):
        raise InputError(f"{files[0]}: not an AHF catalogue: the first line must be '#' and the names of the columns")
    header, rows = [name.split("(")[0] for name in first[0].lstrip("#").split()], []
    for file in files:
        # not comments, nor the header again, where the files of several processes were joined
        lines = _lines_of(file)
        own = [line for line in lines if not line.startswith("# ") and line != first[0]]
        for number, row in enumerate(own, 1):
            found = len(row.split())
            if found != len(header):
                what = f"row {number} has {found} values for {len(header)} columns"
                raise InputError(f"{file}: {what}; is it truncated?")
        if lines and not lines[-1].endswith("\n"):
            raise InputError(f"{file}: the last line has no end; is it truncated? (If it is whole, end it.)")
        rows += own
    return header, rows


def _lines_of(path: Path) -> list[str]:
    """Those with anything in them, each with its end."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such halo catalogue") from None
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: not a readable text file; expected an AHF *_halos catalogue") from None
    return [line for line in text.splitlines(keepends=True) if line.strip()]


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
    dtype = np.dtype([(field, np.uint64 if field == "halo_id" else np.float64) for field in places])
    if not rows:
        return {field: np.zeros(0, dtype[field]) for field in places}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # an id that is no integer
            table = np.loadtxt(rows, dtype, comments=None, usecols=list(places.values()), ndmin=1)
    except (ValueError, DeprecationWarning) as error:
        raise InputError(_wrong_word(path, rows, header, places) or f"{path}: {error}") from None
    return {field: np.ascontiguousarray(table[field]) for field in places}


def _wrong_word(path: Path, rows: list[str], header: list[str], places: dict[str, int]) -> str | None:
    """Which word is no number, in one line."""
    for i, row in enumerate(rows, 1):
        words = row.split()
        for field, place in places.items():
            try:
                np.uint64(int(words[place])) if field == "halo_id" else float(words[place])
            except (ValueError, OverflowError):
                return f"{path}: column {header[place]}, row {i}: {words[place]!r} is not a number"
    return None


def _r500(r200: FloatArray, concentration: FloatArray) -> FloatArray:
    """R500 of an NFW halo with AHF's concentration."""
    return r200 * r500_over_r200(np.where(concentration > 0, np.minimum(concentration, 1e3), USUAL_CONCENTRATION))


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
