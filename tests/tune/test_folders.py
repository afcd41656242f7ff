"""What all trials share knows the training set alone; an attempt goes on where the furthest before it ended."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.run import Run
from hpc_massmap.train.checkpoint import load_checkpoint, save_checkpoint
from hpc_massmap.train.loop import BEST, LAST, LOG, identity_of
from hpc_massmap.tune.folders import common_normalisation, prepare
from hpc_massmap.tune.trials import Trial
from tests.tune.crew import small_run


def change(run: Run, rows: Any, factor: float) -> None:
    """Multiply some of the maps, of all kinds."""
    with h5py.File(run.maps, "r+") as file:
        for name in file["maps"]:
            for row in rows:
                file["maps"][name][row] *= factor


def test_the_normalisation_of_all_trials_is_that_of_the_training_maps(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    maps = open_maps(run.maps)
    rows = split_maps(maps, run.config.split)
    before = common_normalisation(run, write=False)
    for name in ("sz", "mass"):
        pixels = np.array(maps.maps[name][rows.train], np.float64)
        assert before.mean[name] == pytest.approx(pixels.mean(), rel=1e-10)
        assert before.std[name] == pytest.approx(pixels.std(), rel=1e-10)
    change(run, [*rows.validation, *rows.test], 100)
    assert common_normalisation(run, write=False) == before
    change(run, rows.train[:1], 100)
    assert common_normalisation(run, write=False) != before


def test_the_normalisation_is_measured_once_and_again_when_its_file_is_damaged_or_of_another_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(tmp_path)
    run.trials.mkdir(parents=True, exist_ok=True)
    measured = common_normalisation(run, write=True)
    path = run.trials / "normalisation.json"
    text = path.read_text()
    with monkeypatch.context() as patched:
        patched.setattr("hpc_massmap.tune.folders.fit_normalisation", None)  # it is not asked again
        assert common_normalisation(run, write=True) == measured
    mean = str(measured.mean["sz"])
    path.write_text(text.replace(mean, "1.5"))
    assert common_normalisation(run, write=False) == measured
    path.write_text(text)
    other = Run(run.config.with_values("split", seed=1), run.folder)
    assert common_normalisation(other, write=False) != measured


def attempted(run: Run, version: int, epochs: int, best: bool = True, **other: Any) -> None:
    """What an attempt at trial 7 left that finished some epochs."""
    folder = run.trials / "7" / str(version)
    folder.mkdir(parents=True)
    (folder / LOG).write_text(f"log of {version}")
    if best:
        save_checkpoint(folder / BEST, {"of": version})
    identity = {**identity_of(run.config, open_maps(run.maps, run.config.model.views), 1), **other}
    save_checkpoint(folder / LAST, {"identity": identity, "history": [version] * epochs})


def prepared(run: Run, version: int) -> tuple[Path, bool]:
    return prepare(run, Trial(7, "me", version, version, None), run.config, 1)


def test_a_first_attempt_starts_from_nothing(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    folder, goes_on = prepared(run, 1)
    assert (folder, goes_on, list(folder.iterdir())) == (run.trials / "7" / "1", False, [])


def test_an_attempt_goes_on_from_a_copy_of_the_furthest_before_it(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    attempted(run, 1, epochs=5)
    attempted(run, 2, epochs=5)  # as far, and later
    attempted(run, 3, epochs=2)
    attempted(run, 10, epochs=9, seed=1)  # of other settings
    attempted(run, 11, epochs=9, world=2)  # of another number of ranks
    attempted(run, 12, epochs=9, best=False)  # killed between the two files
    attempted(run, 13, epochs=9)
    (run.trials / "7" / "13" / LAST).write_bytes(b"torn")
    attempted(run, 14, epochs=9)
    (run.trials / "7" / "14" / BEST).write_bytes(b"torn")
    folder, goes_on = prepared(run, 15)
    assert (folder.name, goes_on) == ("15", True)
    assert load_checkpoint(folder / LAST)["history"] == [2] * 5
    assert (load_checkpoint(folder / BEST)["of"], (folder / LOG).read_text()) == (2, "log of 2")
    assert load_checkpoint(run.trials / "7" / "2" / LAST)["history"] == [2] * 5  # it may still write there


def test_a_folder_of_one_s_own_is_gone_on_with(tmp_path: Path) -> None:
    """Of a claim whose answer was lost, or of a database that was restored."""
    run = small_run(tmp_path)
    attempted(run, 1, epochs=5)
    attempted(run, 2, epochs=1)
    assert prepared(run, 2) == (run.trials / "7" / "2", True)
    assert load_checkpoint(run.trials / "7" / "2" / LAST)["history"] == [2]
    (run.trials / "7" / "2" / LAST).unlink()
    assert prepared(run, 2) == (run.trials / "7" / "2", False)
