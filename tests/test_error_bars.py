"""From a trained network to whether its error bars hold, by the jobs: the files of one are what the next takes."""

from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.jobs.calibrate import main as calibrate
from hpc_massmap.jobs.evaluate import main as evaluate
from hpc_massmap.jobs.predict import main as predict
from hpc_massmap.metrics.coverage import Calibrated, Coverage
from hpc_massmap.metrics.results import read_metrics
from hpc_massmap.metrics.tarp import Tarp
from tests.trained_run import write_run


@pytest.mark.parametrize(
    ("output", "words", "own", "samples"),
    [("point", [], False, False), ("quantiles", [], True, False), ("flow", ["predict.samples=2"], True, True)],
)
def test_from_a_network_to_coverage(tmp_path: Path, output: str, words: list[str], own: bool, samples: bool) -> None:
    config = str(write_run(tmp_path, output=output))
    predict([config, *words, "--validation"])
    predict([config, *words])
    calibrate([config, *words])
    evaluate([config, *words])
    of = read_metrics(tmp_path / "runs" / "small" / "metrics.h5").targets["mass"]
    assert (of.find(Coverage) is not None) == own
    assert (of.find(Tarp) is not None) == samples
    assert np.isfinite(of[Calibrated].masses[:, 0]).all()
