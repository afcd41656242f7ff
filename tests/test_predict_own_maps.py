"""A trained model on maps of one's own: the right pixels go in, in the right unit, and come out where they belong."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.mpi import communicator
from hpc_massmap.predict.apply import apply_model
from hpc_massmap.predict.own_maps import find_clusters
from hpc_massmap.predict.own_units import factor_to
from hpc_massmap.predict.regrid import regrid
from hpc_massmap.train.trained import TrainedModel, load_model
from hpc_massmap.units import to_file
from hpc_massmap.views import UNITS
from tests.conftest import ROOT, Launch
from tests.trained_run import write_run

VIEWS = ["sz", "star"]
STAR = "h^-1 Msun kpc^-2"
H = 0.7


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def model(config: Path) -> TrainedModel:
    return load_model(config.parent / "runs" / "small" / "model")


@pytest.fixture(scope="module")
def maps(config: Path) -> MapFile:
    return open_maps(config.parent / "maps.h5")


def write(path: Path, pixels: FloatArray, **keywords: Any) -> None:
    """A FITS map; a keyword's dash is written as __."""
    path.parent.mkdir(exist_ok=True)
    header = fits.Header({key.replace("__", "-"): value for key, value in keywords.items()})
    fits.PrimaryHDU(np.asarray(pixels, np.float32), header).writeto(path, overwrite=True)


def write_cluster(folder: Path, maps: MapFile, row: int = 0, name: str = "A1") -> None:
    """Two maps as they are in the map file."""
    write(folder / f"{name}_sz.fits", maps.maps["sz"][row], R200="40 pix")
    write(folder / f"{name}_star.fits", maps.maps["star"][row], R200="40 pix", BUNIT=STAR)


def applied(model: TrainedModel, folder: Path, out: Path) -> list[str]:
    """What the model said was strange; the predictions are in `out`."""
    strange: list[str] = []
    with communicator() as comm:
        apply_model(model, find_clusters(folder, {view: UNITS[view] for view in VIEWS}), out, comm, strange.append)
    return strange


def by_loop(pixels: FloatArray, x: float, y: float, r200: float) -> FloatArray:
    """Mean over each new pixel, one pair of pixels after the other."""
    step, new = 2 * r200 / PIXELS, np.zeros((PIXELS, PIXELS))
    left, low = x - 0.5 - r200, y - 0.5 - r200
    for i, j in np.ndindex(new.shape):
        for row in range(int(low + i * step), min(int(low + (i + 1) * step) + 1, len(pixels))):
            for column in range(int(left + j * step), min(int(left + (j + 1) * step) + 1, pixels.shape[1])):
                high = max(0.0, min(low + (i + 1) * step, row + 1) - max(low + i * step, row))
                wide = max(0.0, min(left + (j + 1) * step, column + 1) - max(left + j * step, column))
                new[i, j] += pixels[row, column] * high * wide / step**2
    return new


@pytest.mark.parametrize(
    ("shape", "x", "y", "r200"),
    [((80, 80), 40.5, 40.5, 40.0), ((120, 131), 70.2, 55.1, 49.3), ((60, 41), 20.7, 30.9, 18.6)],
)
def test_new_pixels_are_the_means_of_what_they_cover(shape: tuple[int, int], x: float, y: float, r200: float) -> None:
    pixels = np.random.default_rng(1).lognormal(0, 1, shape)
    np.testing.assert_allclose(regrid(pixels, x, y, r200), by_loop(pixels, x, y, r200), rtol=1e-9)


def test_the_total_is_kept() -> None:
    pixels = np.zeros((100, 100))
    pixels[22:71, 30:69] = np.random.default_rng(1).lognormal(0, 1, (49, 39))
    total = regrid(pixels, 51.3, 47.7, 41.9).sum() * (2 * 41.9 / PIXELS) ** 2
    assert total == pytest.approx(pixels.sum(), rel=1e-12)


def test_finer_shifted_maps_in_other_units_give_the_same_prediction(
    model: TrainedModel, maps: MapFile, tmp_path: Path
) -> None:
    write_cluster(tmp_path / "own", maps)
    assert applied(model, tmp_path / "own", tmp_path / "out") == [""]
    plain = fits.getdata(tmp_path / "out" / "A1_mass.fits")
    fine = np.full((260, 250), 1e9)
    fine[15:255, 5:245] = np.kron(maps.maps["star"][0], np.ones((3, 3))) / H / 1e6  # Msun/pc^2
    write(
        tmp_path / "fine" / "A1_star.fits",
        fine,
        R200="1.2 Mpc",
        CDELT1=10.0,
        CDELT2=10.0,
        CUNIT1="kpc",
        CUNIT2="kpc",
        CRPIX1=125.5,
        CRPIX2=135.5,
        BUNIT="solMass pc-2",
        HUBBLE=H,
    )
    np.save(tmp_path / "fine" / "A1_sz.npy", maps.maps["sz"][0])
    (tmp_path / "fine" / "clusters.csv").write_text("name, sz_r200\nA1, 40 pix\n")
    applied(model, tmp_path / "fine", tmp_path / "fine_out")
    with fits.open(tmp_path / "fine_out" / "A1_mass.fits") as hdus:
        assert hdus[0].header["BUNIT"] == "solMass kpc-2"
        np.testing.assert_allclose(hdus[0].data * H, plain, rtol=1e-3, atol=1e-4 * abs(plain).max())


def test_a_prediction_is_that_of_the_test_set(model: TrainedModel, maps: MapFile, tmp_path: Path) -> None:
    write_cluster(tmp_path / "own", maps, row=5)
    applied(model, tmp_path / "own", tmp_path / "out")
    views = torch.from_numpy(np.stack([maps.maps[view][5] for view in VIEWS])[None])
    with torch.inference_mode():
        said = model.network(model.normalisation.apply(views, VIEWS))
    wanted = model.normalisation.invert(said, ["mass"])[0, 0].numpy()
    found = fits.getdata(tmp_path / "out" / "A1_mass.fits")
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * abs(wanted).max())


def test_the_header_says_where_what_and_how(model: TrainedModel, maps: MapFile, tmp_path: Path) -> None:
    sky = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 194.9, "CRVAL2": 28.0, "CRPIX1": 90.0, "CRPIX2": 30.0,
        "CD1_1": -0.001, "CD1_2": 0.0002, "CD2_1": 0.0002, "CD2_2": 0.001,
    }  # fmt: skip
    pixels = np.kron(maps.maps["sz"][0], np.ones((2, 2)))
    scale = float(np.hypot(0.001, 0.0002)) * 60
    write(tmp_path / "own" / "A1_sz.fits", pixels, R200=f"{60 * scale} arcmin", XCENTRE=70.25, YCENTRE=75.5, **sky)
    write(tmp_path / "own" / "A1_star.fits", maps.maps["star"][0], R200="40 pix", BUNIT=STAR)
    applied(model, tmp_path / "own", tmp_path / "out")
    header = fits.getheader(tmp_path / "out" / "A1_mass.fits")
    before, after = WCS(fits.getheader(tmp_path / "own" / "A1_sz.fits")), WCS(header)
    # FITS pixels: the centre of the map is 40.5, its lower left corner 0.5, in steps of 1.5 of the input's
    for new, old in (((40.5, 40.5), (70.25, 75.5)), ((0.5, 0.5), (10.25, 15.5)), ((80.5, 0.5), (130.25, 15.5))):
        apart = after.pixel_to_world(new[0] - 1, new[1] - 1).separation(before.pixel_to_world(old[0] - 1, old[1] - 1))
        assert apart < 1e-6 * u.arcsec
    assert (header["BUNIT"], header["OBJECT"], header["VIEWS"]) == (to_file(STAR), "A1", "sz, star")
    history = "\n".join(header["HISTORY"])
    assert model.digest in history.replace("\n", "")
    assert f"normalisation of mass: mean {model.normalisation.mean['mass']:.6g}" in history
    assert "A1_sz.fits, 160 x 160 pixels" in history
    assert "x 70.25, y 75.5 (as given)" in history


@pytest.mark.parametrize(
    ("text", "wanted", "h", "pixel", "factor"),
    [
        ("1", "1", None, None, 1),
        ("erg s-1 kpc-2", "1e40 erg s^-1 kpc^-2", None, None, 1e-40),
        ("10**40 erg s-1 kpc-2", "1e40 erg s^-1 kpc^-2", None, None, 1),
        ("solMass pc-2", STAR, 0.7, None, 0.7e6),
        (STAR, STAR, None, None, 1),
        ("solMass", STAR, 0.7, 20 * u.kpc, 0.7 / 400),
        ("h-1 Msun / pix", STAR, None, 0.01 * u.Mpc, 0.01),
    ],
)
def test_units(text: str, wanted: str, h: float | None, pixel: Any, factor: float) -> None:
    assert factor_to(Path("a"), text, wanted, h, pixel) == pytest.approx(factor, rel=1e-12)


def star(folder: Path, maps: MapFile, **keywords: Any) -> None:
    write(folder / "A1_star.fits", maps.maps["star"][0], **{"R200": "40 pix", "BUNIT": STAR, **keywords})


def holes(folder: Path, maps: MapFile) -> None:
    pixels = maps.maps["star"][0].copy()
    pixels[4, 7] = pixels[5, 7] = np.nan
    write(folder / "A1_star.fits", pixels, R200="40 pix", BUNIT=STAR)


def cube(folder: Path, maps: MapFile) -> None:
    write(folder / "A1_star.fits", maps.maps["star"][:2], R200="40 pix", BUNIT=STAR)


def npz(folder: Path, maps: MapFile) -> None:
    (folder / "A1_star.fits").unlink()
    with (folder / "A1_star.npy").open("wb") as file:
        np.savez(file, maps.maps["star"][0])


def words(folder: Path, maps: MapFile) -> None:
    (folder / "A1_star.fits").unlink()
    np.save(folder / "A1_star.npy", np.full((80, 80), "a"))


def unquoted(folder: Path, card: str) -> None:
    """A card of a header as people write them by hand, in the place of an unknown one."""
    path = folder / "A1_star.fits"
    with fits.open(path, mode="update") as hdus:
        hdus[0].header.remove(card[:8].strip(), ignore_missing=True)
        hdus[0].header["FREE"] = 0
    raw = path.read_bytes()
    start = raw.index(b"FREE    =")
    path.write_bytes(raw[:start] + card.encode().ljust(80) + raw[start + 80 :])


def table(text: str) -> Callable[[Path, MapFile], Any]:
    return lambda folder, maps: (folder / "clusters.csv").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f, m: (f / "A1_star.fits").unlink(), "A1 has no star map, but the model was trained on sz, star; add"),
        (lambda f, m: [p.unlink() for p in f.iterdir()], "holds no maps of sz or star; name them NAME_sz.fits"),
        (lambda f, m: np.save(f / "A1_star.npy", m.maps["star"][0]), "A1_star.fits is the same map; keep one"),
        (lambda f, m: star(f, m, BUNIT=""), "no unit; give BUNIT in its header or star_unit in clusters.csv"),
        (lambda f, m: star(f, m, BUNIT="solMass pc-2"), r"cannot become 'h\^-1 Msun kpc\^-2', .*; give h"),
        (lambda f, m: star(f, m, BUNIT="K"), "its unit 'K' cannot become .*; convert it first"),
        (lambda f, m: star(f, m, BUNIT="furlong"), "unit 'furlong' is not one that astropy reads"),
        (lambda f, m: star(f, m, BUNIT="solMass", HUBBLE=0.7), "needs the size of a pixel in kpc; give pixel"),
        (lambda f, m: star(f, m, R200=1450.0), "r200 = 1450.0 has no unit; write it as `1450.0 kpc`"),
        (lambda f, m: star(f, m, R200="1450 kpc"), "nothing tells the size of a pixel; give it, or R200 in pix"),
        (lambda f, m: star(f, m, R200="1 Mpc", PIXEL="2 arcmin"), "R200 is in Mpc but its pixels are in arcmin"),
        (lambda f, m: star(f, m, R200="50 pix"), r"80 x 80 pixels reach 0.80 R200 \(of 50.0 pixels\) from its centre"),
        (lambda f, m: star(f, m, CRPIX1=10.0, CRPIX2=40.5), r"reach 0.24 R200 .*\(CRPIX: x = 10, y = 40.5\)"),
        (lambda f, m: star(f, m, CRPIX1="a", CRPIX2=40.5), "CRPIX1 = a is not a number"),
        (lambda f, m: star(f, m, XCENTRE="nan", YCENTRE=40.5), "x = nan is not a number"),
        (lambda f, m: star(f, m, XCENTRE=30.0), "of the centre only x is given; give both x and y"),
        (lambda f, m: star(f, m, BUNIT="solMass kpc-2", HUBBLE=70.0), "h = 70 cannot be; it is H0 over 100 km/s/Mpc"),
        (lambda f, m: star(f, m, BUNIT="solMass kpc-2", HUBBLE=-0.7), "h = -0.7 cannot be"),
        (lambda f, m: star(f, m, BUNIT="solMass kpc-2", HUBBLE=0.0), "h = 0 cannot be"),
        (lambda f, m: star(f, m, BUNIT="mag(AB)"), r"unit 'mag\(AB\)' is not one that astropy reads"),
        (lambda f, m: star(f, m, R200="[40, 50] pix"), r"r200 = \[40, 50\] pix is not a length"),
        (lambda f, m: star(f, m, CDELT1=1.0, CDELT2=2.0), r"its pixels are not square \(1 by 2\)"),
        (lambda f, m: star(f, m, CDELT1=1, CDELT2=1, CUNIT1="kpc", CUNIT2="Mpc"), r"not square \(1 kpc by 1 Mpc\)"),
        (lambda f, m: star(f, m, CDELT1=0.0, CDELT2=0.0, CUNIT1="kpc", CUNIT2="kpc"), "its WCS cannot be used"),
        (lambda f, m: star(f, m, CDELT1=1.0, CDELT2=1.0, CTYPE1="RA---FOO", CTYPE2="DEC--FOO"), r"used \(Unrecog"),
        (lambda f, m: star(f, m, CDELT1=1.0, CDELT2=1.0, CUNIT1="furlong", CUNIT2="furlong"), "its WCS cannot be"),
        (npz, r"A1_star.npy: not a readable map \(it holds no array of real numbers\)"),
        (words, r"A1_star.npy: not a readable map \(it holds no array of real numbers\)"),
        (lambda f, m: (f / "A1_star.fits").write_bytes(b"no"), "A1_star.fits: not a readable map"),
        (cube, r"has 3 axes \(2, 80, 80\); a map has two"),
        (holes, "2 pixels inside the field are not finite, the first at x = 8, y = 5"),
        (table("name, r200\nA2, 5 kpc\n"), "A2: no map of this name is in the folder"),
        (table("name, size\nA1, 5 kpc\n"), "column 'size' is not known; there are name, r200, pixel"),
        (table("name, r200\nA1, 40 pix\nA1, 30 pix\n"), "A1 is there twice; leave one"),
        (table("name, r200\nA1, 1,450 kpc\n"), "A1 has more values than there are columns; quote one that has a comma"),
        (lambda f, m: (f / "clusters.csv").write_bytes(b"name\n\xe9\n"), "clusters.csv: not a readable table"),
        (lambda f, m: (f / "clusters.csv").mkdir(), "clusters.csv: not a readable table"),
        (table("name, r200, r200\nA1, 40 pix, 41 pix\n"), "column 'r200' is there twice; leave one"),
        (table(f"name, r200\nA1, {'4' * 200_000}\n"), r"clusters.csv: not a readable table \(field larger"),
        (lambda f, m: star(f, m, R200="[40, 40] pix"), "is not a length; write it as"),
        (lambda f, m: star(f, m, HUBBLE=0), "h = 0 cannot be"),
        (lambda f, m: star(f, m, CRPIX1="x", CRPIX2=40.5), "CRPIX1 = x is not a number"),
        (lambda f, m: star(f, m, CDELT1=0.0, CDELT2=0.0), "its WCS cannot be used"),
        (lambda f, m: star(f, m, CDELT1=1.0, CDELT2=1.0, CTYPE1=3), r"its WCS cannot be used \('int' object"),
        (lambda f, m: star(f, m, BUNIT="1e-300 solMass kpc-2"), "what its unit .* is worth cannot be told"),
        (
            lambda f, m: unquoted(f, "R200    = 1450 kpc"),
            "R200 of its header is no value of FITS; a text stands in quotes",
        ),
        (lambda f, m: unquoted(f, "BUNIT   = Msun kpc-2"), "BUNIT of its header is no value of FITS"),
        (lambda f, m: unquoted(f, "CDELT1  = 1 arcmin"), "CDELT1 of its header is no value of FITS"),
    ],
)
def test_what_cannot_be_is_one_line(
    spoil: Callable[[Path, MapFile], Any], says: str, model: TrainedModel, maps: MapFile, tmp_path: Path
) -> None:
    write_cluster(tmp_path / "own", maps)
    spoil(tmp_path / "own", maps)
    with pytest.raises(InputError, match=says) as error:
        applied(model, tmp_path / "own", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("out/*"))


def test_a_name_of_any_letters_is_written_as_fits_can(model: TrainedModel, maps: MapFile, tmp_path: Path) -> None:
    write_cluster(tmp_path / "own", maps, name="Ångström 1")
    applied(model, tmp_path / "own", tmp_path / "out")
    header = fits.getheader(tmp_path / "out" / "Ångström 1_mass.fits")
    assert header["OBJECT"] == r"\xc5ngstr\xf6m 1"
    assert r"sz: \xc5ngstr\xf6m 1_sz.fits, 80 x 80 pixels" in "\n".join(header["HISTORY"])


def test_a_map_that_looks_wrong_is_told_of(model: TrainedModel, maps: MapFile, tmp_path: Path) -> None:
    write(tmp_path / "own" / "A1_sz.fits", maps.maps["sz"][0] * 1e6, R200="40 pix")
    write(tmp_path / "own" / "A1_star.fits", maps.maps["star"][0][:40, :40], R200="20 pix", BUNIT=STAR)
    (strange,) = applied(model, tmp_path / "own", tmp_path / "out")
    assert re.search(r"A1_sz.fits: its mean is \S+e\+0\d times the training maps'; is its unit right\?", strange)
    assert "A1_star.fits: its pixels are 2.0 times as long as the training maps'" in strange


def test_the_job_on_two_ranks_writes_what_one_process_does(
    config: Path, maps: MapFile, tmp_path: Path, launch: Launch
) -> None:
    for n in range(5):
        write_cluster(tmp_path / "own", maps, row=n, name=f"A_{n}")
    job = ROOT / "jobs" / "predict.py"
    assert launch(0, job, config, "--maps", tmp_path / "own", "--out", tmp_path / "alone").returncode == 0
    done = launch(2, job, config, "--maps", tmp_path / "own", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"A_{n}_mass.fits" for n in range(5)]
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    again = launch(0, job, config, "--maps", tmp_path / "own", "--out", tmp_path / "out")
    assert "A_0_mass.fits: exists already; choose another --out, or --force to replace it" in again.stderr
