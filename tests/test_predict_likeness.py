"""massmap predict says which maps do not look like those that its network was made from, and where nobody can tell."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits

from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.diagnostics.likeness import UNLIKE
from hpc_massmap.errors import InputError
from hpc_massmap.mpi import communicator
from hpc_massmap.predict.likeness import MAPS_PER_REGION, chosen_rows, read_reference, reference_of
from hpc_massmap.train.trained import TrainedModel, load_model
from tests.conftest import ROOT
from tests.synthetic import write_synthetic_maps
from tests.trained_run import write_run

LINE = r"(\d+) of (\d+) maps do not look like what the network was trained on \(p < 0.05"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def model(config: Path) -> TrainedModel:
    return load_model(config.parent / "runs" / "small" / "model")


def predict(config: Path, *words: object) -> str:
    command = [sys.executable, str(ROOT / "jobs" / "predict.py"), str(config), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_cluster(folder: Path, config: Path, row: int, times: float, name: str) -> None:
    maps = open_maps(config.parent / "maps.h5").maps
    folder.mkdir(exist_ok=True)
    for view, unit, factor in (("sz", "1", times), ("star", "h^-1 Msun kpc^-2", 1.0)):
        header = fits.Header({"R200": "40 pix", "BUNIT": unit})
        pixels = np.asarray(factor * maps[view][row], np.float32)
        fits.PrimaryHDU(pixels, header).writeto(folder / f"{name}_{view}.fits")


def test_predictions_have_the_p_value_of_each_map(config: Path, model: TrainedModel) -> None:
    said = predict(config, "--force")
    maps = open_maps(config.parent / "maps.h5")
    folder = config.parent / "runs" / "small"
    reference = read_reference(folder / "likeness.h5", model, maps)
    assert reference is not None
    rows = split_maps(maps, model.split).test
    views = np.stack([np.asarray(maps.maps[view][rows]) for view in ("sz", "star")], 1)
    with h5py.File(folder / "predictions.h5") as file:
        found = file["likeness"][:]
        assert file["likeness"].attrs["unlike"] == UNLIKE
    np.testing.assert_allclose(found, reference.p_values(views), rtol=1e-12)
    unlike = int((found < UNLIKE).sum())
    told = re.search(LINE, said)
    assert (told is None) == (unlike == 0)
    if told is not None:
        assert told.groups() == (str(unlike), str(len(rows)))


def test_own_maps_in_wrong_units_are_told_of_and_marked(config: Path, tmp_path: Path) -> None:
    write_cluster(tmp_path / "own", config, 0, 1.0, "A1")
    write_cluster(tmp_path / "own", config, 0, 1e3, "A2")
    kept = config.parent / "runs" / "small" / "likeness.h5"
    kept.unlink(missing_ok=True)
    said = predict(config, "--maps", tmp_path / "own", "--out", tmp_path / "out")
    assert not kept.exists()  # maps of one's own leave the run as it is
    assert re.search(LINE, said) is not None
    assert re.search(LINE, said).groups() == ("1", "2")  # type: ignore[union-attr]
    assert "A2: does not look like what the network was trained on (p = 0.0" in said
    of: dict[str, Any] = {name: fits.getheader(tmp_path / "out" / f"{name}_mass.fits") for name in ("A1", "A2")}
    assert (of["A1"]["UNLIKE"], of["A2"]["UNLIKE"]) == (False, True)
    assert of["A2"]["PVALUE"] < UNLIKE <= of["A1"]["PVALUE"]


def test_a_model_without_its_maps_brings_its_reference_along(config: Path, tmp_path: Path) -> None:
    """Made where the maps were, and used where they are not; an old run has none, and says so."""
    here = tmp_path / "here"
    shutil.copytree(config.parent, here)
    moved = here / config.name
    moved.write_text(moved.read_text().replace(str(config.parent), str(here)))
    predict(moved, "--force")
    write_cluster(tmp_path / "own", moved, 0, 1e3, "A2")
    (here / "maps.h5").unlink()
    assert re.search(LINE, predict(moved, "--maps", tmp_path / "own", "--out", tmp_path / "out"))
    (here / "runs" / "small" / "likeness.h5").unlink()
    said = predict(moved, "--maps", tmp_path / "own", "--out", tmp_path / "out2")
    assert "likeness.h5: no such file of this model, so nobody can tell" in said
    assert "UNLIKE" not in fits.getheader(tmp_path / "out2" / "A2_mass.fits")


def test_a_reference_of_other_maps_is_made_again(config: Path, model: TrainedModel, tmp_path: Path) -> None:
    write_synthetic_maps(tmp_path / "others.h5", regions=30, snapshots=1, projections=2, seed=7)
    path, home, others = tmp_path / "likeness.h5", open_maps(config.parent / "maps.h5"), tmp_path / "others.h5"
    with communicator() as comm:
        first = reference_of(path, model, home, comm, keep=True)
        assert first is not None
        before = path.read_bytes()
        again = reference_of(path, model, home, comm, keep=True)
        assert path.read_bytes() == before
        assert again is not None
        views = np.stack([np.asarray(home.maps[view][:5]) for view in ("sz", "star")], 1)
        np.testing.assert_array_equal(first.p_values(views), again.p_values(views))
        reference_of(path, model, open_maps(others), comm, keep=True)
    assert read_reference(path, model, home) is None
    assert read_reference(path, model, open_maps(others)) is not None


def test_few_regions_cannot_tell(model: TrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic_maps(tmp_path / "few.h5", regions=12, snapshots=2, projections=2)
    with communicator() as comm:
        assert reference_of(tmp_path / "likeness.h5", model, open_maps(tmp_path / "few.h5"), comm, keep=True) is None
    assert "regions trained and validated; 20 would be needed" in capsys.readouterr().out
    assert not (tmp_path / "likeness.h5").exists()


def test_a_damaged_reference_is_told_of(config: Path, model: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "likeness.h5"
    with communicator() as comm:
        reference_of(path, model, open_maps(config.parent / "maps.h5"), comm, keep=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable reference; remove it, and massmap predict makes it again"):
        read_reference(path, model, None)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        fold = file["fold"][:]
        del file["fold"]
        file["fold"] = fold + 1
    with pytest.raises(InputError, match="its arrays do not belong together"):
        read_reference(path, model, None)


def test_rows_are_spread_over_what_there_is_of_a_region(config: Path) -> None:
    maps = open_maps(config.parent / "maps.h5")
    every = chosen_rows(maps, np.arange(len(maps)))
    names, counts = np.unique(maps.halos["region"][maps.halo[every]], return_counts=True)
    assert len(names) == 30
    assert counts.max() <= MAPS_PER_REGION
    assert len(set(maps.projection[every].tolist())) > 1
