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
redshift  `VIEW_redshift` or `redshift`          REDSHIFT            not compared
region    `VIEW_region` or `region`              REGION              its own, which only a truth asks for
ext       `VIEW_ext` or `ext`                                        the only image, or the one called SCI
========  =====================================  ==================  =======================================

Only headers are read here; pixels come one cluster at a time.
"""

from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.predict import regrid
from hpc_massmap.predict.alignment import GIVEN, NO_TURN, SAME, aligned
from hpc_massmap.predict.own_files import (
    KEYWORDS,
    TABLE,
    OwnMap,
    find_files,
    header_and_shape,
    read_pixels,
    read_table,
)
from hpc_massmap.predict.own_units import factor_to

NOT_SQUARE = 1e-3
LARGEST_H = 1.5


Cluster = dict[str, OwnMap]  # by view


def find_clusters(folder: Path, units: dict[str, str], of_targets: dict[str, str] | None = None) -> dict[str, Cluster]:
    """The clusters of a folder by name, each with a checked map of every view; maps of other views are left alone.

    Parameters
    ----------
    units : of the training maps, by view
    of_targets : the same by target, if each cluster must have the true map of every one, too

    Raises
    ------
    InputError
        If a cluster lacks a view or a truth, a map's size, unit or centre is not known or cannot be, or two views
        contradict each other.
    """
    views, targets, units = list(units), list(of_targets or {}), units | (of_targets or {})
    found = find_files(folder, [*views, *targets])
    table = read_table(folder / TABLE)
    for name in table.keys() - found.keys():
        raise InputError(f"{folder / TABLE}: {name}: no map of this name is in the folder")
    for name, paths in found.items():
        missing = [view for view in views if view not in paths]
        if missing:
            raise InputError(
                f"{folder}: {name} has no {' and no '.join(missing)} map, but the model was trained on "
                f"{', '.join(views)}; add {name}_{missing[0]}.fits or use a model of fewer views"
            )
        for target in targets:
            if target not in paths:
                raise InputError(
                    f"{folder}: {name} has no {target} map, which is the truth; add {name}_{target}.fits, or leave "
                    "--truth out"
                )
    clusters: dict[str, Cluster] = {}
    for name in sorted(found):
        maps = []
        for view in (*views, *targets):
            maps.append(_described(found[name][view], view, units[view], table.get(name, {})))
        clusters[name] = {own.view: own for own in aligned(maps)}
    return clusters


def read_view(own: OwnMap) -> FloatArray:
    """The map on the network's pixels, in the unit of the training maps: (80, 80).

    Raises
    ------
    InputError
        If a pixel within R200 to each side of the centre is not finite.
    """
    pixels = read_pixels(own.path, own.image, own.shape)
    exactly = np.array_equal(own.turn, np.round(own.turn))
    corner = 1.0 if exactly else float(np.abs(own.turn).sum(axis=1).max())
    rows, columns = regrid.field(own.shape, own.x, own.y, corner * own.r200)
    bad = np.argwhere(~np.isfinite(pixels[rows, columns]))
    if len(bad):
        row, column = int(bad[0][0]) + rows.start + 1, int(bad[0][1]) + columns.start + 1
        raise InputError(
            f"{own.path}: {len(bad)} pixels inside the field are not finite, the first at x = {column}, y = {row}; "
            "fill them in (the network has never seen a hole)"
        )
    if not exactly:
        return regrid.resampled(pixels, own.x, own.y, own.r200, own.turn) * own.factor
    return regrid.turned(regrid.regrid(pixels, own.x, own.y, own.r200), own.turn) * own.factor


def _described(path: Path, view: str, ours: str, said: dict[str, str]) -> OwnMap:
    image = said.get(f"{view}_ext") or said.get("ext")
    header, shape = header_and_shape(path, image)

    def known(key: str) -> str | None:
        value = said.get(f"{view}_{key}") or said.get(key) or header.get(KEYWORDS[key] or "")
        return str(value).strip() or None if value is not None else None

    def number(key: str) -> float | None:
        text = known(key)
        return None if text is None else _number(path, key, text)

    wcs, pixel = _wcs_of(path, header), _quantity(path, "pixel", known("pixel"))
    if wcs is not None:
        pixel = _pixel_of(path, wcs, pixel)
    text = known("r200")
    r200 = _in_pixels(path, _quantity(path, "r200", text), pixel)
    x, y, centre_from = _centre(path, number("x"), number("y"), header, shape)
    reached = regrid.reach(shape, x, y, r200)
    if reached < 1 - regrid.TOLERANCE:
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
    return OwnMap(
        *(path, view, image, shape, unit or "1", factor, r200, str(text), pixel, x, y, centre_from),
        *(h, number("redshift"), known("region"), wcs, NO_TURN, ""),
    )


def _wcs_of(path: Path, header: fits.Header) -> WCS | None:
    """Where its pixels are on the sky, or in a plane; None if the header does not say."""
    if "CDELT1" not in header and "CD1_1" not in header:
        return None
    try:
        wcs = WCS(header, naxis=2, fix=False)
        wcs.wcs.set()
        for unit in wcs.wcs.cunit:
            if isinstance(unit, u.UnrecognizedUnit):
                raise ValueError(f"its unit {unit.name!r} is not one that astropy reads")
    except (ValueError, TypeError, AttributeError) as error:  # the last two of a number where a text should be
        reason = str(error).strip().splitlines()[-1]  # wcslib first says where in its own source
        raise InputError(f"{path}: its WCS cannot be used ({reason})") from None
    return wcs


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


def _pixel_of(path: Path, wcs: WCS, given: u.Quantity | None) -> u.Quantity | None:
    """The side of a pixel: as given, which a WCS must not contradict, else by the WCS."""
    across, up = proj_plane_pixel_scales(wcs)
    unit, unit_up = wcs.wcs.cunit
    if unit != unit_up or abs(across / up - 1) > NOT_SQUARE:
        sides = f"{across:g} {unit}".strip(), f"{up:g} {unit_up}".strip()
        raise InputError(f"{path}: its pixels are not square ({sides[0]} by {sides[1]}); resample it first")
    measured = None if unit == u.dimensionless_unscaled else across * unit
    if given is None or measured is None or not given.unit.is_equivalent(unit):
        return given if given is not None else measured
    if abs(float((given / measured).to_value(u.dimensionless_unscaled)) - 1) > SAME["r200"]:
        raise InputError(
            f"{path}: pixel = {given}, but its WCS says {measured.to(given.unit):.6g}; correct one of them"
        )
    return given


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
        return x, y, GIVEN
    if "CRPIX1" in header and "CRPIX2" in header:
        x, y = (_number(path, key, str(header[key])) for key in ("CRPIX1", "CRPIX2"))
        return x, y, "CRPIX"
    return (shape[1] + 1) / 2, (shape[0] + 1) / 2, "middle of the map"
