"""Units of a user's own maps and those of the training maps, with and without h."""

import re
from pathlib import Path

import astropy.cosmology.units as cu
import astropy.units as u

from hpc_massmap.errors import InputError, in_one_line

ANY_H = 0.7  # only to ask whether h would help


def unit_of(text: str) -> u.UnitBase:
    """A unit as astropy reads it, but with `h` as the Hubble parameter: nothing in a map is per hour."""
    with u.add_enabled_units([cu.littleh]):
        unit = u.Unit(re.sub(r"\bh\b", "littleh", text))
    if not isinstance(unit, u.UnitBase):
        raise ValueError("a logarithm, as of magnitudes, is no unit of a map")
    return unit


def factor_to(path: Path, text: str, wanted: str, h: float | None, pixel: u.Quantity | None) -> float:
    """Factor from a unit to the training maps'; of a total in each pixel too, if a pixel's size is known.

    Parameters
    ----------
    path : for messages
    text, wanted : the unit of the map and that of the training maps
    h : of the Hubble constant, if known
    pixel : the length of a pixel's side, if known

    Raises
    ------
    InputError
        If there is no such factor; it says what would help.
    """
    try:
        given = unit_of(text)
    except ValueError:
        raise InputError(f"{path}: unit {text!r} is not one that astropy reads") from None
    target = unit_of(wanted)
    with in_one_line(f"{path}: what its unit {text!r} is worth cannot be told"):  # out of a float's range
        per_area = next((unit for unit in _per_area(given) if _convertible(unit, target, h or ANY_H)), None)
    scale = 1.0
    if per_area is not None:
        if pixel is None or not pixel.unit.is_equivalent(u.kpc):
            raise InputError(f"{path}: {text} in each pixel needs the size of a pixel in kpc; give pixel")
        given, scale = per_area, float(pixel.to_value(u.kpc)) ** -2
    try:
        return scale * float((1 * given).to_value(target, equivalencies=[] if h is None else _with(h)))
    except u.UnitConversionError:
        remedy = "give h" if _convertible(given, target, ANY_H) else "convert it first"
        raise InputError(
            f"{path}: its unit {text!r} cannot become {wanted!r}, that of the training maps; {remedy}"
        ) from None


def _per_area(unit: u.UnitBase) -> list[u.UnitBase]:
    return [unit / u.kpc**2, unit * u.pix / u.kpc**2]


def _convertible(unit: u.UnitBase, target: u.UnitBase, h: float) -> bool:
    return bool(unit.is_equivalent(target, equivalencies=_with(h)))


def _with(h: float) -> list[u.Equivalency]:
    found: list[u.Equivalency] = cu.with_H0(100 * h * u.km / u.s / u.Mpc)
    return found
