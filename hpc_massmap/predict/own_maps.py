"""Maps of a user's own: a folder of NAME_VIEW.fits or NAME_VIEW.npy, and what their headers do not say.

What is to be known of a map, each from the first place that has it:

========  =====================================  ==================  =======================================
key       clusters.csv, by name of the cluster   header              else
========  =====================================  ==================  =======================================
r200      `VIEW_r200` or `r200`, as `1450 kpc`   R200                an error
pixel     `VIEW_pixel` or `pixel`                PIXEL, or the WCS   not needed if R200 is in pixels
x, y      `VIEW_x` or `x`, as FITS counts        XCENTRE, YCENTRE    CRPIX, or the middle of the map
unit      `VIEW_unit` or `unit`                  BUNIT               1 for Compton-y, else an error
h         `VIEW_h` or `h`                        HUBBLE              an error if a unit has h and another not
========  =====================================  ==================  =======================================

Only headers are read here; pixels come one cluster at a time.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.predict.own_units import factor_to
from hpc_massmap.predict.regrid import TOLERANCE, field, reach, regrid

TABLE = "clusters.csv"
ENDINGS = (".fits", ".fits.gz", ".npy")
KEYWORDS = {"r200": "R200", "pixel": "PIXEL", "x": "XCENTRE", "y": "YCENTRE", "unit": "BUNIT", "h": "HUBBLE"}
NOT_SQUARE = 1e-3
LARGEST_H = 1.5


@dataclass(frozen=True)
class OwnMap:
    """One map and how it lies about its cluster.

    Attributes
    ----------
    shape : rows and columns
    unit, factor : its unit, and what makes it the training maps'
    r200, x, y : in pixels; the centre as FITS counts, from 1
    r200_as_given : with its unit
    pixel : with its unit, if known
    centre_from : which of the places in this module's table says so
    h : of the Hubble constant, if known
    """

    path: Path
    view: str
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
    wcs: WCS | None


Cluster = dict[str, OwnMap]  # by view


def find_clusters(folder: Path, units: dict[str, str]) -> dict[str, Cluster]:
    """The clusters of a folder by name, each with a checked map of every view; maps of other views are left alone.

    Parameters
    ----------
    units : of the training maps, by view

    Raises
    ------
    InputError
        If a cluster lacks a view, or a map's size, unit or centre is not known or cannot be.
    """
    views = list(units)
    found = _files(folder, views)
    table = _table(folder / TABLE)
    for name in table.keys() - found.keys():
        raise InputError(f"{folder / TABLE}: {name}: no map of this name is in the folder")
    for name, paths in found.items():
        missing = [view for view in views if view not in paths]
        if missing:
            raise InputError(
                f"{folder}: {name} has no {' and no '.join(missing)} map, but the model was trained on "
                f"{', '.join(views)}; add {name}_{missing[0]}.fits or use a model of fewer views"
            )
    clusters: dict[str, Cluster] = {}
    for name in sorted(found):
        clusters[name] = {}
        for view in views:
            path = found[name][view]
            with in_one_line(f"{path}: what is said of it cannot be understood"):
                clusters[name][view] = _described(path, view, units[view], table.get(name, {}))
    return clusters


def read_view(own: OwnMap) -> FloatArray:
    """The map on the network's pixels, in the unit of the training maps: (80, 80).

    Raises
    ------
    InputError
        If a pixel within R200 to each side of the centre is not finite.
    """
    with in_one_line(f"{own.path}: not a readable map"):
        pixels = np.load(own.path) if own.path.suffix == ".npy" else fits.getdata(own.path, _image(own.path)[0])
    rows, columns = field(own.shape, own.x, own.y, own.r200)
    bad = np.argwhere(~np.isfinite(pixels[rows, columns]))
    if len(bad):
        row, column = int(bad[0][0]) + rows.start + 1, int(bad[0][1]) + columns.start + 1
        raise InputError(
            f"{own.path}: {len(bad)} pixels inside the field are not finite, the first at x = {column}, y = {row}; "
            "fill them in (the network has never seen a hole)"
        )
    return regrid(pixels, own.x, own.y, own.r200) * own.factor


def _files(folder: Path, views: list[str]) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of maps")
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending is None:
            continue
        stem = path.name.removesuffix(ending)
        # the longest, as xray_hard may be a view, and hard another
        view = max((view for view in views if stem.endswith(f"_{view}")), key=len, default=None)
        if view is None or not (name := stem.removesuffix(f"_{view}")):
            continue
        if view in found.setdefault(name, {}):
            raise InputError(f"{path}: {found[name][view].name} is the same map; keep one of the two")
        found[name][view] = path
    if not found:
        raise InputError(
            f"{folder}: holds no maps of {' or '.join(views)}; name them NAME_{views[0]}.fits or NAME_{views[0]}.npy"
        )
    return found


def _table(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    known = {"name", *KEYWORDS}
    said: dict[str, dict[str, str]] = {}
    with in_one_line(f"{path}: not a readable table"), path.open(newline="", encoding="utf-8-sig") as file:
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


def _described(path: Path, view: str, ours: str, said: dict[str, str]) -> OwnMap:
    header, shape = _header_and_shape(path)

    def known(key: str) -> str | None:
        value = said.get(f"{view}_{key}") or said.get(key) or header.get(KEYWORDS[key])
        return str(value).strip() or None if value is not None else None

    def number(key: str) -> float | None:
        text = known(key)
        return None if text is None else _number(path, key, text)

    pixel, wcs = _quantity(path, "pixel", known("pixel")), None
    if "CDELT1" in header or "CD1_1" in header:
        try:
            wcs = WCS(header, naxis=2, fix=False)
            pixel = _pixel_of(path, wcs) if pixel is None else pixel
        except ValueError as error:
            reason = str(error).strip().splitlines()[-1]  # wcslib first says where in its own source
            raise InputError(f"{path}: its WCS cannot be used ({reason})") from None
    text = known("r200")
    r200 = _in_pixels(path, _quantity(path, "r200", text), pixel)
    x, y, centre_from = _centre(path, number("x"), number("y"), header, shape)
    reached = reach(shape, x, y, r200)
    if reached < 1 - TOLERANCE:
        raise InputError(
            f"{path}: its {shape[1]} x {shape[0]} pixels reach {reached:.2f} R200 (of {r200:.1f} pixels) from its "
            f"centre ({centre_from}: x = {x:g}, y = {y:g}); the network needs 1 R200 to each side"
        )
    unit, h = known("unit"), number("h")
    if h is not None and not 0 < h < LARGEST_H:
        raise InputError(f"{path}: h = {h:g} cannot be; it is H0 over 100 km/s/Mpc, as 0.7")
    if unit is None and ours != "1":
        raise InputError(f"{path}: no unit; give BUNIT in its header or {view}_unit in {TABLE}, as {ours!r}")
    factor = factor_to(path, unit or "1", ours, h, pixel)
    return OwnMap(path, view, shape, unit or "1", factor, r200, str(text), pixel, x, y, centre_from, h, wcs)


def _header_and_shape(path: Path) -> tuple[fits.Header, tuple[int, int]]:
    with in_one_line(f"{path}: not a readable map"):
        if path.suffix == ".npy":
            pixels = np.load(path, mmap_mode="r")
            if not isinstance(pixels, np.ndarray) or pixels.dtype.kind not in "fiu":
                raise ValueError("it holds no array of real numbers")
            shape, header = pixels.shape, fits.Header()
        else:
            header = _image(path)[1]
            shape = tuple(header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1))
    if len(shape) != 2:
        raise InputError(f"{path}: has {len(shape)} axes {shape}; a map has two")
    return header, (int(shape[0]), int(shape[1]))


def _image(path: Path) -> tuple[int, fits.Header]:
    """The first image of a FITS file: its place and its header."""
    with fits.open(path) as hdus:
        for place, hdu in enumerate(hdus):
            if hdu.is_image and hdu.header.get("NAXIS", 0) > 0:
                return place, hdu.header
    raise ValueError("it holds no image")


def _quantity(path: Path, key: str, text: str | None) -> u.Quantity | None:
    if text is None:
        return None
    try:
        value = u.Quantity(text)
        if not value.isscalar:
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f"{path}: {key} = {text} is not a length; write it as `1450 kpc`") from None
    if value.unit == u.dimensionless_unscaled:
        raise InputError(f"{path}: {key} = {text} has no unit; write it as `{text} kpc`, `arcmin` or `pix`")
    if not value.value > 0:
        raise InputError(f"{path}: {key} = {text} must be positive")
    return value


def _pixel_of(path: Path, wcs: WCS) -> u.Quantity | None:
    across, up = proj_plane_pixel_scales(wcs)
    unit, unit_up = wcs.wcs.cunit
    if unit != unit_up or abs(across / up - 1) > NOT_SQUARE:
        sides = f"{across:g} {unit}".strip(), f"{up:g} {unit_up}".strip()
        raise InputError(f"{path}: its pixels are not square ({sides[0]} by {sides[1]}); resample it first")
    return None if unit == u.dimensionless_unscaled else across * unit


def _in_pixels(path: Path, r200: u.Quantity | None, pixel: u.Quantity | None) -> float:
    if r200 is None:
        raise InputError(f"{path}: no R200; give R200 in its header or r200 in {TABLE}, as `1450 kpc` or `62.5 pix`")
    if r200.unit.is_equivalent(u.pix):
        return float(r200.to_value(u.pix))
    if pixel is None:
        raise InputError(f"{path}: R200 is {r200}, but nothing tells the size of a pixel; give it, or R200 in pix")
    if not r200.unit.is_equivalent(pixel.unit):
        raise InputError(f"{path}: R200 is in {r200.unit} but its pixels are in {pixel.unit}; give both in one unit")
    return float((r200 / pixel).to_value(u.dimensionless_unscaled))


def _number(path: Path, key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{path}: {key} = {text} is not a number")
    return value


def _centre(
    path: Path, x: float | None, y: float | None, header: fits.Header, shape: tuple[int, int]
) -> tuple[float, float, str]:
    if (x is None) != (y is None):
        raise InputError(f"{path}: of the centre only {'x' if y is None else 'y'} is given; give both x and y")
    if x is not None and y is not None:
        return x, y, "as given"
    if "CRPIX1" in header and "CRPIX2" in header:
        x, y = (_number(path, key, str(header[key])) for key in ("CRPIX1", "CRPIX2"))
        return x, y, "CRPIX"
    return (shape[1] + 1) / 2, (shape[0] + 1) / 2, "middle of the map"
