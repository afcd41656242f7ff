"""The report of error bars: the numbers of tables and figures are those of the metrics, and a page shows all of it."""

from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.apertures import ring_of_pixels
from hpc_massmap.diagnostics.calibration import read_calibration
from hpc_massmap.jobs.calibrate import main as calibrate
from hpc_massmap.jobs.evaluate import main as evaluate
from hpc_massmap.jobs.report import main as report
from hpc_massmap.metrics.coverage import Calibrated
from hpc_massmap.metrics.results import Metrics, read_metrics
from hpc_massmap.metrics.sample import in_intervals
from hpc_massmap.metrics.sample_mmd import SampleMmd
from hpc_massmap.metrics.scores import Scores
from hpc_massmap.report import contents, error_bars
from hpc_massmap.report.browser import browser_data
from hpc_massmap.report.examples import read_examples
from hpc_massmap.report.inputs import read_inputs
from hpc_massmap.report.likeness import LIKE_PART, UNLIKE_PART
from hpc_massmap.report.noise import mmd_table
from hpc_massmap.report.tables import Measured
from hpc_massmap.run import Run
from hpc_massmap.storage import write_text
from tests.metrics.made_up import Folder
from tests.metrics.with_errors import POINT, SAMPLES, Kind, write_run

from .run_folder import training_log

VIEWS = "model.views=[star]"
COLOUR = "#009E73"


def evaluated(path: Path, kind: Kind) -> Folder:
    folder = write_run(path, kind)
    write_text(folder.run.model / "log.csv", training_log(12))
    if kind is SAMPLES:
        calibrate([str(folder.config_file), VIEWS])
    evaluate([str(folder.config_file), VIEWS])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return evaluated(tmp_path_factory.mktemp("errors"), SAMPLES)


@pytest.fixture(scope="module")
def metrics(folder: Folder) -> Metrics:
    return read_metrics(folder.run.metrics)


def test_the_table_of_coverage_counts_maps(metrics: Metrics) -> None:
    table = error_bars.coverage_table(metrics, "mass", "made up")
    assert table is not None
    masses = metrics.targets["mass"][Calibrated].masses[:, :, -1]
    everything = table.rows[0]
    assert everything[:2] == ["all", 16]
    for k, cell in enumerate(everything[2:4]):
        assert str(cell).startswith(f"{masses[:, k].mean():.3f} ± ")
    assert everything[4:6] == ["none", "none"]  # eight regions cannot promise 90 %
    one = next(row for row in table.rows if row[0] == "line of sight 1")
    assert str(one[3]).startswith(f"{masses[metrics.maps['projection'] == 1, 1].mean():.3f} ± ")


def test_coverage_is_said_apart_of_maps_that_are_unlike(metrics: Metrics) -> None:
    unlike = np.arange(16) % 4 == 0
    table = error_bars.coverage_table(metrics, "mass", "made up", unlike)
    assert table is not None
    rows = {str(row[0]): row for row in table.rows}
    masses = metrics.targets["mass"][Calibrated].masses[:, 1, -1]
    assert str(rows[LIKE_PART][3]).startswith(f"{masses[~unlike].mean():.3f} ± ")
    assert str(rows[UNLIKE_PART][3]).startswith(f"{masses[unlike].mean():.3f} ± ")
    assert "not calibrated" in UNLIKE_PART


def test_the_table_of_scores_has_both_baselines(folder: Folder, metrics: Metrics) -> None:
    floor = read_metrics(folder.run.metrics.with_name("floor.h5"))
    table = error_bars.scores_table(metrics, floor, "mass", "made up")
    assert table is not None
    own, under = metrics.targets["mass"][Scores], floor.targets["mass"][Scores]
    _, mean, constant, of_floor = table.rows[0]
    assert mean == pytest.approx(own.crps_masses[:, -1].mean())
    assert str(constant).startswith(f"{own.crps_masses[:, -1].mean() / own.constant_crps_masses[:, -1].mean():.3f} ± ")
    assert str(of_floor).startswith(f"{own.crps_masses[:, -1].mean() / under.crps_masses[:, -1].mean():.3f} ± ")


def test_the_table_of_mmd_has_a_row_of_samples(metrics: Metrics) -> None:
    table = mmd_table([("made up", metrics)], "mass", "made up")
    own, samples = table.rows
    assert (own[0], samples[0]) == ("made up", "made up, 4 samples a map")
    some = [n for n, inside in enumerate(in_intervals(metrics)) if inside.any()]
    for n in some:
        inside = in_intervals(metrics)[n]
        wanted = np.median(metrics.targets["mass"][SampleMmd].values[inside].mean(axis=1))
        cell = samples[1 + 2 * n]
        assert isinstance(cell, Measured)
        assert cell.median == pytest.approx(1000 * wanted)


def test_figures_draw_what_the_metrics_say(folder: Folder, metrics: Metrics) -> None:
    left, right = error_bars.coverage_figure(metrics, "mass", COLOUR).axes
    assert len(left.containers) == len(right.containers) == 4  # b200 and pixels, by itself and calibrated
    drawn = [np.asarray(line.get_ydata(), float) for line in left.lines]
    calibrated = metrics.targets["mass"][Calibrated]
    wanted = calibrated.masses[:, :2, -1].mean(axis=0)
    assert any(of.shape == wanted.shape and np.allclose(of, wanted) for of in drawn)
    pits = error_bars.pit_figure(metrics, "mass", COLOUR)
    assert pits is not None
    assert len(pits.axes) == 3
    run = Run(folder.config.with_values("model", views=["star"]), folder.run.folder)
    examples = read_examples(read_inputs(run).predictions, metrics, ["star"], "mass")
    masses = error_bars.masses_figure(metrics, examples, "mass", COLOUR)
    assert masses is not None
    assert len(masses.axes) == len(examples) == 3


def test_the_browser_shows_the_error_of_every_pixel(folder: Folder) -> None:
    run = Run(folder.config.with_values("model", views=["star"]), folder.run.folder)
    inputs = read_inputs(run)
    data = browser_data([inputs], "mass", 500)
    assert data["panels"][-1]["title"] == "error: half its 68 % interval"
    assert len(data["panels"][-1]["images"]) == len(inputs.predictions)
    errors = error_bars.pixel_errors(inputs, "mass", np.array([3]))
    assert errors is not None
    ordered = np.sort(inputs.predictions.samples("mass", slice(3, 4))[0], axis=0)
    part = 13 * 0.16 - 2  # of 12 samples the k-th has k/13 below it
    half = ((1 - part) * ordered[10] + part * ordered[9] - (1 - part) * ordered[1] - part * ordered[2]) / 2
    factor = read_calibration(run.calibration).targets["mass"].pixels[1][ring_of_pixels()]
    np.testing.assert_allclose(errors[0], (1 + factor) * half)


def test_the_page_has_them(folder: Folder) -> None:
    report([str(folder.config_file), VIEWS])
    for name in ("coverage_mass", "scores_mass"):
        assert (folder.run.report / "tables" / f"{name}.csv").exists()
    for name in ("coverage_mass", "pit_mass", "masses_mass"):
        assert (folder.run.report / "figures" / f"{name}.png").exists()
    page = (folder.run.report / "index.html").read_text()
    assert error_bars.COVERAGE[:60] in page
    assert "b200 in 68 % intervals" in (folder.run.report / "tables" / "b200_mass.csv").read_text()


def test_a_run_without_error_bars_shows_none(tmp_path: Path) -> None:
    folder = evaluated(tmp_path, POINT)
    metrics = read_metrics(folder.run.metrics)
    assert error_bars.coverage_table(metrics, "mass", "") is None
    assert error_bars.scores_table(metrics, None, "mass", "") is None
    assert error_bars.pit_figure(metrics, "mass", COLOUR) is None
    assert error_bars.held_text(metrics, "mass", metrics.everything) is None
    assert contents.b200_table(metrics, "mass", None, "").columns[-1] == "this run"
