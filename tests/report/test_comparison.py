"""Several runs in one report: who is drawn with whom, in which colour, and that the numbers are each run's own."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from hpc_massmap.errors import InputError
from hpc_massmap.jobs import report as job
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.summary import b200_by_mass, mmd_by_mass
from hpc_massmap.report import browser, comparison, page, paper, style, together
from hpc_massmap.report.inputs import Inputs, read_inputs
from hpc_massmap.report.tables import Measured
from hpc_massmap.run import Run
from tests.report.run_folder import make_run

VIEWS: dict[str, dict[str, Any]] = {
    "multi3": {"views": ["star", "sz", "xray"]},
    "star": {"views": ["star"], "encoders": "one"},
    "sz": {"views": ["sz"], "encoders": "one"},
    "tweaked": {"views": ["star"], "encoders": "one"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Four models of the same test maps, one retrained, one of other test maps, and one that was not evaluated."""
    folder = tmp_path_factory.mktemp("several")
    made = {name: make_run(folder, ["mass"], name=name, **model) for name, model in VIEWS.items()}
    made["low_mass"] = make_run(folder, ["mass"], name="low_mass", split={"log_m200": [13.5, 14.02]})
    made["others"] = make_run(folder, ["mass"], name="others", every=3)
    made["unfinished"] = make_run(folder, ["mass"], name="unfinished")
    made["unfinished"].metrics.unlink()
    return made


@pytest.fixture(scope="module")
def main(runs: dict[str, Run]) -> Inputs:
    return read_inputs(runs["multi3"])


@pytest.fixture(scope="module")
def compared(runs: dict[str, Run], main: Inputs) -> comparison.Comparison:
    return comparison.compare(main, [run for name, run in runs.items() if name != "multi3"])


def test_runs_are_sorted_by_their_test_maps(compared: comparison.Comparison) -> None:
    assert [comparison.shown_name(run) for run in compared.same] == ["star", "tweaked", "SZ", "multi-3"]
    assert [comparison.shown_name(run) for run in compared.apart] == ["low_mass", "others"]
    assert len(compared.missing) == 1
    assert compared.missing[0].startswith("unfinished: ")
    assert compared.missing[0].endswith("metrics.h5: no such file; run massmap evaluate first")


def test_each_model_has_its_own_colour_everywhere(compared: comparison.Comparison) -> None:
    shown = {model.name: model.colour for model in compared.shown([*compared.same, *compared.apart])}
    assert len(set(shown.values())) == len(shown)
    assert (shown["star"], shown["SZ"], shown["multi-3"]) == tuple(style.COLOURS[n] for n in ("star", "sz", "multi3"))
    figure = together.bias_together(compared.shown(compared.same), "mass")
    drawn = {line.get_label(): to_hex(line.get_color()) for panel in figure.axes for line in panel.get_lines()}
    assert all(drawn[name] == shown[name].lower() for name in ("star", "tweaked", "SZ", "multi-3"))


def test_models_of_one_view_are_above_those_of_several(compared: comparison.Comparison) -> None:
    figure = together.bias_together(compared.shown(compared.same), "mass")
    legends = [[text.get_text() for text in of.get_texts()] for panel in figure.axes if (of := panel.get_legend())]
    assert legends == [["star", "tweaked", "SZ"], ["multi-3"]]
    single = together.bias_together(compared.shown(compared.same)[:2], "mass")
    assert len(single.axes) == 3


def test_drawn_mmd_is_each_models_own(compared: comparison.Comparison) -> None:
    figure = together.mmd_together(compared.shown(compared.same), "mass")
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    for run in compared.same:
        value = mmd_by_mass(run.metrics, "mass")
        drawn = np.asarray(lines[comparison.shown_name(run)].get_ydata())
        np.testing.assert_array_equal(drawn, value.median[value.count > 0])


def test_models_whose_test_halos_are_in_no_interval(tmp_path: Path) -> None:
    star, sz = (make_run(tmp_path, ["mass"], [10.0, 11.0], name, every=12, **VIEWS[name]) for name in ("star", "sz"))
    main = read_inputs(star)
    drawn = {of.name: of.figure for of in comparison.comparison_figures(main, comparison.compare(main, [sz]), "mass")}
    for name in ("fig7_models_mass", "fig9_models_mass"):
        assert all("no test halos" in [text.get_text() for text in panel.texts] for panel in drawn[name].axes)
        assert style.png(drawn[name])


def test_table_4_has_a_row_a_model_beside_the_papers(main: Inputs, compared: comparison.Comparison) -> None:
    table, *_ = comparison.comparison_tables(main, compared, "mass")
    assert [row[0] for row in table.rows] == ["star", "tweaked", "SZ", "multi-3"]
    for run, row in zip(compared.same, table.rows, strict=True):
        ours = [cell for cell in row[1:4] if cell is not None]
        assert [cell.median for cell in ours] == [of.median for of in b200_by_mass(run.metrics, "mass")]  # type: ignore[union-attr]
        assert row[4:] == paper.B200[style.model_key(run.run.config.model) or ""]
    assert compared.same[0].run.config.data in table.data


def test_retrained_models_are_judged_by_maps_of_their_kind(main: Inputs, compared: comparison.Comparison) -> None:
    low_mass, others = compared.apart
    light = main.metrics.log_m200 < 14.02
    assert np.array_equal(comparison.of_its_kind(low_mass), light)
    assert comparison.of_its_kind(others).all()
    *_, table = comparison.comparison_tables(main, compared, "mass")
    (_, masses, simulations, _, maps, ours, of_main), of_others = table.rows
    assert [masses, simulations, maps] == ["13.5 to 14.02", "all", int(np.count_nonzero(light))]
    for run, cell in ((low_mass, ours), (main, of_main)):
        b200 = run.metrics.targets["mass"][Profiles].bias[light, -1]
        assert isinstance(cell, Measured)
        assert cell.median == pytest.approx(np.median(b200))
    assert of_others[-1] is None
    *_, drawing = comparison.comparison_figures(main, compared, "mass")
    assert drawing.name == "figA4_retrained_mass"
    left, right = ([line.get_label() for line in panel.get_lines()] for panel in drawing.figure.axes)
    assert "multi-3" in left
    assert "multi-3" not in right


def test_more_retrained_models_than_fit_beside_each_other_stand_in_rows(
    main: Inputs, compared: comparison.Comparison
) -> None:
    (shown,), n = compared.shown([main]), together.MOST_ACROSS + 2
    figure = together.retrained_figure([(shown, main.metrics.everything)] * n, shown, [True] * n, "mass")
    across = {round(panel.get_position().x0, 3) for panel in figure.axes}
    assert (len(across), sum(panel.axison for panel in figure.axes)) == (together.MOST_ACROSS, n)


def test_models_table_says_what_goes_in(compared: comparison.Comparison) -> None:
    rows = {row[0]: row[1:4] for row in comparison.models_table(compared).rows}
    assert rows["SZ"] == ["SZ", "total mass", 1]
    assert rows["multi-3"] == ["stars, SZ, X-ray", "total mass", 3]
    assert "low_mass" in rows


def test_provenance_of_every_run(compared: comparison.Comparison) -> None:
    (table,) = comparison.runs_table(compared)
    steps = ["tune", "train", "predict", "evaluate"]
    shown = [*compared.same, *compared.apart]
    assert [row[:2] for row in table.rows] == [[comparison.shown_name(run), step] for run in shown for step in steps]


def test_page_of_several(runs: dict[str, Run], main: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def note(figure: Figure, stem: Path) -> bytes:
        written.append(stem.name)
        return b""

    monkeypatch.setattr(style, "write_figure", note)
    others = [runs["sz"], runs["low_mass"], runs["unfinished"]]
    text = page.write_report(main, tmp_path, others, ["tune_xray is late"]).read_text()
    assert "<li>tune_xray is late</li>" in text
    together_first = [f"fig{n}_models_mass" for n in (5, 6, 7, 8, 9)]
    assert [name for name in written if "models" in name or "A4" in name] == [*together_first, "figA4_retrained_mass"]
    assert "unfinished: " in text
    assert "metrics.h5: no such file; run massmap evaluate first" in text
    assert "residual of SZ" in text
    assert (tmp_path / "tables" / "b200_models_mass.tex").exists()


def test_browser_has_every_models_prediction(compared: comparison.Comparison, main: Inputs) -> None:
    others = [run for run in compared.same if run.metrics.name == "sz"]
    data = browser.browser_data([main, *others], "mass", 1000)
    titles = [panel["title"] for panel in data["panels"][-4:]]
    assert titles == ["prediction of multi-3", "residual of multi-3", "prediction of SZ", "residual of SZ"]
    bias = others[0].metrics.targets["mass"][Profiles].bias[:, -1]
    assert [row["bias"][1] for row in data["maps"]] == pytest.approx(bias.tolist(), abs=1e-4)


def test_what_does_not_compare_is_named(tmp_path: Path) -> None:
    made = {
        name: make_run(tmp_path, [target], intervals, name, every=12, views=["star", "xray"])
        for name, target, intervals in (
            ("main", "mass", [13.5, 15.9]),
            ("narrow", "mass", [13.5, 14.0]),
            ("painted", "sz", [13.5, 15.9]),
            ("printed", "mass", [13.5, 15.9]),
            ("noisy", "mass", [13.5, 15.9]),
        )
    }
    with h5py.File(made["printed"].metrics, "r+") as file:
        file["mass/mmd"].attrs["kernel"] = "printed"
    with h5py.File(made["noisy"].metrics, "r+") as file:
        file["mass/mmd/noise"][:] *= 2
    main = read_inputs(made.pop("main"))
    compared = comparison.compare(main, list(made.values()))
    assert (compared.same, compared.apart) == ([main], [])
    assert compared.missing == [
        "narrow: evaluated in other mass intervals than main",
        "painted: predicts SZ, but main total mass",
        "printed: evaluated with another MMD (evaluate.mmd_...) than main",
        "noisy: evaluated with another MMD (evaluate.mmd_...) than main",
    ]


def test_a_name_given_twice_is_refused(runs: dict[str, Run], main: Inputs) -> None:
    with pytest.raises(InputError, match="two runs are called multi3"):
        comparison.compare(main, [runs["multi3"]])


def test_the_job_takes_folders_and_config_files(runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def note(inputs: Inputs, folder: Path, others: list[Run], notes: list[str]) -> Path:
        asked.extend(run.folder for run in others)
        return folder

    monkeypatch.setattr(page, "write_report", note)
    main_config, sz, star = (runs[name].folder for name in ("multi3", "sz", "star"))
    job.main([str(main_config / "config.yaml"), "--with", str(sz), str(star / "config.yaml")])
    assert asked == [sz, star]
    with pytest.raises(InputError, match="nowhere"):
        job.main([str(main_config / "config.yaml"), "--with", "nowhere/config.yaml"])
