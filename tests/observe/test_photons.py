"""A real X-ray image as a map: the way back from photons, and files that are not what they seem."""

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import FlatLambdaCDM
from astropy.io import fits
from astropy.wcs import WCS

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Counts
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import maps
from hpc_massmap.observe.photons import brightness_of

A3158 = Path("../shared/data/rosat_a3158")
ROSAT = Path("configs/instruments/rosat.yaml")
TELESCOPE = Counts(exposure=1.0, conversion=8e10, band_share=0.25)
SIDE = 0.25  # arcmin


def of(counts: FloatArray, background: FloatArray, exposure: FloatArray) -> FloatArray:
    return brightness_of(counts, background, exposure, SIDE, TELESCOPE, 0.06, 0.7, 0.3)


def field(shape: tuple[int, int] = (60, 70)) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A round source of 1e44 erg/s in the telescope's band, a background and a vignetted exposure."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    source = np.exp(-((x - 35) ** 2 + (y - 28) ** 2) / 50.0)
    distance = FlatLambdaCDM(H0=70, Om0=0.3).luminosity_distance(0.06)
    flux = (1e44 * u.erg / u.s / (4 * np.pi * distance**2)).to_value(u.erg / u.s / u.cm**2)
    exposure = 3000.0 - 10.0 * x
    background = 1e-5 * exposure
    return source / source.sum() * flux * 8e10 * exposure + background, background, exposure


def test_a_source_has_its_luminosity_again() -> None:
    found = of(*field())
    kpc = FlatLambdaCDM(H0=70, Om0=0.3).kpc_proper_per_arcmin(0.06).value * SIDE
    assert (found * 1e40 * kpc**2).sum() == pytest.approx(1e44 / 0.25, rel=1e-6)
    y, x = np.mgrid[:60, :70]
    np.testing.assert_allclose(found / found.max(), np.exp(-((x - 35) ** 2 + (y - 28) ** 2) / 50.0), atol=1e-9)


def test_a_hole_is_filled_from_around_it_and_what_was_never_seen_is_zero() -> None:
    counts, background, exposure = field()
    whole = of(counts, background, exposure)
    exposure[30:32, 40:42] = 0
    exposure[:, 60:] = 0
    found = of(np.where(exposure > 0, counts, 0), background, exposure)
    np.testing.assert_allclose(found[30:32, 40:42], whole[30:32, 40:42], rtol=0.15)
    assert np.isfinite(found).all()
    assert found[0, -1] == 0


def write(folder: Path, name: str, pixels: FloatArray, **changes: object) -> Path:
    header = fits.Header()
    for key, value in {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 35.0, "CRPIX2": 28.0, "CRVAL1": 55.7, "CRVAL2": -53.6,
        "CDELT1": -SIDE / 60, "CDELT2": SIDE / 60, "CUNIT1": "deg", "CUNIT2": "deg",
    }.items():  # fmt: skip
        header[key] = changes.get(key, value)
    for key in [key for key, value in changes.items() if value is None]:
        del header[key]
    path = folder / f"{name}.fits"
    fits.PrimaryHDU(pixels, header).writeto(path, overwrite=True)
    return path


def typed(folder: Path, *changes: str, instrument: Path = ROSAT) -> list[str]:
    words = ["photons", str(folder / "counts.fits"), "--background", str(folder / "background.fits")]
    words += ["--exposure", str(folder / "exposure.fits"), "--instrument", str(instrument), "--redshift", "0.06"]
    return [*words, "--h", "0.7", "--omega-m", "0.3", "--out", str(folder / "A_xray.fits"), *changes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, pixels in zip(("counts", "background", "exposure"), field(), strict=True):
        write(tmp_path, name, pixels)
    return tmp_path


def test_the_job_writes_what_massmap_predict_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps.main(typed(folder))
    with fits.open(folder / "A_xray.fits") as file:
        header, pixels = file[0].header, file[0].data
    assert "photons above the background, pixels of 17.39 kpc" in capsys.readouterr().out
    assert u.Unit(header["BUNIT"]) == u.erg / u.s / u.kpc**2
    side = u.Quantity(header["PIXEL"])
    total = (pixels.sum() * u.Unit(header["BUNIT"]) * side**2).to_value(u.erg / u.s)
    assert total == pytest.approx(1e44 / 0.23, rel=1e-3)  # the band share of its file
    assert WCS(header).wcs_pix2world([[34, 27]], 0)[0] == pytest.approx([55.7, -53.6])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"of": "background", "CRPIX1": 36.0}, "background.fits: its pixels are not where those of"),
        ({"of": "exposure", "shape": (60, 71)}, "not of one field"),
        ({"of": "exposure", "value": 0.0}, "no pixel has an exposure above 0 s"),
        ({"of": "exposure", "value": np.nan}, "a pixel that is not finite"),
        ({"of": "counts", "CTYPE1": None, "CTYPE2": None}, "does not say where its pixels are on the sky"),
        ({"of": "counts", "CDELT2": 2 * SIDE / 60}, "its pixels are not"),
        ({"of": "counts", "text": "no FITS"}, "counts.fits: not a readable FITS image"),
        ({"words": ["--redshift", "0"]}, "no universe that a cluster is in"),
        ({"words": ["--instrument", "configs/instruments/act.yaml"]}, "act.yaml: no observe.views.xray.counts, which"),
    ],
)
def test_what_is_no_image_of_a_cluster_is_one_line(change: dict[str, object], says: str, folder: Path) -> None:
    words = change.pop("words", [])
    assert isinstance(words, list)
    if (name := change.pop("of", None)) is not None:
        pixels = dict(zip(("counts", "background", "exposure"), field(), strict=True))[str(name)]
        if "shape" in change:
            pixels = field(change.pop("shape"))[2]  # type: ignore[arg-type]
        if "value" in change:
            pixels = np.full_like(pixels, change.pop("value"))
        text = change.pop("text", None)
        path = write(folder, str(name), pixels, **change)
        if text is not None:
            path.write_text(str(text))
    with pytest.raises(InputError, match=says):
        maps.main(typed(folder, *words))
    assert not (folder / "A_xray.fits").exists()


@pytest.mark.skipif(not A3158.exists(), reason="the image of Abell 3158 is not beside this clone")
def test_abell_3158_is_as_bright_as_its_photons_say(tmp_path: Path) -> None:
    """By hand, pixel for pixel where it was exposed; in all some 1e44 erg/s, as a cluster of 5 keV has."""
    words = ["photons", str(A3158 / "counts.fits.gz"), "--background", str(A3158 / "background.fits.gz")]
    words += ["--exposure", str(A3158 / "exposure.fits.gz"), "--instrument", str(ROSAT), "--redshift", "0.0597"]
    maps.main([*words, "--h", "0.7", "--omega-m", "0.3", "--out", str(tmp_path / "A3158_xray.fits")])
    with fits.open(tmp_path / "A3158_xray.fits") as file:
        header, pixels = file[0].header, file[0].data
    x, y = WCS(header).wcs_world2pix(55.714, -53.628, 0)
    rows, columns = np.indices(pixels.shape)
    side = u.Quantity(header["PIXEL"]).value
    inside = np.hypot(columns - x, rows - y) * side < 1120  # R500
    counts, background, exposure = (
        fits.getdata(A3158 / f"{name}.fits.gz").astype(float) for name in ("counts", "background", "exposure")
    )
    seen = inside & (exposure > 0)
    flux = ((counts - background)[seen] / exposure[seen]).sum() / 8e10
    distance = FlatLambdaCDM(H0=70, Om0=0.3).luminosity_distance(0.0597).to_value(u.cm)
    assert pixels[seen].sum() * side**2 * 0.23 == pytest.approx(flux * 4 * np.pi * distance**2, rel=1e-4)
    assert 1e44 < pixels[inside].sum() * side**2 * 0.23 < 4e44
