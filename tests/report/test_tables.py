"""The tables say what numpy says about the data, in three formats that a parser can read back."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.sample import in_intervals
from hpc_massmap.metrics.summary import b200_by_mass
from hpc_massmap.report.contents import (
    b200_table,
    pixel_table,
    projection_table,
    settings_table,
    simulation_table,
    trials_table,
)
from hpc_massmap.report.inputs import Inputs
from hpc_massmap.report.noise import equivalent_noise, mmd_table
from hpc_massmap.report.paper import B200
from hpc_massmap.report.tables import Cell, Measured, Table, to_csv, to_html, to_latex, to_markdown
from tests.report.run_folder import INTERVALS

NASTY = r"50% of $HOME_DIR & a|b \x {y} #1 ~ ^ <script>alert(1)</script> *[z]_"
TABLE = Table(
    "t", f"Title {NASTY}", "Note.", ["a_b", "n", "m"], [[NASTY, 3, Measured(-0.0123, 0.05, 0.04)], ["[x", 0.5, None]]
)


def test_b200_is_numpys_median_of_the_data(inputs: Inputs) -> None:
    metrics = inputs.metrics
    table = b200_table(metrics, "mass", "multi3", "made up")
    bias, mass = metrics.targets["mass"][Profiles].bias[:, -1], np.log10(metrics.maps["m200"])
    for row, low, high in zip(table.rows, INTERVALS, [*INTERVALS[1:]], strict=False):
        inside = (low <= mass) & (mass < high)
        p16, median, p84 = np.percentile(bias[inside], (16, 50, 84))
        assert row[1:3] == [len(set(metrics.maps["halo"][inside])), inside.sum()]
        cell = row[3]
        assert isinstance(cell, Measured)
        assert (cell.median, cell.plus, cell.minus) == pytest.approx((median, p84 - median, median - p16))
    assert table.rows[-1][1:4] == [0, 0, None]  # nothing above the paper's intervals


def test_paper_stands_beside_its_own_intervals_only(inputs: Inputs) -> None:
    rows = b200_table(inputs.metrics, "mass", "multi3", "made up").rows
    # the first two intervals are the paper's; its third is closed above, this run's is not, but the edges agree
    assert [row[4] for row in rows] == [*B200["multi3"], None]
    assert len(b200_table(inputs.metrics, "mass", "gas2", "made up").columns) == 4
    assert len(b200_table(inputs.metrics, "mass", None, "made up").columns) == 4


def test_other_intervals_than_the_papers_get_rows_of_their_own(inputs: Inputs) -> None:
    other = replace(inputs.metrics, mass_intervals=[13.0, 14.02, 15.5])
    rows = b200_table(other, "mass", "star", "made up").rows
    of_run = [row for row in rows if row[1] is not None]
    of_paper = [row for row in rows if row[4] is not None]
    assert len(of_run) == 2
    assert [row[4] for row in of_paper] == B200["star"]
    assert not any(row in of_run for row in of_paper)


def test_pixels_are_the_evaluations(inputs: Inputs) -> None:
    table = pixel_table(inputs.metrics, "mass", "sz", "made up")
    for row, pixels in zip(table.rows, inputs.metrics.targets["mass"][Pixels].apertures.values(), strict=True):
        assert row[1] == pixels.count
        assert isinstance(row[2], Measured)
        numbers = pixels.median, pixels.p84 - pixels.median, pixels.median - pixels.p16
        assert (row[2].median, row[2].plus, row[2].minus) == pytest.approx(numbers)
        assert row[2].error
    assert [row[3] for row in table.rows] == ["scatter +0.44 −0.29", None, None]


def test_what_the_paper_says_of_pixels_stands_beside_every_aperture(inputs: Inputs) -> None:
    def beside(target: str, model: str) -> list[Cell]:
        return [cell for row in pixel_table(inputs.metrics, target, model, "made up").rows for cell in row[3:]]

    assert beside("mass", "xray") == ["median −0.03, scatter +0.36 −0.28", "median −0.03", "median −0.03"]
    assert beside("mass", "multi3") == ["median 0.00, scatter +0.23 −0.18", "median 0.00", "median 0.00"]
    assert beside("mass", "multi1") == []


def test_signs_on_which_the_paper_is_of_two_minds_are_named(inputs: Inputs) -> None:
    notes = {model: b200_table(inputs.metrics, "mass", model, "made up").note for model in ("star", "sz", "xray")}
    assert [model for model, note in notes.items() if "the other way round" in note] == ["star", "xray"]


def test_the_same_regions_make_the_errors_of_every_table(inputs: Inputs) -> None:
    metrics = inputs.metrics
    for row, b200 in zip(b200_table(metrics, "mass", None, "made up").rows, b200_by_mass(metrics, "mass"), strict=True):
        if row[3] is not None:
            assert isinstance(row[3], Measured)
            assert row[3].regions == b200.regions
            assert row[3].error == (None if b200.regions < 3 else b200.error)
    assert "a bootstrap over its n regions" in pixel_table(metrics, "mass", None, "made up").caption


def test_simulations_are_measured_apart(inputs: Inputs) -> None:
    chosen = np.arange(len(inputs.metrics)) % 3 > 0
    maps = inputs.metrics.maps | {"simulation": np.where(chosen, "GADGET-X", "GIZMO-SIMBA")}
    metrics = replace(inputs.metrics, maps=maps)
    rows = simulation_table(metrics, "mass", "made up").rows
    numbers = [("GADGET-X", chosen.sum()), ("GIZMO-SIMBA", (~chosen).sum()), ("all", len(chosen))]
    assert [(row[0], row[3]) for row in rows if row[1] == "all"] == numbers
    alone = simulation_table(replace(metrics, maps=maps | {"simulation": np.full(len(chosen), "one")}), "mass", "").rows
    assert {row[0] for row in alone} == {"one"}
    b200, pixels, mmd = rows[0][4:]
    assert isinstance(b200, Measured)
    assert isinstance(pixels, Measured)
    assert isinstance(mmd, Measured)
    assert b200.median == pytest.approx(np.median(metrics.targets["mass"][Profiles].bias[chosen, -1]))
    assert mmd.median == pytest.approx(1000 * np.median(metrics.targets["mass"][Mmd].value[chosen]))
    assert abs(pixels.median) < 0.1


def test_lines_of_sight_are_compared(inputs: Inputs) -> None:
    metrics = inputs.metrics
    rows = projection_table(metrics, "mass", "made up").rows
    bias, projection = metrics.targets["mass"][Profiles].bias[:, -1], metrics.maps["projection"]
    medians = [float(np.median(bias[projection == p])) for p in np.unique(projection)]
    assert rows[0][2:] == pytest.approx([min(medians), max(medians), np.std(medians, ddof=1)])
    assert [row[0] for row in rows] == ["b200", "pixels, whole map", "1000 MMD²"]


def test_trials_of_every_state_are_listed(inputs: Inputs) -> None:
    rows = trials_table(inputs.trials).rows
    assert [row[1] for row in rows] == ["done", "done", "failed", "done", "done", "done", "running", "waiting"]
    assert rows[7][2:7] == [None] * 5  # no suggestion yet
    assert rows[2][-1] == "Diverged: <script>alert('x')</script> | 50% of $HOME_DIR"


def test_settings_show_what_differs_from_the_default() -> None:
    records = [
        {"step": "tune", "settings": {"train": {"epochs": 3, "patience": 5}}},
        {"step": "train", "settings": {"train": {"epochs": 4, "patience": 5}}},
    ]
    assert settings_table(records).rows == [
        ["train.epochs", "3", "100", "tune"],
        ["train.patience", "5", None, "tune, train"],
        ["train.epochs", "4", "100", "train"],
    ]


def test_a_known_error_is_shown_in_every_format() -> None:
    unknown, of_paper = Measured(0.03, 0.05, 0.04, None, 2), Measured(0.02, 0.05, 0.04)
    table = Table("t", "T", "", ["x"], [[Measured(0.01, 0.05, 0.04, 0.0031, 5)], [of_paper], [None], [unknown]])
    header, *rows = csv.reader(io.StringIO(to_csv(table)))
    assert header == ["x: median", "x: plus", "x: minus", "x: error", "x: regions"]
    assert [row[3:] for row in rows] == [["0.0031", "5"], ["", ""], ["", ""], ["", "2"]]
    assert "| +0.010 (+0.050, -0.040) ± 0.003, n = 5 |" in to_markdown(table)
    assert r"$+0.010^{+0.050}_{-0.040} (\pm 0.003, n = 5)$" in to_latex(table)
    assert "</span> ± 0.003, n = 5</td>" in to_html(table)
    for text in (to_markdown(table), to_latex(table), to_html(table)):
        assert text.count("0.003") == 1
        assert text.count("unknown, n = 2") == 1


def test_csv_reads_back_with_all_digits() -> None:
    header, *rows = csv.reader(io.StringIO(to_csv(TABLE)))
    assert header == ["a_b", "n", "m: median", "m: plus", "m: minus"]
    assert rows == [[NASTY, "3", "-0.0123", "0.05", "0.04"], ["[x", "0.5", "", "", ""]]


def test_markdown_has_the_same_cells_in_every_row() -> None:
    lines = to_markdown(TABLE).strip().splitlines()[2:]
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == len(TABLE.columns) + 1
    assert lines[1] == "| :--- | ---: | ---: |"
    assert "-0.012 (+0.050, -0.040)" in lines[2]
    assert "<script>" not in to_markdown(TABLE)


def test_latex_is_balanced_and_escaped() -> None:
    text = to_latex(TABLE)
    plain = re.sub(r"\\[&%$#_{}]", "", text)  # without what is escaped
    assert plain.count("{") == plain.count("}")
    assert "$-0.012^{+0.050}_{-0.040}$" in text
    body = plain.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert [line.count("&") for line in body] == [2, 2]
    assert all(line.endswith(r"\\") for line in body)
    assert not re.search(r"[%#~|<>]", plain.split("\n", 1)[1])  # after the comment about booktabs
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 1


def test_latex_has_no_letter_that_inputenc_does_not_know(inputs: Inputs) -> None:
    tables = [
        b200_table(inputs.metrics, "mass", "star", "made up"),
        mmd_table([("m", inputs.metrics)], "mass", "made up"),
    ]
    for table in tables:
        assert set(re.findall(r"[^\x00-\xff]", to_latex(table))) == set()
    assert r"as noise of $\alpha$" in to_latex(tables[1])


def test_html_escapes_texts() -> None:
    assert "<script>" not in to_html(TABLE)
    assert "&lt;script&gt;" in to_html(TABLE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1e-7, 1234567.0])
def test_any_number_can_be_shown(value: float) -> None:
    cells: list[Cell] = [value, Measured(value, value, value)]
    table = Table("t", "T", "", ["x", "y"], [cells])
    for text in (to_csv(table), to_markdown(table), to_latex(table), to_html(table)):
        assert text


@pytest.mark.parametrize(
    ("value", "shown"), [(1e-4, "< 0.05"), (1e-3, "0.050"), (2e-3, "0.071"), (1e-2, "0.200"), (2e-2, "> 0.2")]
)
def test_noise_that_changes_a_map_as_much(value: float, shown: str) -> None:
    calibration, noise = np.array([1e-2, 4e-3, 1e-3]), np.array([0.2, 0.1, 0.05])
    assert equivalent_noise(value, calibration, noise) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(-2e-4, "< 0.001"), (-1e-5, "< 0.05"), (5e-4, "< 0.05"), (4e-3, "0.100"), (2e-2, "> 0.2")]
)
def test_noise_too_weak_to_be_seen_does_not_hide_the_stronger(value: float, shown: str) -> None:
    calibration, noise = np.array([-1e-4, 1e-3, 4e-3, 1e-2]), np.array([0.001, 0.05, 0.1, 0.2])
    assert equivalent_noise(value, calibration, noise) == shown


def test_noise_that_leaves_a_map_of_zeros_as_it_is() -> None:
    assert equivalent_noise(0.0, np.zeros(2), np.array([0.1, 0.2])) == "< 0.2"


def test_mmd_table_is_in_thousandths_by_mass_interval(inputs: Inputs) -> None:
    table = mmd_table([("demo", inputs.metrics)], "mass", "made up")
    (row,) = table.rows
    inside = in_intervals(inputs.metrics)[0]
    cell = row[1]
    assert isinstance(cell, Measured)
    assert cell.median == pytest.approx(1000 * np.median(inputs.metrics.targets["mass"][Mmd].value[inside]))
    assert len(row) == len(table.columns) == 1 + 2 * len(in_intervals(inputs.metrics))
    assert row[-2:] == [None, None]  # no test halo is above the paper's masses
