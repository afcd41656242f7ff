"""How far predictions are from the truth beside two without a network: against loops, and the file."""

from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.config import load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.jobs.evaluate import main as evaluate
from hpc_massmap.jobs.predict import main as predict
from hpc_massmap.metrics.baselines import BASELINES, PREDICTORS, distance, read_baselines
from hpc_massmap.metrics.predictions import Predictions, read_predictions
from tests.trained_run import write_run


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = write_run(tmp_path_factory.mktemp("run"))
    predict([str(config)])
    evaluate([str(config)])
    return config


@pytest.fixture(scope="module")
def predictions(config: Path) -> Predictions:
    return read_predictions(config.parent / "runs" / "small" / "predictions.h5", open_maps(config.parent / "maps.h5"))


def test_a_distance_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(1)
    true, predicted, r200 = rng.lognormal(size=(2, 80, 80)), rng.lognormal(size=(2, 80, 80)), np.array([900.0, 1500.0])
    true[1] = 0
    found = distance(predicted, true, r200)
    l1 = sum(abs(predicted[0, i, j] - true[0, i, j]) for i, j in np.ndindex(80, 80)) / true[0].sum()
    inside = [(i, j) for i, j in np.ndindex(80, 80) if np.hypot(i - 39.5, j - 39.5) <= 40]
    b200 = sum(predicted[0][place] for place in inside) / sum(true[0][place] for place in inside) - 1
    assert found.l1[0] == pytest.approx(l1)
    assert found.b200[0] == pytest.approx(b200)
    assert np.isnan(found.l1[1])
    assert np.isnan(found.b200[1])


def test_the_file_has_the_network_the_mean_training_map_and_the_floor(config: Path, predictions: Predictions) -> None:
    found = read_baselines(config.parent / "runs" / "small" / BASELINES, predictions)
    assert found is not None
    assert list(found["mass"]) == list(PREDICTORS)
    own, true = predictions.block("mass", slice(None))
    np.testing.assert_allclose(found["mass"]["network"].l1, np.abs(own - true).sum((1, 2)) / true.sum((1, 2)))
    maps = predictions.maps
    rows = split_maps(maps, load_config(config).split).train
    mean = np.asarray(maps.maps["mass"][rows], np.float64).mean(axis=0)
    expected = np.abs(mean - true).sum((1, 2)) / true.sum((1, 2))
    np.testing.assert_allclose(found["mass"]["mean_map"].l1, expected, rtol=1e-9)
    assert not np.allclose(found["mass"]["richness"].l1, expected)
    assert np.isfinite(found["mass"]["richness"].b200).all()


def test_a_file_of_other_predictions_counts_as_none(config: Path, predictions: Predictions, tmp_path: Path) -> None:
    path = tmp_path / BASELINES
    assert read_baselines(path, predictions) is None
    path.write_bytes((config.parent / "runs" / "small" / BASELINES).read_bytes()[:2000])
    with pytest.raises(InputError, match="not a readable file of baselines; run massmap evaluate again"):
        read_baselines(path, predictions)
