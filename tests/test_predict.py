"""Predictions of a test set: the same file whoever makes it, whole or not there."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hpc_massmap.arrays import FloatArray
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.mpi import communicator
from hpc_massmap.predict.forward import prepared
from hpc_massmap.predict.likeness import chosen_rows, fit_reference, p_values_of
from hpc_massmap.predict.rows import MAPS_PER_BATCH, predict_rows
from hpc_massmap.train.trained import load_model
from hpc_massmap.units import to_file
from tests.conftest import ROOT, Launch
from tests.trained_run import write_run

JOB = ROOT / "jobs" / "predict.py"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


def folder_of(config: Path) -> Path:
    return config.parent / "runs" / "small"


@pytest.fixture(scope="module")
def alone(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The predictions of this process alone."""
    maps, model = open_maps(config.parent / "maps.h5"), load_model(folder_of(config) / "model")
    path, split, told = tmp_path_factory.mktemp("alone") / "p.h5", split_maps(maps, model.split), list[int]()
    with communicator() as comm:
        home = np.sort(np.concatenate([split.train, split.validation]))
        reference = fit_reference(maps, chosen_rows(maps, home), ["sz", "star"], comm)
        likeness = p_values_of(reference, maps, split.test, comm)
        predict_rows(path, model, maps, split, "small", comm, told.append, likeness=likeness)
    assert sum(told) == len(split.test) > 2 * MAPS_PER_BATCH
    return path


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_writes_the_same_bits(ranks: int, config: Path, alone: Path, launch: Launch) -> None:
    done = launch(ranks, JOB, config, "--force")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("its training is not recorded as finished; this is its best model so far") == 1
    assert (folder_of(config) / "predictions.h5").read_bytes() == alone.read_bytes()


def test_the_mean_over_symmetries_is_kept_apart_from_what_the_network_says(config: Path, alone: Path) -> None:
    path, before = folder_of(config) / "predictions.h5", alone.read_bytes()
    for asked, is_plain in ((["predict.symmetries=true", "--force"], False), (["--force"], True)):
        done = subprocess.run(
            [sys.executable, JOB, config, *asked], capture_output=True, text=True, check=False, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
        assert (path.read_bytes() == before) == is_plain
        if not is_plain:
            with h5py.File(path) as averaged, h5py.File(alone) as plain:
                np.testing.assert_array_equal(averaged["index/row"], plain["index/row"])
                assert averaged.attrs["symmetries"]  # a calibration is of one or the other
                assert np.abs(averaged["predictions/mass"][:] - plain["predictions/mass"][:]).max() > 0


def test_predictions_are_what_the_network_says_of_each_map_alone(config: Path, alone: Path) -> None:
    maps, model = open_maps(config.parent / "maps.h5"), load_model(folder_of(config) / "model")
    rows = split_maps(maps, model.split).test
    assert len(rows) % MAPS_PER_BATCH
    with h5py.File(alone) as file:
        predicted, attributes = file["predictions/mass"][:], dict(file.attrs)
        assert file["predictions/mass"].attrs["unit"] == to_file(maps.units["mass"])
        np.testing.assert_array_equal(file["index/row"][:], rows)
        np.testing.assert_array_equal(file["index/train"][:], split_maps(maps, model.split).train)
    assert attributes["model"] == model.digest
    assert (attributes["name"], attributes["maps_digest"]) == ("small", maps.digest)
    mean, std = model.normalisation.mean, model.normalisation.std
    for place in (0, 7, len(rows) - 1):
        views = np.stack([(maps.maps[view][rows[place]] - mean[view]) / std[view] for view in ("sz", "star")])
        with torch.inference_mode():
            said = model.network(torch.from_numpy(views.astype(np.float32))[None])[0, 0].numpy()
        physical = said * std["mass"] + mean["mass"]
        np.testing.assert_allclose(predicted[place], physical, rtol=1e-3, atol=1e-4 * abs(physical).max())


def test_a_batch_has_the_same_bits_in_any_thread(config: Path) -> None:
    model = load_model(folder_of(config) / "model")
    views = torch.randn(5, 2, 80, 80)
    torch.set_num_threads(2)
    with communicator() as comm:
        says, _ = prepared(model, comm)

    def predict(views: torch.Tensor) -> FloatArray:
        return says(views, np.arange(5)).mean()

    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(predict, [views] * 6))
        assert set(pool.map(lambda _: torch.get_num_threads(), range(6))) == {1}  # a batch that is shared can differ
    for other in others:
        np.testing.assert_array_equal(other, predict(views))


def test_a_rank_that_fails_ends_the_job_and_leaves_no_file(config: Path, tmp_path: Path, launch: Launch) -> None:
    output = tmp_path / "out" / "predictions.h5"
    script = tmp_path / "failing.py"
    script.write_text(
        f"""
from pathlib import Path
from hpc_massmap.cli import run_job
from hpc_massmap.arrays import FloatArray
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.mpi import communicator
from hpc_massmap.predict import rows
from hpc_massmap.train.trained import load_model

def main():
    maps, model = open_maps(Path("{config.parent}/maps.h5")), load_model(Path("{folder_of(config)}/model"))
    with communicator() as comm:
        prepared = rows.prepared
        def failing(model, comm):
            predict, threads = prepared(model, comm)
            def sometimes(*asked):
                if comm.rank == 1:
                    raise ArithmeticError("a broken card")
                return predict(*asked)
            return sometimes, threads
        rows.prepared = failing
        rows.predict_rows(Path("{output}"), model, maps, split_maps(maps, model.split), "x", comm, lambda n: None)

run_job(main)
"""
    )
    done: subprocess.CompletedProcess[str] = launch(2, script)
    assert done.returncode != 0
    assert "ArithmeticError: a broken card" in done.stderr
    assert not output.exists()
