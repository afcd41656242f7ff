"""The views of a cluster laid upon each other: what their headers say of sky and orientation is held together.

One view is the reference: the first whose centre was given, else the first with a WCS. The others are flipped, turned
by right angles (exactly) or by any angle (resampled) to lie as it does, and take its place on the sky as their centre
where none was given for them. Views that cannot be of one sky, or of one R200, h or redshift, are refused.
"""

from dataclasses import replace

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.predict.own_files import OwnMap
from hpc_massmap.predict.regrid import TOLERANCE, reach

NO_TURN = np.eye(2)
EXACT = 2e-3  # of a turn by right angles: 0.1 degrees, a twelfth of a pixel at the corner of the map
APART = 1 / PIXELS  # R200, half a pixel of the network's, that centres on the sky may differ by
SAME = {"r200": 0.01, "h": 1e-3, "redshift": 1e-3}  # r200 as a part of itself
GIVEN = "as given"


def aligned(maps: list[OwnMap]) -> list[OwnMap]:
    """The same maps, each turned to lie as the reference.

    Raises
    ------
    InputError
        If two of them contradict each other, or one no longer reaches R200 from the common centre.
    """
    for one in maps[1:]:
        _check_same(maps[0], one)
    on_sky = [one for one in maps if one.wcs is not None and one.wcs.has_celestial]
    if on_sky:
        reference = next((one for one in on_sky if one.centre_from == GIVEN), on_sky[0])
        return [one if one is reference else _on_sky_of(reference, one) for one in maps]
    plane = [one for one in maps if one.wcs is not None]
    return [_turned(plane[0], one, _plane(plane[0]), _plane(one)) if one in plane[1:] else one for one in maps]


def _check_same(first: OwnMap, other: OwnMap) -> None:
    lengths = [u.Quantity(one.r200_as_given) for one in (first, other)]
    if lengths[0].unit.is_equivalent(lengths[1].unit) and not lengths[0].unit.is_equivalent(u.pix):
        ratio = float((lengths[1] / lengths[0]).to_value(u.dimensionless_unscaled))
        if abs(ratio - 1) > SAME["r200"]:
            raise _contradiction(other, first, f"R200 is {lengths[1]}", f"{lengths[0]}")
    for key in ("h", "redshift"):
        mine, its = getattr(other, key), getattr(first, key)
        if mine is not None and its is not None and abs(mine - its) > SAME[key]:
            raise _contradiction(other, first, f"{key} is {mine:g}", f"{its:g}")


def _contradiction(one: OwnMap, other: OwnMap, says: str, but: str) -> InputError:
    return InputError(f"{one.path}: {says}, but {but} in {other.path.name}; views of one cluster have one")


def _on_sky_of(reference: OwnMap, one: OwnMap) -> OwnMap:
    if one.wcs is None or not one.wcs.has_celestial:
        return replace(one, note=f"no place on the sky: taken to lie as {reference.path.name} does")
    origin = _at(reference, reference.x, reference.y)
    own = _at(one, one.x, one.y)
    matrix = _steps(one, one.x, one.y, origin)
    apart = own.separation(origin)
    per_pixel = np.sqrt(abs(np.linalg.det(matrix)))  # degrees
    if apart.deg / per_pixel / one.r200 > APART:
        if GIVEN in (one.centre_from, reference.centre_from) and one.centre_from != reference.centre_from:
            one = _recentred(one, origin, reference)
            matrix = _steps(one, one.x, one.y, origin)
        else:
            raise InputError(
                f"{one.path}: its centre ({one.centre_from}) is {apart.to_value(u.arcmin):.3g} arcmin, "
                f"{apart.deg / per_pixel / one.r200:.2g} R200, from that of {reference.path.name}; give x and y of "
                "one of them, or the same place in both"
            )
    return _turned(reference, one, _steps(reference, reference.x, reference.y, origin), matrix)


def _recentred(one: OwnMap, origin: SkyCoord, reference: OwnMap) -> OwnMap:
    assert one.wcs is not None
    x, y = (float(place) + 1 for place in one.wcs.celestial.world_to_pixel(origin))
    reached = reach(one.shape, x, y, one.r200)
    if not reached >= 1 - TOLERANCE:
        raise InputError(
            f"{one.path}: reaches {reached:.2f} R200 from the centre of {reference.path.name} on the sky "
            f"(x = {x:.1f}, y = {y:.1f}); the network needs 1 R200 to each side"
        )
    return replace(one, x=x, y=y, centre_from=f"that of {reference.path.name}", note="centred there on the sky")


def _turned(reference: OwnMap, one: OwnMap, of_reference: FloatArray, of_one: FloatArray) -> OwnMap:
    """A map with its turn, from what a step along columns and rows is on the sky (or plane) for both, (2, 2)."""
    matrix = np.linalg.solve(of_one, of_reference)
    scale = np.sqrt(abs(np.linalg.det(matrix)))
    turn = matrix / scale
    expected = one.r200 / reference.r200
    if abs(scale / expected - 1) > SAME["r200"]:
        raise InputError(
            f"{one.path}: R200 is {one.r200_as_given}, by its pixels {expected / scale:.3g} times that of "
            f"{reference.path.name} ({reference.r200_as_given}); views of one cluster have one"
        )
    if np.abs(turn @ turn.T - NO_TURN).max() > 2 * SAME["r200"]:
        raise InputError(f"{one.path}: its axes are not at right angles as those of {reference.path.name}; resample it")
    if np.abs(turn - np.round(turn)).max() < EXACT:
        turn = np.round(turn)
        if np.array_equal(turn, NO_TURN):
            return one
    said = [one.note, f"{_in_words(turn)} to lie as {reference.path.name} does"]
    _check_corners(one, turn, reference)
    return replace(one, turn=turn, note="; ".join(filter(None, said)))


def _check_corners(one: OwnMap, turn: FloatArray, reference: OwnMap) -> None:
    corner = np.abs(turn).sum(axis=1).max()  # how far a corner of the square goes along columns or rows
    reached = reach(one.shape, one.x, one.y, one.r200)
    if reached < corner - TOLERANCE:
        raise InputError(
            f"{one.path}: reaches {reached:.2f} R200 from its centre, but turned to lie as {reference.path.name} does "
            f"it must reach {corner:.2f}; cut it larger, or resample both to one grid"
        )


def _in_words(turn: FloatArray) -> str:
    flipped = "flipped and " if np.linalg.det(turn) < 0 else ""
    angle = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
    if np.array_equal(turn, np.diag([-1, 1])):
        return "flipped left to right"
    if np.array_equal(turn, np.diag([1, -1])):
        return "flipped upside down"
    exactly = np.array_equal(turn, np.round(turn))
    return f"{flipped}turned by {angle:.4g} degrees{'' if exactly else ', resampled,'}"


def _at(one: OwnMap, x: float, y: float) -> SkyCoord:
    assert one.wcs is not None
    sky = one.wcs.celestial.pixel_to_world(x - 1, y - 1)
    if not isinstance(sky, SkyCoord) or not np.isfinite([sky.spherical.lon.deg, sky.spherical.lat.deg]).all():
        raise InputError(f"{one.path}: its centre (x = {x:g}, y = {y:g}) is nowhere on the sky of its WCS")
    return sky.icrs


def _steps(one: OwnMap, x: float, y: float, origin: SkyCoord) -> FloatArray:
    """What a pixel along the columns and one along the rows is on the sky, in degrees to the east and north: (2, 2)."""
    frame = origin.skyoffset_frame()
    places = [_at(one, x + dx, y + dy).transform_to(frame) for dx, dy in ((0, 0), (1, 0), (0, 1))]
    flat = np.array([[place.lon.wrap_at("180d").deg, place.lat.deg] for place in places])
    return np.asarray((flat[1:] - flat[0]).T)


def _plane(one: OwnMap) -> FloatArray:
    assert one.wcs is not None
    matrix = np.asarray(one.wcs.pixel_scale_matrix)
    return np.asarray(
        matrix / np.sqrt(abs(np.linalg.det(matrix))) / one.r200
    )  # lengths of any unit: only directions are compared
