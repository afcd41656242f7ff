"""The cross-checks as tables and a figure: the numbers in them are those that went in."""

from pathlib import Path

import h5py
import numpy as np

from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.metrics.crosschecks import Crossing, Trend
from hpc_massmap.metrics.floor import FLOOR
from hpc_massmap.metrics.predictions import read_predictions
from hpc_massmap.metrics.results import read_metrics, write_metrics
from hpc_massmap.metrics.spread import spread
from hpc_massmap.metrics.summary import b200_by_mass, pixels
from hpc_massmap.report.crosschecks import check_tables, crossings_table, floor_table, trends_figure, trends_table
from hpc_massmap.report.style import png
from hpc_massmap.report.tables import Measured, to_html, to_latex, to_markdown

from .run_folder import make_run

VALUES = np.linspace(-0.1, 0.3, 11)
TREND = Trend("f_gas", np.array([0.1, 0.12]), [spread(VALUES), spread(VALUES / 2)], [3, 4], 0.5, -0.25)


def test_trends_as_a_table_and_a_figure() -> None:
    table = trends_table([TREND], "mass")
    assert [row[:3] for row in table.rows] == [["gas fraction", 0.1, 3], ["gas fraction", 0.12, 4]]
    assert isinstance(table.rows[0][3], Measured)
    assert table.rows[0][3].median == 0.1
    assert [row[4:] for row in table.rows] == [[0.5, -0.25], [None, None]]
    figure = trends_figure([TREND, TREND], "#009E73")
    assert [axes.get_title() for axes in figure.axes] == ["rank corr. +0.50, fixed mass -0.25"] * 2
    assert png(figure).startswith(b"\x89PNG")


def test_simulations_as_a_table() -> None:
    table = crossings_table([Crossing("multi3", "one", "two", spread(VALUES), 5)], "mass", "mass")
    assert table.rows[0][:4] == ["multi3", "one", "two", 5]
    for text in (to_markdown(table), to_latex(table), to_html(table)):
        assert "multi3" in text


def test_the_floor_beside_the_model(tmp_path: Path) -> None:
    metrics = read_metrics(make_run(tmp_path, ["mass"]).metrics)
    table = floor_table(metrics, metrics, "mass")
    assert [row[3] for row in table.rows if row[1]] == [1.0] * sum(row[1] is not None for row in table.rows)
    assert [row[0] for row in table.rows][-3:] == ["pixels, whole map", "pixels, R < R500", "pixels, R < R500/2"]
    first = table.rows[0][1]
    assert isinstance(first, Measured)
    assert first.median == float(b200_by_mass(metrics, "mass")[0].median)
    last = table.rows[-1][2]
    assert isinstance(last, Measured)
    assert last.plus == float(pixels(metrics, "mass", "half_r500").p84 - pixels(metrics, "mass", "half_r500").median)
    assert f"the best on validation maps: {metrics.name}." in table.note


def test_what_the_files_of_a_run_allow(tmp_path: Path) -> None:
    run = make_run(tmp_path, ["mass"])
    metrics, maps = read_metrics(run.metrics), open_maps(run.maps)
    assert [t.name for t in check_tables(metrics, read_predictions(run.predictions, maps), "mass")] == ["trends_mass"]
    with h5py.File(run.predictions, "a") as file:
        file["index/train"] = np.arange(1, len(maps), 2)
        file["index/validation"] = np.arange(0)
        file.attrs["views"] = ["sz", "star"]
    write_metrics(run.folder / FLOOR, metrics)
    tables = list(check_tables(metrics, read_predictions(run.predictions, maps), "mass"))
    assert [table.name for table in tables] == ["floor_mass", "trained_on_mass", "trends_mass"]
    assert all("± is half the 68 % interval" in table.note for table in tables)
    assert tables[1].rows[0][1:3] == ["synthetic", "synthetic"]
