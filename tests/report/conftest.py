from pathlib import Path

import pytest

from hpc_massmap.report.inputs import Inputs, read_inputs
from hpc_massmap.run import Run
from tests.report.run_folder import INTERVALS, make_run, run_job


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with one mass interval that no test halo is in, above the paper's."""
    return make_run(tmp_path_factory.mktemp("run"), ["mass"], [*INTERVALS, 15.9])


@pytest.fixture(scope="session")
def inputs(finished_run: Run) -> Inputs:
    return read_inputs(finished_run)


@pytest.fixture(scope="session")
def first_output(finished_run: Run) -> str:
    """What the job says when it writes the report."""
    result = run_job(str(finished_run.folder / "config.yaml"))
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="session")
def report(finished_run: Run, first_output: str) -> Path:
    """The folder of the report."""
    return finished_run.report
