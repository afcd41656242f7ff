"""Predictions of models that say more than one map: what is kept of it, for test and validation, on any ranks."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.jobs.predict import main
from hpc_massmap.metrics.predictions import Predictions, read_predictions
from hpc_massmap.predict.kept import compressed
from hpc_massmap.train.trained import load_model
from tests.conftest import ROOT, Launch
from tests.trained_run import write_run

JOB = ROOT / "jobs" / "predict.py"
LEVELS = (0.05, 0.16, 0.5, 0.84, 0.95)


def predicted(config: Path, *words: str) -> Predictions:
    """By the job, in this process."""
    main([str(config), *words])
    name = "predictions_validation.h5" if "--validation" in words else "predictions.h5"
    return read_predictions(folder_of(config) / name, open_maps(config.parent / "maps.h5"))


def folder_of(config: Path) -> Path:
    return config.parent / "runs" / "small"


@pytest.fixture(scope="module")
def of_quantiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("quantiles"), output="quantiles")


def test_quantiles_are_kept_beside_the_mean(of_quantiles: Path) -> None:
    found = predicted(of_quantiles)
    assert (found.levels, found.n_samples) == (LEVELS, 0)
    quantiles = found.quantiles("mass", slice(None))
    assert quantiles.shape == (len(found), 5, 80, 80)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert not np.array_equal(found.block("mass", slice(None))[0], quantiles[:, 2])
    with h5py.File(found.path) as file:
        assert file["quantiles/mass"].attrs["unit"] == file["predictions/mass"].attrs["unit"]
        assert "samples" not in file


def test_the_validation_is_predicted_on_request_into_a_file_of_its_own(of_quantiles: Path) -> None:
    found = predicted(of_quantiles, "--validation")
    model = load_model(folder_of(of_quantiles) / "model")
    np.testing.assert_array_equal(found.rows, split_maps(found.maps, model.split).validation)
    assert found.quantiles("mass", slice(0, 2)).shape == (2, 5, 80, 80)


def test_any_number_of_ranks_writes_the_same_bits(of_quantiles: Path, launch: Launch) -> None:
    alone = predicted(of_quantiles, "--validation", "--force").path.read_bytes()
    done = launch(2, JOB, of_quantiles, "--validation", "--force")
    assert done.returncode == 0, done.stderr
    assert (folder_of(of_quantiles) / "predictions_validation.h5").read_bytes() == alone


@pytest.fixture(scope="module")
def of_flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("flow"), output="flow")


def test_samples_are_kept_with_their_mean_and_the_same_on_any_ranks(of_flow: Path, launch: Launch) -> None:
    found = predicted(of_flow, "predict.samples=3", "--validation")
    assert (found.levels, found.n_samples) == ((), 3)
    samples, (mean, _) = found.samples("mass", slice(2, 20)), found.block("mass", slice(2, 20))
    assert samples.shape == (18, 3, 80, 80)
    np.testing.assert_allclose(samples.mean(1), mean, atol=2e-3 * np.abs(samples).max())
    assert np.abs(samples[:, 0] - samples[:, 1]).mean() > 0.01 * np.abs(samples).mean()
    written = found.path.read_bytes()
    done = launch(2, JOB, of_flow, "predict.samples=3", "--validation", "--force")
    assert done.returncode == 0, done.stderr
    assert found.path.read_bytes() == written
    with pytest.raises(InputError, match="predict_validation was done with samples = 3, now 4"):
        main([str(of_flow), "predict.samples=4", "--validation"])


def test_no_samples_of_a_model_that_is_known_by_them_are_refused(of_flow: Path) -> None:
    with pytest.raises(InputError, match=r"predict.samples = 0: what this model says is known by samples alone"):
        main([str(of_flow), "predict.samples=0"])


def test_a_changed_byte_of_a_quantile_is_found(of_quantiles: Path) -> None:
    found = predicted(of_quantiles, "--force")
    with h5py.File(found.path, "r+") as file:
        file["quantiles/mass"][1, 2, 3, 4] *= 1.001
    found.quantiles("mass", slice(0, 1))
    with pytest.raises(
        InputError, match=r"/quantiles/mass\[1\] does not match its checksum; run massmap predict again"
    ):
        found.quantiles("mass", slice(0, 2))


def test_quantiles_of_another_shape_are_refused(of_quantiles: Path) -> None:
    path = predicted(of_quantiles, "--force").path
    with h5py.File(path, "r+") as file:
        del file["quantiles/mass"].attrs["levels"]
        file["quantiles/mass"].attrs["levels"] = LEVELS[1:]
    with pytest.raises(InputError, match=r"/quantiles/mass is float32 \(\d+, 5, 80, 80\), not \(\d+, 4, 80, 80\)"):
        read_predictions(path, open_maps(of_quantiles.parent / "maps.h5"))
    path.unlink()


def test_a_stored_sample_is_off_by_no_more_than_is_said() -> None:
    stream = np.random.default_rng(1)
    samples = stream.lognormal(20, 3, (3, 2, 4, 80, 80)).astype(np.float32)
    samples[0] = 0.0
    samples[1] *= -1.0
    stored, scales = compressed(samples)
    assert stored.dtype == np.float16
    assert stored.nbytes == samples.nbytes / 2
    back = stored.astype(np.float64) * scales[..., None, None, None]
    allowed = np.maximum(2.0**-11 * np.abs(samples), 3e-8 * scales[..., None, None, None].astype(np.float64))
    assert (np.abs(back - samples) <= 1.001 * allowed).all()
    assert (np.abs(back - samples) > 0.4 * 2.0**-11 * np.abs(samples))[1:].any()
    assert (back[0] == 0).all()


def test_samples_of_a_model_that_has_none_are_refused_before_anything_is_predicted(of_quantiles: Path) -> None:
    with pytest.raises(InputError, match=r"predict.samples = 8: a model with model.output = quantiles has no samples"):
        main([str(of_quantiles), "predict.samples=8", "--force"])
