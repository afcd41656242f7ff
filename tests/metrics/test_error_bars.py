"""Metrics of error bars: against loops over maps, on any number of ranks, and liars are found out in a whole run."""

import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.apertures import enclosed_mass, ring_of_pixels
from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.calibration import read_calibration
from hpc_massmap.diagnostics.crps import crps
from hpc_massmap.jobs.calibrate import main as calibrate
from hpc_massmap.jobs.evaluate import main as evaluate
from hpc_massmap.metrics.coverage import Calibrated, Coverage
from hpc_massmap.metrics.pit import Pit
from hpc_massmap.metrics.power import power_spectrum
from hpc_massmap.metrics.results import Metrics, read_metrics
from hpc_massmap.metrics.sample_mmd import SampleMmd
from hpc_massmap.metrics.sample_power import SamplePower
from hpc_massmap.metrics.scores import Scores
from hpc_massmap.metrics.tarp import CREDIBILITIES, Tarp
from tests.conftest import Launch

from .conftest import JOB
from .made_up import Folder
from .test_evaluate import contents
from .with_errors import POINT, QUANTILES, SAMPLES, Kind, write_run

ALL = slice(None)


def evaluated(folder: Folder, *words: str) -> Metrics:
    evaluate([str(folder.config_file), *words])
    return read_metrics(folder.run.metrics)


@pytest.fixture(scope="module")
def with_samples(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = write_run(tmp_path_factory.mktemp("samples"), SAMPLES)
    calibrate([str(folder.config_file)])
    evaluated(folder)
    return folder


def test_coverage_and_scores_are_those_of_a_loop_over_maps(with_samples: Folder) -> None:
    metrics = read_metrics(with_samples.run.metrics)
    predictions, of = with_samples.predictions, metrics.targets["mass"]
    _, true = predictions.block("mass", ALL)
    samples, r200, ring = predictions.samples("mass", ALL), predictions.of_halos("r200"), ring_of_pixels()
    calibration = read_calibration(with_samples.run.calibration).targets["mass"]
    coverage, calibrated, scores = of[Coverage], of[Calibrated], of[Scores]
    for n in (0, 7, 15):
        ordered = np.sort(samples[n], axis=0)
        # of 12 samples the k-th has k/13 below it: 16 % lies between the second and the third
        part = 13 * 0.16 - 2
        low = (1 - part) * ordered[1] + part * ordered[2]
        high = (1 - part) * ordered[10] + part * ordered[9]
        inside = (low <= true[n]) & (true[n] <= high)
        wider = calibration.pixels[1][ring] * (high - low) / 2
        inside_wider = (low - wider <= true[n]) & (true[n] <= high + wider)
        for k in range(11):
            assert coverage.pixels[n, 1, k] == pytest.approx(inside[ring == k].mean())
            assert calibrated.pixels[n, 1, k] == pytest.approx(inside_wider[ring == k].mean(), abs=1e-3)
        masses = np.sort([enclosed_mass(one[None], r200[n : n + 1])[0] for one in samples[n]], axis=0)
        mass = enclosed_mass(true[n : n + 1], r200[n : n + 1])[0]
        low, high = (1 - part) * masses[1] + part * masses[2], (1 - part) * masses[10] + part * masses[9]
        np.testing.assert_array_equal(coverage.masses[n, 1], (low <= mass) & (mass <= high))
        wider = calibration.masses[1] * (high - low) / 2
        np.testing.assert_allclose(calibrated.low[n, 1], low - wider)
        np.testing.assert_allclose(calibrated.high[n, 1], high + wider)
        np.testing.assert_allclose(scores.crps_masses[n], crps(mass, masses) / mass)
        by_pixel = crps(true[n], samples[n])
        np.testing.assert_allclose(scores.crps_pixels[n, 3], by_pixel[ring == 3].mean() / true[n][ring == 3].mean())
        spectra = [power_spectrum(one[None], r200[n : n + 1])[0] for one in samples[n]]
        np.testing.assert_allclose(of[SamplePower].power[n], np.mean(spectra, axis=0))
    assert np.isnan(calibrated.masses[:, 3]).all()  # eight regions promise no 95 %
    assert np.isinf(calibrated.high[:, 3]).all()


def test_mmd_of_samples_is_that_of_all_pairs_of_the_first_four(with_samples: Folder) -> None:
    predictions = with_samples.predictions
    found = read_metrics(with_samples.run.metrics).targets["mass"][SampleMmd]
    assert found.values.shape == (len(predictions), 4)
    true = predictions.block("mass", slice(5, 6))[1][0].ravel()
    sample = predictions.samples("mass", slice(5, 6))[0, 3].ravel()
    assert found.values[5, 3] == pytest.approx(mmd_of_all_pairs(true, sample), abs=1e-9)
    np.testing.assert_allclose(found.of_map, [np.mean(of) for of in found.values])


def mmd_of_all_pairs(true: FloatArray, other: FloatArray) -> float:
    """Eq. 14 with the Gaussian kernels of the config's five widths."""
    within = np.abs(true[:, None] - true)
    unit, m = np.median(within[np.triu_indices(len(true), 1)]), len(true)
    total = 0.0
    for width in (0.25, 0.5, 1.0, 2.0, 4.0):
        x, y, xy = (
            np.exp(-(((a[:, None] - b) / (width * unit)) ** 2) / 2).sum()
            for a, b in ((true, true), (other, other), (true, other))
        )
        total += (x - m + y - m) / (m * (m - 1)) - 2 * xy / m**2
    return float(total)


def test_the_headline_says_what_holds(with_samples: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(with_samples, "--force")
    said = capsys.readouterr().out
    assert "  intervals of 68%, calibrated by region, hold: b200 " in said
    assert "  intervals of 95%, calibrated by region, hold: b200 none, pixels none" in said
    assert "  CRPS of b200: " in said
    assert "  TARP: credible regions of " in said
    assert "  MMD^2 of 4 samples a map, median: " in said
    floor = read_metrics(with_samples.run.metrics.with_name("floor.h5")).targets["mass"]
    assert np.isfinite(floor[Scores].crps_masses).all()
    np.testing.assert_array_equal(floor[Scores].crps_masses, floor[Scores].constant_crps_masses)
    assert floor.find(Coverage) is None


@pytest.mark.parametrize("ranks", [3])
def test_any_number_of_ranks_gives_the_same_file(with_samples: Folder, launch: Launch, ranks: int) -> None:
    alone = {name: contents(with_samples.run.metrics.with_name(name)) for name in ("metrics.h5", "floor.h5")}
    done: subprocess.CompletedProcess[str] = launch(ranks, JOB, with_samples.config_file, "--force")
    assert done.returncode == 0, done.stderr
    for file, values in alone.items():
        among_ranks = contents(with_samples.run.metrics.with_name(file))
        assert among_ranks.keys() == values.keys()
        for name, value in values.items():
            np.testing.assert_array_equal(among_ranks[name], value, err_msg=name)


def test_quantiles_have_pixels_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path, QUANTILES)
    calibrate([str(folder.config_file)])
    of = evaluated(folder).targets["mass"]
    assert np.isnan(of[Coverage].masses).all()
    assert of[Coverage].pixels[:, 1].mean() == pytest.approx(0.68, abs=0.05)
    assert np.isfinite(of[Calibrated].masses[:, 1]).all()
    assert np.isfinite(of[Scores].crps_pixels).all()
    assert of[Pit].pixels.mean() == pytest.approx(1)
    assert of.find(Tarp) is None
    assert of.find(SamplePower) is None
    assert of.find(SampleMmd) is None


def test_a_calibrated_point_model_has_intervals_and_nothing_else_is_changed(tmp_path: Path) -> None:
    folder = write_run(tmp_path, POINT)
    evaluated(folder)
    before = contents(folder.run.metrics)
    assert not any(name.startswith(("mass/coverage", "mass/calibrated", "mass/scores", "mass/pit")) for name in before)
    calibrate([str(folder.config_file)])
    of = evaluated(folder, "--force").targets["mass"]
    after = contents(folder.run.metrics)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert of.find(Coverage) is None
    np.testing.assert_array_equal(of[Scores].crps_masses, of[Scores].constant_crps_masses)
    assert np.isfinite(of[Calibrated].low[:, :2]).all()


@pytest.mark.parametrize(("width", "held"), [(0.5, False), (1.0, True)])
def test_samples_that_are_too_narrow_are_found_out_and_put_right(tmp_path: Path, width: float, held: bool) -> None:
    folder = write_run(tmp_path, Kind(samples=12, width=width))
    calibrate([str(folder.config_file)])
    metrics = evaluated(folder)
    of = metrics.targets["mass"]
    own = of[Coverage].pixels_of(metrics, metrics.everything).at(1)
    assert (abs(own.value - 0.68) < 3 * own.error + 0.02) == held
    calibrated = of[Calibrated].pixels_of(metrics, metrics.everything).at(1)
    assert calibrated.value > 0.68 - 3 * calibrated.error
    density = of[Pit].density_of_pixels(metrics, metrics.everything).value
    assert (density[0] + density[-1] > 3) == (not held)
    assert of[Tarp].coverage_of(metrics, metrics.everything).value.shape == CREDIBILITIES.shape


def test_a_calibration_of_another_model_stops_the_evaluation(tmp_path: Path, launch: Launch) -> None:
    folder = write_run(tmp_path, POINT)
    calibrate([str(folder.config_file)])
    with h5py.File(folder.run.calibration, "a") as file:
        file.attrs["model"] = "1" * 64
    done: subprocess.CompletedProcess[str] = launch(2, JOB, folder.config_file)
    assert done.returncode == 2
    assert done.stderr.count("made for another model") == 1
    assert not folder.run.metrics.exists()
