"""Own FITS maps with the truth beside them: the same numbers as from the map file that they were cut from."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from astropy.io import fits

from hpc_massmap.arrays import FloatArray
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import evaluate, predict, report
from hpc_massmap.metrics.results import read_metrics
from tests.trained_run import write_run_and_other_maps

DENSITY = "h^-1 Msun kpc^-2"
H, REDSHIFT, ROWS = 0.7, 0.1, (0, 3, 5, 7)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run_and_other_maps(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def other(config: Path) -> MapFile:
    return open_maps(config.parent / "other.h5")


@pytest.fixture
def clusters(other: MapFile, tmp_path: Path) -> Path:
    """Some maps of a map file: views as they are, the truth finer, shifted, upside down and without h."""
    for n, row in enumerate(ROWS):
        r200 = float(other.halos["r200"][other.halo[row]])
        known = {"R200": f"{r200} kpc", "REDSHIFT": REDSHIFT, "HUBBLE": H, "PIXEL": f"{r200 / 40} kpc"}
        write(tmp_path / "own" / f"A{n}_sz.fits", other.maps["sz"][row], **known)
        write(tmp_path / "own" / f"A{n}_star.fits", other.maps["star"][row], **known, BUNIT=DENSITY)
        fine = np.full((180, 190), 1e12)
        fine[10:170, 20:180] = np.kron(other.maps["mass"][row], np.ones((2, 2))) / H
        finer = known | {"PIXEL": f"{r200 / 80} kpc", "XCENTRE": 100.5, "YCENTRE": 90.5}
        write(tmp_path / "own" / f"A{n}_mass.fits", fine, **finer, BUNIT="solMass kpc-2")
    return tmp_path / "own"


def write(path: Path, pixels: FloatArray, **keywords: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    fits.PrimaryHDU(np.asarray(pixels, np.float64), fits.Header(keywords)).writeto(path, overwrite=True)


def changed(path: Path, **keywords: Any) -> None:
    """Keywords of a header changed, or removed by None."""
    with fits.open(path, mode="update") as hdus:
        for key, value in keywords.items():
            if value is None:
                hdus[0].header.remove(key)
            else:
                hdus[0].header[key] = value


def compared(config: Path, folder: Path, out: Path) -> None:
    predict.main([str(config), "--maps", str(folder), "--truth", "--out", str(out)])


def test_metrics_are_those_of_the_map_file_that_they_are_cut_from(
    config: Path, other: MapFile, clusters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(clusters / "A2_sz.fits", REGION="region_9999")
    changed(clusters / "A3_star.fits", REGION="region_9999")
    out, there = tmp_path / "out", tmp_path / "there"
    before = {path: path.read_bytes() for path in config.parent.rglob("*") if path.is_file()}
    compared(config, clusters, out)
    ending = capsys.readouterr().out.splitlines()[-3:]
    assert ending[0] == "predicted 4 maps of 4 halos"
    assert ending[-1] == f"{out / 'predictions.h5'}; next: massmap evaluate {out}"
    predict.main([str(config), "--maps", str(other.path), "--out", str(there)])
    for folder in (out, there):
        evaluate.main([str(config), "evaluate.mass_intervals=[10, 18]", "--of", str(folder)])
    report.main([str(config), "--of", str(out)])
    assert f"The maps are of {out / 'maps.h5'}" in (out / "report" / "index.html").read_text()
    assert {path: path.read_bytes() for path in before} == before

    ours, theirs = read_metrics(out / "metrics.h5"), read_metrics(there / "metrics.h5")
    assert ours.maps["region"].tolist() == ["A0", "A1", "region_9999", "region_9999"]
    np.testing.assert_allclose(ours.maps["r200"], theirs.maps["r200"][list(ROWS)], rtol=1e-9)
    with h5py.File(out / "metrics.h5") as one, h5py.File(there / "metrics.h5") as two:
        of_maps: list[str] = []

        def look(name: str, dataset: h5py.Dataset | h5py.Group) -> None:
            of_each = isinstance(dataset, h5py.Dataset) and dataset.shape[:1] == (4,) and two[name].shape[:1] == (8,)
            # noise is seeded by the row of a map; R500 is another, and rounding makes pixels of exactly 0 some 1e-15
            others = name.endswith("calibration") or "/pixels/" in name or name.startswith("maps/")
            if of_each and not others:
                np.testing.assert_allclose(dataset[:], two[name][:][list(ROWS)], rtol=2e-4, atol=1e-6, err_msg=name)
                of_maps.append(name)

        one.visititems(look)
    assert len(of_maps) >= 3
    compared(config, clusters, out)
    assert "predict: already done" in capsys.readouterr().out


def test_m200_is_that_of_r200(config: Path, other: MapFile, clusters: Path, tmp_path: Path) -> None:
    compared(config, clusters, tmp_path / "out")
    made = open_maps(tmp_path / "out" / "maps.h5", check_values=True)
    r200 = other.halos["r200"][other.halo[list(ROWS)]]
    density = FlatLambdaCDM(100 * H, 0.307).critical_density(REDSHIFT).to_value("Msun / kpc3")
    np.testing.assert_allclose(made.halos["m200"], 4 / 3 * np.pi * 200 * density * r200**3 * H, rtol=1e-3)
    assert made.halos["simulation"].tolist() == ["own"] * 4
    for name in ("sz", "star", "mass"):
        expected = other.maps[name][list(ROWS)]
        np.testing.assert_allclose(made.maps[name][:], expected, rtol=1e-5, atol=1e-9 * expected.max())
        assert made.units[name] == other.units[name]


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (lambda own: (own / "A1_mass.fits").unlink(), r"own: A1 has no mass map, which is the truth; add A1_mass\.fits"),
    (lambda own: (own / "A1_sz.fits").unlink(), r"own: A1 has no sz map, but the model was trained on sz, star"),
    (lambda own: changed(own / "A1_mass.fits", BUNIT="K"), r"A1_mass\.fits: its unit 'K' cannot become"),
    (lambda own: changed(own / "A1_mass.fits", R200=None), r"A1_mass\.fits: no R200; give R200"),
    (lambda own: changed(own / "A1_mass.fits", R200="99 kpc"), r"A1_mass\.fits: R200 is 99.* kpc, but"),
    (lambda own: no_kpc(own), r"A1_sz\.fits: R200 is 40 pix; a cluster with a truth needs it in kpc"),
    (lambda own: of_all(own, REDSHIFT=None), r"A1_sz\.fits: no redshift, .*; give REDSHIFT in its header"),
    (lambda own: no_h(own), r"A1_sz\.fits: no h, .*; give HUBBLE in its header or h in clusters\.csv"),
    (
        lambda own: changed(own / "A1_mass.fits", MODEL="a", CREATOR="hpc_massmap 1"),
        r"A1_mass\.fits: is a prediction of massmap predict, no truth",
    ),
]


def of_all(own: Path, **keywords: Any) -> None:
    for name in ("sz", "star", "mass"):
        changed(own / f"A1_{name}.fits", **keywords)


def no_kpc(own: Path) -> None:
    of_all(own, R200="40 pix", PIXEL=None)
    changed(own / "A1_mass.fits", R200="80 pix")


def no_h(own: Path) -> None:
    of_all(own, HUBBLE=None)
    changed(own / "A1_mass.fits", BUNIT=DENSITY)


@pytest.mark.parametrize(("spoil", "says"), REFUSED)
def test_what_cannot_be_compared_is_one_line(
    config: Path, clusters: Path, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(clusters)
    with pytest.raises(InputError, match=says) as error:
        compared(config, clusters, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_another_map_file_is_never_replaced(config: Path, other: MapFile, clusters: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    there = Path(shutil.copy(other.path, tmp_path / "out" / "maps.h5"))
    before = there.read_bytes()
    with pytest.raises(InputError, match=r"maps\.h5: exists already, and was not made of such maps"):
        compared(config, clusters, tmp_path / "out")
    assert there.read_bytes() == before


def test_the_truth_is_of_a_folder(config: Path, other: MapFile, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        predict.main([str(config), "--maps", str(other.path), "--truth", "--out", "x"])
    assert "--truth is of a folder of maps" in capsys.readouterr().err
