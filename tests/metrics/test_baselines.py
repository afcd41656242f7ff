"""How far predictions are from the truth beside two without a network: against loops, and the file."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hpc_massmap.config import load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.jobs.evaluate import main as evaluate
from hpc_massmap.jobs.predict import main as predict
from hpc_massmap.metrics.baselines import BASELINES, PREDICTORS, distance, is_held, read_baselines
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
    assert found.power[0] == pytest.approx(np.log10(power_by_loop(predicted[0]) / power_by_loop(true[0])))
    assert np.isnan(found.power[1])
    assert np.isnan(found.l1[1])
    assert np.isnan(found.b200[1])


def disc() -> NDArray[np.bool_]:
    place = (np.arange(80) - 39.5) / 40
    return np.hypot(*np.meshgrid(place, place)) <= 1


def power_by_loop(pixels: NDArray[np.float64]) -> float:
    """Mean power of the modes of 8 to 9 waves over the map, which is 2 R200 wide: 0.24 R200."""
    modes = np.fft.fftn(pixels)
    waves = [n if n <= 40 else n - 80 for n in range(80)]
    return float(
        np.mean([abs(modes[i, j]) ** 2 for i, j in np.ndindex(80, 80) if 8 <= np.hypot(waves[i], waves[j]) < 9])
    )


def test_an_interval_of_constant_width_holds_as_many_new_maps_as_it_says() -> None:
    """Masses of a known scatter hold 68 %; of twice that scatter 38 %, of a bias of three scatters next to none."""
    rng = np.random.default_rng(2)
    validated, new, scatter = rng.normal(size=(2000, 1)), rng.normal(size=2000), 0.05
    region, known = np.arange(2000), (1 / (1 + scatter * validated) - 1)[:, 0]
    held = [is_held(1 / (1 + scatter * of) - 1, known, region) for of in (new, 2 * new, new + 3)]
    assert [one.mean() for one in held] == pytest.approx([0.68, 0.38, 0.023], abs=0.03)
    assert np.isnan(is_held(np.array([np.nan]), known, region)).all()
    assert is_held(np.array([-1.0]), known, region) == [0]  # nothing was predicted where there is something
    assert np.isnan(is_held(np.zeros(3), np.array([-1.0, np.nan]), region[:2])).all()


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
    assert np.isnan(found["mass"]["network"].held).all()
    validation = split_maps(maps, load_config(config).split).validation
    true_mass = np.asarray(maps.maps["mass"][validation], np.float64)[:, disc()].sum(axis=1)
    held = is_held(
        found["mass"]["mean_map"].b200, mean[disc()].sum() / true_mass - 1, maps.halos["region"][maps.halo[validation]]
    )
    np.testing.assert_array_equal(found["mass"]["mean_map"].held, held)
    assert set(found["mass"]["richness"].held) <= {0.0, 1.0}
    assert np.isfinite(found["mass"]["richness"].b200).all()


def test_a_file_of_other_predictions_counts_as_none(config: Path, predictions: Predictions, tmp_path: Path) -> None:
    path = tmp_path / BASELINES
    assert read_baselines(path, predictions) is None
    path.write_bytes((config.parent / "runs" / "small" / BASELINES).read_bytes()[:2000])
    with pytest.raises(InputError, match="not a readable file of baselines; run massmap evaluate --force"):
        read_baselines(path, predictions)
