"""The matrix of training and test simulations: the numbers are the maps', and stand beside what is no network."""

from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.config import load_config
from hpc_massmap.diagnostics.coverage import LEVELS
from hpc_massmap.diagnostics.estimate import Estimate, mean_of, share_of
from hpc_massmap.jobs.calibrate import main as calibrate
from hpc_massmap.jobs.evaluate import main as evaluate
from hpc_massmap.jobs.predict import main as predict
from hpc_massmap.jobs.report import main as report
from hpc_massmap.metrics.baselines import BASELINES, PREDICTORS, read_baselines
from hpc_massmap.metrics.coverage import Calibrated
from hpc_massmap.report.between import Tried, between_figure, between_table, tried_of
from hpc_massmap.report.inputs import Inputs, read_inputs
from hpc_massmap.report.page import INDEX
from hpc_massmap.run import Run
from tests.trained_run import write_run_and_other_maps


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    config = write_run_and_other_maps(tmp_path_factory.mktemp("run"))
    predict([str(config)])
    evaluate([str(config)])
    return read_inputs(Run.of(load_config(config)))


def test_rows_are_the_means_of_each_predictor_over_the_maps_of_a_simulation(inputs: Inputs) -> None:
    found = read_baselines(inputs.run.metrics.with_name(BASELINES), inputs.predictions)
    assert found is not None
    tried = tried_of([("small", inputs)], "mass")
    assert [one.predictor for one in tried] == list(PREDICTORS)
    region = inputs.metrics.maps["region"]
    for one in tried:
        assert (one.model, one.trained_on, one.tested_on) == ("small", "synthetic", "synthetic")
        assert one.l1 == mean_of(found["mass"][one.predictor].l1, region)
        assert one.power == mean_of(found["mass"][one.predictor].power, region)
    assert tried[0].held is None
    assert tried[1].held == share_of(found["mass"]["mean_map"].held, region)
    table = between_table(tried, "mass")
    assert [row[3] for row in table.rows] == list(PREDICTORS.values())
    assert [row[5] for row in table.rows] == [one.l1.text() for one in tried]
    assert [row[8] for row in table.rows] == [None, *(one.held.text() for one in tried[1:] if one.held)]
    assert table.rows[0][9] == pytest.approx(float(np.mean(inputs.predictions.likeness < 0.05)))  # type: ignore[operator]
    assert table.rows[1][9] is None


def test_a_run_that_was_evaluated_before_is_left_out(inputs: Inputs, tmp_path: Path) -> None:
    path = inputs.run.metrics.with_name(BASELINES)
    kept = path.read_bytes()
    path.unlink()
    try:
        assert tried_of([("small", inputs)], "mass") == []
    finally:
        path.write_bytes(kept)


def test_a_network_with_error_bars_has_their_coverage(tmp_path: Path) -> None:
    config = write_run_and_other_maps(tmp_path)
    predict([str(config), "--validation"])
    calibrate([str(config)])
    predict([str(config)])
    evaluate([str(config)])
    inputs = read_inputs(Run.of(load_config(config)))
    held = tried_of([("small", inputs)], "mass")[0].held
    calibrated = inputs.metrics.targets["mass"][Calibrated].masses[:, LEVELS.index(0.68), -1]
    assert held is not None
    assert held.value == calibrated.mean()


def test_the_figure_has_every_model_on_every_simulation() -> None:
    one = Estimate(np.array(0.1), np.array(0.01), np.array(5))
    tried = [
        Tried(m, "SZ", m, s, p, 3, one, one, one, None, 0.5) for m in ("A", "B") for s in ("A", "B") for p in PREDICTORS
    ]
    panels = between_figure(tried).axes
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == ["SZ, A → A", "SZ, A → B", "SZ, B → A", "SZ, B → B"]
    assert panels[0].get_yticks().tolist() == [3, 2, 1, 0]
    assert [len(panel.containers) for panel in panels] == [3, 3, 3, 3]


def test_the_page_has_it(inputs: Inputs) -> None:
    report([str(inputs.run.folder / "config.yaml")])
    assert "Between simulations" in (inputs.run.report / INDEX).read_text()
    assert (inputs.run.report / "tables" / "between_mass.csv").exists()
    assert (inputs.run.report / "figures" / "between_mass.png").exists()
