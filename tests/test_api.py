"""What `import hpc_massmap` offers: light to import, the suite's own numbers, and one line where it cannot."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import astropy.units as u
import h5py
import numpy as np
import pytest
from astropy.io import fits

import hpc_massmap as mm
from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.jobs import predict
from hpc_massmap.predict.own_units import unit_of
from hpc_massmap.tune.export import to_jsonl
from tests.documented import blocks
from tests.trained_run import write_run
from tests.tune import made_up

HEAVY = ("torch", "mpi4py", "pymongo", "hyperopt", "matplotlib", "scipy", "astropy", "h5py", "pandas", "xarray")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is predicted, and has trials."""
    config = write_run(tmp_path_factory.mktemp("run"))
    predict.main([str(config)])
    folder = config.parent / "runs" / "small"
    (folder / "trials.jsonl").write_text(to_jsonl([made_up.trial(number) for number in range(5)]))
    return folder


@pytest.fixture(scope="module")
def maps(run: Path) -> mm.Maps:
    return mm.open_maps(run.parents[1] / "maps.h5")


def test_importing_is_light() -> None:
    script = f"import sys, hpc_massmap; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"
    script = "import sys, hpc_massmap; hpc_massmap.open_maps, hpc_massmap.load_config, hpc_massmap.enclosed_mass;"
    script += "print([name for name in ('torch', 'mpi4py', 'pymongo') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_every_name_is_there() -> None:
    assert len(mm.__all__) == 12
    assert all(getattr(mm, name) is not None for name in mm.__all__)
    assert set(mm.__all__) <= set(dir(mm))
    with pytest.raises(AttributeError, match="nonsense"):
        mm.nonsense  # noqa: B018


def test_maps_have_units_and_halos_a_table(maps: mm.Maps) -> None:
    one = maps.of(2, projection=1)
    assert one["mass"].unit == unit_of("h^-1 Msun kpc^-2")
    row = int(np.flatnonzero((maps.file.halo == 2) & (maps.file.projection == 1))[0])
    np.testing.assert_array_equal(one["mass"].value, maps.file.maps["mass"][row])
    assert maps.halos["r200"].unit == u.kpc
    assert len(maps.halos) == len(maps.file.halos["m200"])
    with pytest.raises(mm.InputError, match=r"no halo 9999 along line of sight 0; there are \d+ and 3"):
        maps.of(9999)


def test_a_dataset_of_xarray_has_axes_and_halos(maps: mm.Maps) -> None:
    pytest.importorskip("xarray")
    found = maps.to_xarray([1, 4])
    assert found["mass"].dims == ("map", "y", "x")
    assert set(found["halo"].values.tolist()) == {1, 4}
    np.testing.assert_array_equal(found["mass"].values[0], maps.of(1)["mass"].value)


def test_it_predicts_what_the_suite_predicts(run: Path, maps: mm.Maps) -> None:
    model = mm.load_model(run)
    with h5py.File(run / "predictions.h5") as file:
        rows, stored = file["index/row"][:5], file["predictions/mass"][:5]
    of_arrays = model.predict(**{view: maps.file.maps[view][rows] for view in model.views})
    np.testing.assert_allclose(of_arrays.mass.value, stored, rtol=1e-4, atol=1e-3 * np.abs(stored).mean())
    halo = int(maps.file.halo[rows[0]])
    of_file = model.predict(maps, halos=[halo])
    np.testing.assert_allclose(of_file.mass.value[maps.file.projection[rows[0]]], stored[0], rtol=1e-3, atol=1e3)
    masses = of_file.enclosed()
    radii = maps.file.halos["r200"][[halo] * 3]
    np.testing.assert_allclose(masses["mass"].value.T, enclosed_mass(of_file.mass.value, radii))
    assert masses["mass"].unit.is_equivalent(unit_of("h^-1 Msun"))
    assert of_file.power()["power"].shape == (56, 3)
    assert mm.load_model(run / "model").trained.digest == model.trained.digest


def test_a_quantity_is_taken_in_its_own_unit(run: Path, maps: mm.Maps) -> None:
    model, row = mm.load_model(run), 0
    stars, sz = maps.file.maps["star"][row].astype(float), maps.file.maps["sz"][row]
    plain = model.predict(star=stars, sz=sz).mass
    physical = stars / 0.7 / 1e6 * u.Msun / u.pc**2
    np.testing.assert_allclose(model.predict(star=physical, sz=sz, h=0.7).mass.value, plain.value, rtol=1e-4)
    with pytest.raises(mm.InputError, match=r"star: its unit .* cannot become .*; give h"):
        model.predict(star=physical, sz=sz)


def test_samples_give_errors(tmp_path: Path) -> None:
    folder = write_run(tmp_path, output="flow").parent / "runs" / "small"
    maps = mm.open_maps(tmp_path / "maps.h5")
    found = mm.load_model(folder).predict(maps, halos=[0], samples=4)
    assert found.samples["mass"].shape == (4, 3, 80, 80)
    table = found.enclosed()
    assert np.all(table["low"] <= table["high"])
    assert np.any(table["low"] < table["high"])


def test_pictures_and_fits_are_written(run: Path, maps: mm.Maps, tmp_path: Path) -> None:
    found = mm.load_model(run).predict(maps, halos=[0])
    found.plot(1).savefig(tmp_path / "mass.png")
    assert (tmp_path / "mass.png").stat().st_size > 1000
    found.to_fits(tmp_path / "mass.fits", h=0.5)
    pixels, header = fits.getdata(tmp_path / "mass.fits"), fits.getheader(tmp_path / "mass.fits")
    assert u.Unit(header["BUNIT"]) == u.Msun / u.kpc**2
    np.testing.assert_allclose(pixels, found.mass.value[0] / 0.5, rtol=1e-5)
    with pytest.raises(mm.InputError, match="exists already"):
        found.to_fits(tmp_path / "mass.fits")
    found.to_fits(tmp_path / "with_h.fits")
    with pytest.raises(ValueError, match="littleh"):
        u.Unit(fits.getheader(tmp_path / "with_h.fits")["BUNIT"])


@pytest.mark.parametrize(
    ("views", "says"),
    [
        ({"sz": np.ones((80, 80))}, "the model takes sz, star; given: sz"),
        ({"sz": np.ones((80, 80)), "star": np.ones((79, 80))}, r"star: is \(79, 80\), must be \(80, 80\) or"),
        ({"sz": np.ones((80, 80)), "star": np.full((80, 80), np.nan)}, "star: has a pixel that is not finite"),
        ({"sz": np.ones((2, 80, 80)), "star": np.ones((80, 80))}, "as many maps of each view are needed; given: 2, 1"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(views: dict[str, Any], says: str, run: Path) -> None:
    with pytest.raises(mm.InputError, match=says):
        mm.load_model(run).predict(**views)
    with pytest.raises(mm.InputError, match="R200 is not known"):
        mm.load_model(run).predict(sz=np.ones((80, 80)), star=np.ones((80, 80))).enclosed()


def test_trials_are_a_table_with_the_best_first(run: Path) -> None:
    pytest.importorskip("pandas")
    table = mm.trials(run)
    assert len(table) == 5
    losses = table["loss"].dropna()
    assert losses.is_monotonic_increasing
    untuned = run.parent / "untuned"
    untuned.mkdir(exist_ok=True)
    shutil.copy(run / "config.yaml", untuned / "config.yaml")
    with pytest.raises(mm.InputError, match="no such file; massmap tune"):
        mm.trials(untuned)


def test_the_page_s_examples_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    demo = shutil.copytree(run, tmp_path / "runs" / "demo")
    shutil.copy(run.parents[1] / "maps.h5", demo / "maps.h5")
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "python.md"
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(block, names)  # one after the other, as in a notebook
    documented = re.findall(r"^\| (`.*?`) \|", page.read_text(), re.MULTILINE)
    assert {name for row in documented for name in re.findall(r"\w+", row)} == set(mm.__all__)
