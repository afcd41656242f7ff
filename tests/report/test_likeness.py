"""Maps that are unlike the training's are counted where a reader looks first, and are kept apart in tables."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.diagnostics.likeness import UNLIKE
from hpc_massmap.errors import InputError
from hpc_massmap.report.inputs import Inputs, read_inputs
from hpc_massmap.report.likeness import LIKE_PART, UNLIKE_PART, likeness_parts, likeness_table, unlike_of
from hpc_massmap.report.page import write_report
from hpc_massmap.run import Run
from tests.report.run_folder import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of which every third test map is unlike, one so little that it is just not."""
    run = make_run(tmp_path_factory.mktemp("unlike"), ["mass"])
    with h5py.File(run.predictions, "r+") as file:
        likeness = np.linspace(0.06, 1, len(file["index/row"]))
        likeness[::3] = 0.03
        likeness[1] = UNLIKE
        file["likeness"] = likeness
    return run


@pytest.fixture(scope="module")
def inputs(run: Run) -> Inputs:
    return read_inputs(run)


def test_the_table_counts_maps_by_part(inputs: Inputs) -> None:
    unlike = unlike_of(inputs.predictions)
    assert unlike is not None
    assert unlike.tolist() == [n % 3 == 0 for n in range(len(unlike))]
    table = likeness_table(inputs.metrics, unlike, "made up")
    assert table is not None
    assert table.rows[0][:3] == ["all", len(unlike), int(unlike.sum())]
    assert str(table.rows[0][3]).startswith(f"{unlike.mean():.3f} ± ")
    assert sum(int(str(row[2])) for row in table.rows[1:]) == unlike.sum()  # of the intervals of mass


def test_the_maps_fall_into_two_parts(inputs: Inputs) -> None:
    unlike = unlike_of(inputs.predictions)
    assert unlike is not None
    parts = dict(likeness_parts(unlike))
    np.testing.assert_array_equal(parts[UNLIKE_PART], unlike)
    np.testing.assert_array_equal(parts[LIKE_PART], ~unlike)
    assert not list(likeness_parts(np.zeros(4, bool)))
    assert not list(likeness_parts(None))


def test_the_page_says_how_many_before_all_else(inputs: Inputs, tmp_path: Path) -> None:
    text = write_report(inputs, tmp_path).read_text()
    assert "unlike the training maps" in text
    assert f"of {len(inputs.metrics)} test maps (p &lt; 0.05): their error bars are not calibrated" in text
    assert (tmp_path / "tables" / "likeness.csv").exists()


def test_a_run_of_old_says_nothing(tmp_path: Path) -> None:
    inputs = read_inputs(make_run(tmp_path / "old", ["mass"]))
    assert unlike_of(inputs.predictions) is None
    assert likeness_table(inputs.metrics, None, "made up") is None


def test_p_values_of_another_number_of_maps_are_damage(tmp_path: Path) -> None:
    run = make_run(tmp_path / "cut", ["mass"])
    with h5py.File(run.predictions, "r+") as file:
        file["likeness"] = np.ones(3)
    with pytest.raises(InputError, match=r"not a readable file of predictions; .*likeness is float64 \(3,\)"):
        unlike_of(read_inputs(run).predictions)
