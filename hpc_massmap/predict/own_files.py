"""The files of maps of one's own: which image of which file is meant, and what its header and the table say of it.

FITS in all its usual wrappings, or a numpy array. Of several images in a file one is meant by name, never by its place.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError, in_one_line

TABLE = "clusters.csv"
NPY = ".npy"
FITS_ENDINGS = tuple(f".{kind}{packed}" for kind in ("fits", "fit", "fts") for packed in ("", ".gz", ".bz2", ".fz"))
# what a table can say of a map, and the keyword of a header that says the same; an image is named by the table alone
KEYWORDS = {
    "r200": "R200",
    "pixel": "PIXEL",
    "x": "XCENTRE",
    "y": "YCENTRE",
    "unit": "BUNIT",
    "h": "HUBBLE",
    "redshift": "REDSHIFT",
    "region": "REGION",
    "ext": None,
}
# how the names of images begin that go with a map and are none
BESIDE = (
    *("WEIGHT", "WHT", "WGT", "ERR", "STD", "SIGMA", "RMS", "NOISE", "VAR", "UNCERT", "IVAR", "SNR", "MASK", "DQ"),
    *("FLAG", "QUALITY", "EXP", "BKG", "BACKGROUND", "PSF", "BEAM", "COVERAGE", "HITS"),
)
OF_THE_FILE = ("SIMPLE", "XTENSION", "BITPIX", "PCOUNT", "GCOUNT", "EXTEND", "CHECKSUM", "DATASUM", "EXTNAME", "GROUPS")

# what else is read of a header: where the pixels are
OF_A_WCS = re.compile(r"(CTYPE|CUNIT|CRPIX|CRVAL|CDELT|CROTA)[12]|(CD|PC)[12]_[12]|RADESYS|EQUINOX|LONPOLE|LATPOLE")
OF_FITS = (LookupError, TypeError, fits.VerifyError)  # what astropy makes of a damaged header


@dataclass(frozen=True)
class OwnMap:
    """One map and how it lies about its cluster.

    Attributes
    ----------
    image : name or number of the image of a FITS file; None if only one can be meant
    shape : rows and columns
    unit, factor : its unit, and what makes it the training maps'
    r200, x, y : in pixels; the centre as FITS counts, from 1
    r200_as_given : with its unit
    pixel : with its unit, if known
    centre_from : which of the places in the table of own_maps.py says so
    h, redshift, region : if known
    turn : (2, 2), orthogonal: a step (columns, rows) on the predicted map's grid as a step on this one's
    note : what was done to it, or could not be checked; empty if nothing
    """

    path: Path
    view: str
    image: str | None
    shape: tuple[int, int]
    unit: str
    factor: float
    r200: float
    r200_as_given: str
    pixel: u.Quantity | None
    x: float
    y: float
    centre_from: str
    h: float | None
    redshift: float | None
    region: str | None
    wcs: WCS | None
    turn: FloatArray
    note: str


def find_files(folder: Path, views: list[str]) -> dict[str, dict[str, Path]]:
    """The files NAME_VIEW of a folder, by cluster and view; those of other views are left alone.

    Raises
    ------
    InputError
        If there is none, or two of one view of one cluster.
    """
    found: dict[str, dict[str, Path]] = {}
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of maps")
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        ending = max((e for e in (*FITS_ENDINGS, NPY) if name.endswith(e)), key=len, default=None)
        if ending is None:
            continue
        stem = path.name[: -len(ending)]
        # the longest, as xray_hard may be a view, and hard another
        view = max((view for view in views if stem.endswith(f"_{view}")), key=len, default=None)
        if view is None or not (cluster := stem.removesuffix(f"_{view}")):
            continue
        if view in found.setdefault(cluster, {}):
            raise InputError(f"{path}: {found[cluster][view].name} is the same map; keep one of the two")
        found[cluster][view] = path
    if not found:
        raise InputError(
            f"{folder}: holds no maps of {' or '.join(views)}; name them NAME_{views[0]}.fits or NAME_{views[0]}.npy"
        )
    return found


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """What the table says, by cluster and column; nothing if there is no such file.

    Raises
    ------
    InputError
        If a column or a cluster is not known, or is there twice.
    """
    if not path.exists():
        return {}
    known = {"name", *KEYWORDS}
    said: dict[str, dict[str, str]] = {}
    with in_one_line(f"{path}: not a readable table", csv.Error), path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        for column in reader.fieldnames or []:
            if column not in known and column.rpartition("_")[2] not in KEYWORDS:
                raise InputError(f"{path}: column {column!r} is not known; there are name, {', '.join(KEYWORDS)}")
            if list(reader.fieldnames or []).count(column) > 1:
                raise InputError(f"{path}: column {column!r} is there twice; leave one")
        if "name" not in (reader.fieldnames or []):
            raise InputError(f"{path}: has no column 'name'")
        for row in reader:
            name = row["name"]
            if name in said:
                raise InputError(f"{path}: {name} is there twice; leave one")
            if None in row:  # what csv calls the column of values that have none
                raise InputError(f"{path}: {name} has more values than there are columns; quote one that has a comma")
            said[name] = {key: value for key, value in row.items() if value}
    return said


def header_and_shape(path: Path, image: str | None) -> tuple[fits.Header, tuple[int, int]]:
    """What is said of the map of a file, and its rows and columns; axes of length 1 beyond these are dropped.

    Parameters
    ----------
    image : the name or number of the image of a FITS file; None if only one can be meant

    Raises
    ------
    InputError
        If the file holds no map, or nothing says which of its images is one.
    """
    with in_one_line(f"{path}: not a readable map", *OF_FITS):
        if path.suffix.lower() == NPY:
            pixels = np.load(path, mmap_mode="r")
            if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "fiu":
                raise ValueError("it holds no array of real numbers")
            shape, header = pixels.shape, fits.Header()
        else:
            with fits.open(path) as hdus:
                hdu = hdus[_place_of_map(path, hdus, image)]
                header = _with_primary(hdu.header, hdus[0])
                shape = tuple(hdu.header[f"NAXIS{axis}"] for axis in range(hdu.header["NAXIS"], 0, -1))
    _check_cards(path, header)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2:
        raise InputError(f"{path}: has {len(shape)} axes {shape}; a map has two")
    return header, (int(shape[0]), int(shape[1]))


def read_pixels(path: Path, image: str | None, shape: tuple[int, int]) -> FloatArray:
    """The pixels of a map, (rows, columns); `image` and `shape` as for `header_and_shape`."""
    with in_one_line(f"{path}: not a readable map", *OF_FITS):
        if path.suffix.lower() == NPY:
            return np.asarray(np.load(path)).reshape(shape)
        with fits.open(path) as hdus:
            return np.array(hdus[_place_of_map(path, hdus, image)].data).reshape(shape)


def _place_of_map(path: Path, hdus: fits.HDUList, image: str | None) -> int:
    images = {n: _name(hdu) for n, hdu in enumerate(hdus) if hdu.is_image and hdu.header.get("NAXIS", 0) > 0}
    names = ", ".join(f"{n} ({name or 'no name'})" for n, name in images.items())
    if not images:
        raise ValueError("it holds no image")
    if image is not None:
        chosen = [n for n, name in images.items() if image.upper() == name or image == str(n)]
    else:
        science = [n for n, name in images.items() if name in ("SCI", "SCIENCE")]
        maps = [n for n, name in images.items() if not name.startswith(BESIDE)]
        chosen = next((some for some in (list(images), science, maps) if len(some) == 1), list(images))
    if len(chosen) != 1:
        told = f"no image {image} among" if image is not None else "several images, of which any may be the map:"
        raise InputError(f"{path}: {told} {names}; name one in the column ext of {TABLE}")
    return chosen[0]


def _name(hdu: fits.PrimaryHDU | fits.ImageHDU) -> str:
    return str(hdu.header.get("EXTNAME", "")).strip().upper()


def _with_primary(header: fits.Header, primary: fits.PrimaryHDU) -> fits.Header:
    """A header with what the primary one says of the whole file; of the sky only where that has no image of its own."""
    merged = header.copy()
    if header is not primary.header:
        of_its_own = set(primary.header) & {"CTYPE1", "CDELT1", "CD1_1"} and primary.header.get("NAXIS", 0) > 0
        for card in primary.header.cards:
            keyword = card.keyword
            if keyword in merged or keyword in ("", "COMMENT", "HISTORY", *OF_THE_FILE) or keyword.startswith("NAXIS"):
                continue
            if not of_its_own or keyword in KEYWORDS.values():
                merged.append(card)
    for axis in (1, 2):
        if f"CUNIT{axis}" in merged:
            merged[f"CUNIT{axis}"] = _as_fits(str(merged[f"CUNIT{axis}"]))
    return merged


def _check_cards(path: Path, header: fits.Header) -> None:
    """Refuse a value that is wanted and not written as FITS asks: astropy would raise later, wcslib leave it out."""
    for card in header.cards:
        if card.keyword in KEYWORDS.values() or OF_A_WCS.fullmatch(card.keyword):
            try:
                _ = card.value
            except fits.VerifyError:
                raise InputError(
                    f"{path}: {card.keyword} of its header is no value of FITS; a text stands in quotes, a number alone"
                ) from None


def _as_fits(unit: str) -> str:
    """A unit in the words of FITS, as deg for degree; what is not understood stays for the WCS to refuse."""
    for text in (unit, unit.lower(), unit.lower().rstrip("s")):
        try:
            return str(u.Unit(text).to_string("fits"))
        except ValueError:
            continue
    return unit
