"""Views of a cluster that lie differently on the sky are laid upon each other, or refused; never mixed in silence."""

import bz2
import re
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.predict.own_files import OwnMap
from hpc_massmap.predict.own_maps import find_clusters, read_view

UNITS = {"sz": "1", "star": "1"}  # two views without a unit: only where they lie matters here
ARCMIN = 1 / 60
R200 = 10.0  # arcmin
Header = dict[str, Any]


def sky(degrees: float = 0.0, east: int = -1, pixel: float = 0.2, size: int = 140) -> Header:
    """A map about (180, 30) degrees, of pixels of `pixel` arcmin, turned; `east` is -1 where it is to the left."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    step = pixel * ARCMIN
    middle = (size + 1) / 2
    return {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": 180.0, "CRVAL2": 30.0,
        "CRPIX1": middle, "CRPIX2": middle, "R200": f"{R200} arcmin",
        "CD1_1": east * step * cos, "CD1_2": -east * step * sin, "CD2_1": step * sin, "CD2_2": step * cos,
    }  # fmt: skip


def brightness(east: FloatArray, north: FloatArray) -> FloatArray:
    """A sky without any symmetry; offsets from the centre in arcmin."""
    blobs = ((1.0, 0.0, 0.0, 4.0), (0.8, 3.0, 1.0, 1.5), (0.5, -2.0, 4.0, 1.0), (0.4, -1.0, -5.0, 1.2))
    return np.asarray(sum(a * np.exp(-((east - e) ** 2 + (north - n) ** 2) / 2 / s**2) for a, e, n, s in blobs))


def seen(header: Header, size: int = 140, subpixels: int = 3) -> FloatArray:
    """That sky as a map of this header shows it: means over pixels."""
    places = (np.arange(size * subpixels) + 0.5) / subpixels + 0.5
    dx, dy = np.meshgrid(places - header["CRPIX1"], places - header["CRPIX2"])
    east = (header["CD1_1"] * dx + header["CD1_2"] * dy) / ARCMIN
    north = (header["CD2_1"] * dx + header["CD2_2"] * dy) / ARCMIN
    return np.asarray(brightness(east, north).reshape(size, subpixels, size, subpixels).mean((1, 3)))


def write(path: Path, header: Header, pixels: FloatArray | None = None) -> None:
    path.parent.mkdir(exist_ok=True)
    pixels = seen(header) if pixels is None else pixels
    fits.PrimaryHDU(np.asarray(pixels, np.float32), fits.Header(header)).writeto(path, overwrite=True)


def both(folder: Path, first: Header, second: Header) -> tuple[OwnMap, OwnMap]:
    write(folder / "A_sz.fits", first)
    write(folder / "A_star.fits", second)
    cluster = find_clusters(folder, UNITS)["A"]
    return cluster["sz"], cluster["star"]


@pytest.mark.parametrize("east", [-1, 1])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_flips_and_right_angles_are_exact(tmp_path: Path, degrees: float, east: int) -> None:
    first, second = both(tmp_path, sky(), sky(degrees, east))
    reference = read_view(first)
    np.testing.assert_allclose(read_view(second), reference, rtol=2e-6, atol=1e-7)
    assert bool(second.note) == ((degrees, east) != (0, -1))
    assert not first.note


@pytest.mark.parametrize("degrees", [30, -70.5, 135])
@pytest.mark.parametrize("east", [-1, 1])
def test_other_angles_are_resampled(tmp_path: Path, degrees: float, east: int) -> None:
    first, second = both(tmp_path, sky(), sky(degrees, east, pixel=0.21))
    reference, found = read_view(first), read_view(second)
    assert np.abs(found - reference).max() < 0.012 * reference.max()
    assert found.mean() == pytest.approx(reference.mean(), rel=2e-3)
    assert "degrees, resampled, to lie as A_sz.fits does" in second.note


def test_what_is_not_turned_is_as_it_was(tmp_path: Path) -> None:
    """No less than before to the bit: the same header, and none at all."""
    first, second = both(tmp_path, sky(17), sky(17))
    np.testing.assert_array_equal(read_view(first), read_view(second))
    assert np.array_equal(second.turn, np.eye(2))


def test_another_frame_of_the_sky_is_understood(tmp_path: Path) -> None:
    """The same place in galactic coordinates, whose north is elsewhere."""
    place = SkyCoord(180 * u.deg, 30 * u.deg).galactic
    galactic = sky() | {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": place.l.deg, "CRVAL2": place.b.deg}
    first, second = both(tmp_path, sky(), galactic)
    assert re.match(r"turned by \S+ degrees, resampled, to lie as", second.note)
    assert np.linalg.det(second.turn) == pytest.approx(1)
    assert first.turn is not second.turn


def test_a_view_without_a_centre_is_centred_on_the_sky(tmp_path: Path) -> None:
    off = sky() | {"CRPIX1": 60.5, "CRPIX2": 80.0}  # of its pointing, not of the cluster
    given = sky() | {"XCENTRE": 70.5, "YCENTRE": 70.5}
    moved = off | {"CRVAL1": 180 + 10 * 0.2 * ARCMIN / np.cos(np.radians(30)), "CRVAL2": 30 + 9.5 * 0.2 * ARCMIN}
    write(tmp_path / "A_sz.fits", given)
    write(tmp_path / "A_star.fits", moved, seen(sky()))
    cluster = find_clusters(tmp_path, UNITS)["A"]
    assert (cluster["star"].x, cluster["star"].y) == pytest.approx((70.5, 70.5), abs=0.02)
    assert "centred there on the sky" in cluster["star"].note


LINEAR: Header = {"CDELT1": 12.0, "CDELT2": 12.0, "CUNIT1": "kpc", "CUNIT2": "kpc", "R200": "600 kpc"}


def test_a_plane_that_runs_the_other_way_is_flipped(tmp_path: Path) -> None:
    pixels = seen(sky())
    write(tmp_path / "A_sz.fits", LINEAR, pixels)
    write(tmp_path / "A_star.fits", LINEAR | {"CDELT1": -12.0}, pixels[:, ::-1])
    cluster = find_clusters(tmp_path, UNITS)["A"]
    np.testing.assert_allclose(read_view(cluster["star"]), read_view(cluster["sz"]), rtol=1e-6)
    assert cluster["star"].note == "flipped left to right to lie as A_sz.fits does"


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    _, second = both(tmp_path, sky(), LINEAR | sky() | {"CTYPE1": "X", "CTYPE2": "Y"})
    assert second.note == "no place on the sky: taken to lie as A_sz.fits does"


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (sky() | {"R200": "11 arcmin"}, r"R200 is 11.0 arcmin, but 10.0 arcmin in A_sz.fits; views of one cluster"),
        (sky() | {"R200": "55 pix"}, r"R200 is 55 pix, by its pixels 1.1 times that of A_sz.fits \(10.0 arcmin\)"),
        (sky() | {"HUBBLE": 0.5}, "h is 0.5, but 0.7 in A_sz.fits"),
        (sky() | {"REDSHIFT": 0.3}, "redshift is 0.3, but 0.05 in A_sz.fits"),
        (sky() | {"CRVAL2": 31.0}, r"its centre \(CRPIX\) is 60 arcmin, 6 R200, from that of A_sz.fits; give x and y"),
        (sky() | {"CRVAL2": 30.02}, r"its centre \(CRPIX\) is 1.2 arcmin, 0.12 R200, from that of A_sz.fits"),
        (sky(45, pixel=0.16), r"reaches 1.12 R200 from its centre, but turned .* it must reach 1.41; cut it larger"),
        (sky() | {"PIXEL": "0.3 arcmin"}, "pixel = 0.3 arcmin, but its WCS says 0.2 arcmin; correct one of them"),
    ],
)
def test_views_that_contradict_each_other_are_refused(tmp_path: Path, second: Header, says: str) -> None:
    first = sky() | {"HUBBLE": 0.7, "REDSHIFT": 0.05}
    with pytest.raises(InputError, match=says) as error:
        both(tmp_path, first, second)
    assert "A_star.fits" in str(error.value)


def test_given_centres_must_be_one_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its centre \(as given\) is 1 arcmin, 0.1 R200, from that of A_sz.fits"):
        both(tmp_path, sky() | {"XCENTRE": 70.5, "YCENTRE": 70.5}, sky() | {"XCENTRE": 75.5, "YCENTRE": 70.5})


def images(path: Path, *hdus: tuple[str, FloatArray | None], **primary: Any) -> None:
    """A file of several images by their names, the first the primary one."""
    made = [fits.PrimaryHDU(hdus[0][1], fits.Header(primary))]
    made += [fits.ImageHDU(pixels, name=name) for name, pixels in hdus[1:]]
    fits.HDUList(made).writeto(path, overwrite=True)


MAP = np.arange(6400, dtype=np.float32).reshape(80, 80)
WEIGHT = np.ones((80, 80), np.float32)


@pytest.mark.parametrize(
    "hdus",
    [
        [("", None), ("WEIGHT", WEIGHT), ("SCI", MAP)],
        [("", None), ("SCI", MAP), ("ERR", WEIGHT), ("DQ", WEIGHT)],
        [("", MAP), ("VARIANCE", WEIGHT)],
        [("", None), ("weight_map", WEIGHT), ("signal", MAP)],
        [("", None), ("", MAP)],
    ],
)
def test_of_several_images_the_map_is_taken(tmp_path: Path, hdus: list[tuple[str, Any]]) -> None:
    for view in UNITS:
        images(tmp_path / f"A_{view}.fits", *hdus, R200="40 pix")  # said once, for the whole file
    np.testing.assert_allclose(read_view(find_clusters(tmp_path, UNITS)["A"]["sz"]), MAP, rtol=1e-12)


def test_one_of_several_maps_is_named(tmp_path: Path) -> None:
    for view in UNITS:
        images(tmp_path / f"A_{view}.fits", ("", None), ("Y100", WEIGHT), ("Y150", MAP), R200="40 pix")
    several = (
        r"A_sz.fits: several images, of which any may be the map: 1 \(Y100\), 2 \(Y150\); name one in the column ext"
    )
    with pytest.raises(InputError, match=several):
        find_clusters(tmp_path, UNITS)
    for table in ("name, ext\nA, Y150\n", "name, sz_ext, star_ext\nA, y150, 2\n"):
        (tmp_path / "clusters.csv").write_text(table)
        for own in find_clusters(tmp_path, UNITS)["A"].values():
            np.testing.assert_allclose(read_view(own), MAP, rtol=1e-12)
    (tmp_path / "clusters.csv").write_text("name, ext\nA, Y90\n")
    with pytest.raises(InputError, match=r"no image Y90 among 1 \(Y100\), 2 \(Y150\)"):
        find_clusters(tmp_path, UNITS)


def test_the_usual_wrappings_are_read(tmp_path: Path) -> None:
    header = fits.Header({"R200": "8 arcmin", "CDELT1": 0.2 / 60, "CDELT2": 0.2 / 60, "CRPIX1": 40.5, "CRPIX2": 40.5})
    header["CUNIT1"] = header["CUNIT2"] = "degree"
    fits.PrimaryHDU(MAP[None, None], header).writeto(tmp_path / "A_sz.FITS")
    fits.PrimaryHDU(MAP, header).writeto(tmp_path / "A_star.fit")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(MAP, header, quantize_level=0)]).writeto(
        tmp_path / "B_sz.fits.fz"
    )
    (tmp_path / "B_star.fits.bz2").write_bytes(bz2.compress((tmp_path / "A_star.fit").read_bytes()))
    found = find_clusters(tmp_path, UNITS)
    assert list(found) == ["A", "B"]
    for cluster in found.values():
        for own in cluster.values():
            np.testing.assert_allclose(read_view(own), MAP, rtol=1e-12)


def test_the_sky_of_a_file_is_not_that_of_another_image_in_it(tmp_path: Path) -> None:
    """The WCS of a primary image says nothing of an extension of other pixels."""
    for view in UNITS:
        images(tmp_path / f"A_{view}.fits", ("", WEIGHT), ("SCI", MAP), R200="40 pix", CDELT1=3.0, CDELT2=3.0)
    assert find_clusters(tmp_path, UNITS)["A"]["sz"].wcs is None
