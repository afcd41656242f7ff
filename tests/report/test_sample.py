"""Figures 1 and A1 to A3: what is drawn and written is what numpy finds in the halo table."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpc_massmap.report import paper, sample
from hpc_massmap.report.inputs import Inputs
from hpc_massmap.report.tables import write_table

Table = dict[str, npt.NDArray[Any]]


@pytest.fixture
def halos() -> Table:
    """500 halos of two codes, in no order, the second one's fractions rising with mass; one has none."""
    rng = np.random.default_rng(5)
    log_m200 = rng.uniform(13.52, 15.38, 500)
    simulation = rng.choice(["GIZMO-SIMBA", "GADGET-X"], 500)
    f_gas = np.where(simulation == "GADGET-X", 0.13, 0.05 + 0.05 * (log_m200 - 13.5)) * rng.lognormal(0, 0.1, 500)
    f_gas[17] = np.nan
    return {"simulation": simulation, "m200": 10**log_m200, "f_gas": f_gas, "f_star": 0.2 - f_gas}


def drawn(panel: Axes) -> dict[str, npt.NDArray[np.float64]]:
    return {str(line.get_label()): np.array(line.get_xydata()) for line in panel.get_lines()}


def panel_of(figure: Figure) -> Axes:
    (panel,) = figure.axes
    return panel


def test_the_written_table_is_numpy_s_on_the_halo_table(halos: Table, tmp_path: Path) -> None:
    write_table(sample.by_mass_table(sample.sample_by_mass(halos)), tmp_path)
    with (tmp_path / "sample_by_mass.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["simulation"] for row in rows[::19]] == list(dict.fromkeys(halos["simulation"].tolist()))
    assert sum(int(row["halos"]) for row in rows) == 500
    log_m200 = np.log10(halos["m200"])
    for row in rows:
        low, high = float(row["log10 M200 from"]), float(row["to"])
        inside = (halos["simulation"] == row["simulation"]) & (low <= log_m200) & (log_m200 < high)
        assert high - low == pytest.approx(0.1)
        assert int(row["halos"]) == np.count_nonzero(inside)
        for name, column in (("gas fraction", "f_gas"), ("star fraction", "f_star")):
            p16, median, p84 = np.nanpercentile(halos[column][inside], [16, 50, 84])
            found = [float(row[f"{name}: {part}"]) for part in ("minus", "median", "plus")]
            np.testing.assert_allclose(found, [median - p16, median, p84 - median], rtol=1e-12, atol=1e-15)


def test_the_figures_draw_that_table(halos: Table) -> None:
    by_mass = sample.sample_by_mass(halos)
    low, high = split_at = sample.terciles(halos)
    thirds = np.bincount(np.digitize(np.log10(halos["m200"]), split_at))
    assert thirds.max() - thirds.min() <= 1
    panel = panel_of(sample.sample_figure(by_mass, split_at))
    values, edges, _ = panel.patches[-1].get_data()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(values, np.histogram(np.log10(halos["m200"]), edges)[0])
    assert [line.get_xdata()[0] for line in panel.get_lines()] == [low, high]  # type: ignore[index]
    assert [text.get_text() for text in panel.texts] == [f"{low:.2f}", f"{high:.2f}"]
    panel = panel_of(sample.simulations_figure(by_mass))
    for patch, of in zip(panel.patches, by_mass, strict=True):
        np.testing.assert_array_equal(patch.get_data()[0], of.count)  # type: ignore[attr-defined]
        assert patch.get_label() == of.simulation
    for fraction in sample.FRACTIONS:
        panel = panel_of(sample.fraction_figure(by_mass, fraction))
        for of in by_mass:
            line = drawn(panel)[of.simulation]
            np.testing.assert_array_equal(line, np.stack([of.centre, of.fractions[fraction].median], axis=1))


def test_one_simulation_and_empty_bins(halos: Table) -> None:
    log_m200 = np.log10(halos["m200"])
    some = (halos["simulation"] == "GADGET-X") & ((log_m200 < 14) | (log_m200 > 14.3))
    (only,) = by_mass = sample.sample_by_mass({name: values[some] for name, values in halos.items()})
    assert np.count_nonzero(only.count == 0) == 3
    line = drawn(panel_of(sample.fraction_figure(by_mass, "f_gas")))["GADGET-X"]
    np.testing.assert_array_equal(line[:, 0], only.centre[only.count > 0])
    assert sample.by_mass_table(by_mass).rows[6][3:] == [0, None, None]


def test_halos_of_one_mass_and_masses_on_an_edge() -> None:
    one = {
        "simulation": np.array(["a"]),
        "m200": np.array([1e14]),
        "f_gas": np.array([0.1]),
        "f_star": np.array([0.02]),
    }
    (found,) = sample.sample_by_mass(one)
    assert (found.edges.tolist(), found.count.tolist()) == ([14.0, 14.1], [1])
    sample.sample_figure([found], sample.terciles(one))


def test_a_map_file_without_fractions_says_so(halos: Table) -> None:
    by_mass = sample.sample_by_mass(halos | {"f_gas": np.full(500, np.nan)})
    (text,) = panel_of(sample.fraction_figure(by_mass, "f_gas")).texts
    assert text.get_text() == "not in the map file"


def test_the_paper_s_numbers_stand_beside_its_simulations(inputs: Inputs) -> None:
    maps = inputs.predictions.maps
    rows = {str(row[0]): row[1:] for row in sample.sample_table(maps).rows}
    assert rows["halos of synthetic"] == [32, None]
    assert rows["halos"] == [32, 5041]
    assert rows["maps of each kind"] == [96, 5041 * 29]
    assert rows["upper tercile of log10 M200"][1] == 14.65
    assert set(paper.HALOS) == {"GADGET-X", "GIZMO-SIMBA"}


def test_halos_of_figure_2_are_spread_in_mass() -> None:
    halos = {"m200": 10 ** np.array([14.0, 15.2, 13.5, 13.6, 14.7])}
    assert sample.spread_by_mass(halos) == [2, 0, 4, 1]
    assert sample.spread_by_mass({"m200": np.array([1e14])}) == [0]
