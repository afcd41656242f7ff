"""The page stands alone, holds the headline, escapes what it was given, and names the job that is missing."""

import csv
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import pytest
from matplotlib.figure import Figure

from hpc_massmap.errors import InputError
from hpc_massmap.jobs.report import main as report_job
from hpc_massmap.metrics import summary
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.sample import interval_labels
from hpc_massmap.report import style
from hpc_massmap.report.history import read_training_log, read_trials
from hpc_massmap.report.inputs import Inputs, input_digests, read_inputs
from hpc_massmap.report.page import closing_lines, write_report
from hpc_massmap.run import Run
from hpc_massmap.tune import documents
from hpc_massmap.tune.documents import best_of
from tests.report.run_folder import make_run, run_job, trial

pytestmark = pytest.mark.xdist_group("report")  # one worker writes the report for all of these
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Tags, references and text of a page; refuses tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: set[str] = set()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]
        self.ids |= {value or "" for key, value in attrs if key == "id"}
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def source(report: Path) -> str:
    return (report / "index.html").read_text()


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


@pytest.fixture
def own_run(finished_run: Run, tmp_path: Path) -> Run:
    """A copy of the run that a test may damage."""
    shutil.copytree(finished_run.folder, tmp_path / "runs" / "demo", ignore=shutil.ignore_patterns("report"))
    return Run(finished_run.config.model_copy(update={"runs": tmp_path / "runs"}), tmp_path / "runs" / "demo")


def test_page_needs_nothing_outside_itself_and_links_the_files_beside_it(source: str, page: Page, report: Path) -> None:
    assert page.references
    for reference in page.references:
        is_file = reference.startswith(("figures/", "tables/")) and (report / reference).is_file()
        assert is_file or reference.startswith("data:image/png;base64,") or reference[1:] in page.ids
    styles = "".join(re.findall(r"<style>(.*?)</style>", source, re.DOTALL))
    assert "light-dark(" in styles
    assert "@import" not in styles
    assert "url(" not in styles


def test_page_holds_the_headline(page: Page, inputs: Inputs) -> None:
    for b200 in summary.b200_by_mass(inputs.metrics, "mass")[:3]:
        shown = f"{b200.median:+.3f} +{b200.p84 - b200.median:.3f} -{b200.median - b200.p16:.3f}"
        assert page.text.count(shown.replace("-", "−")) == 2  # above, and in the table
    pixels = inputs.metrics.targets["mass"][Pixels].apertures["whole"]
    assert f"{pixels.median:+.3f}".replace("-", "−") in page.text
    assert "no test halos" in page.text
    assert "best trial 4 of 8, validation loss 0.1000" in page.text
    assert "48 maps of" in page.text


def test_page_says_which_data_and_intervals_once(page: Page, inputs: Inputs, report: Path) -> None:
    data = inputs.run.config.data
    assert f"Data {data} Mass intervals 13.5 ≤ log10 M200 < 14.02" in page.text
    captions = [word for word in page.words if "(fig. " in word and "Model demo" in word]
    assert len(captions) == 5
    assert all("13.5, 14.02, 14.63, 15.38, 15.9" in caption for caption in captions)
    assert page.text.count(data.rstrip(".")) == 1
    assert "Data of this run: made-up blobs" in (report / "tables" / "b200_mass.md").read_text()
    assert "other data" in page.text


def test_maps_and_figures_stand_before_tables(source: str) -> None:
    results = source[source.index('id="result-1"') : source.index('id="sample"')]
    places = [results.index(words) for words in ('class="browser', 'class="figures"', "<table>")]
    assert places == sorted(places)


def test_curves_are_files_beside_their_figures(report: Path, inputs: Inputs) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        with (report / "figures" / f"{name}_mass.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    metrics = inputs.metrics
    bias = summary.bias_by_mass(metrics, "mass")[0]
    of_first = [row for row in rows("fig7_bias") if row["interval"] == interval_labels(metrics)[0]]
    assert [float(row["bias: median"]) for row in of_first] == pytest.approx(bias.median.tolist())
    assert [float(row["bias: minus"]) for row in of_first] == pytest.approx((bias.median - bias.p16).tolist())
    true, _ = summary.power_spectra(metrics, "mass")
    assert [float(row["true power: median"]) for row in rows("fig8_power")] == pytest.approx(true.median.tolist())
    whole = metrics.targets["mass"][Pixels].apertures["whole"]
    assert [float(row["density, whole"]) for row in rows("fig6_pixels")] == pytest.approx(whole.density.tolist())
    assert len(rows("fig9_mmd")) == summary.MASS_BINS


def test_what_was_given_is_escaped(source: str, page: Page) -> None:
    assert "<script>alert" not in source
    assert "<script>alert('x')</script>" in page.text
    assert "<b>clumps</b>" in page.text


def test_every_figure_and_table_is_written(report: Path) -> None:
    stems = ["fig5_examples_mass", "fig6_pixels_mass", "fig7_bias_mass", "fig8_power_mass", "fig9_mmd_mass"]
    stems += ["fig1_sample", "fig2_maps", "figA1_simulations", "figA2_gas_fraction", "figA3_star_fraction"]
    for stem in [*stems, "trials", "training"]:
        assert (report / "figures" / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (report / "figures" / f"{stem}.pdf").read_bytes().startswith(b"%PDF")
    for stem in (
        "b200_mass",
        "pixels_mass",
        "search_space",
        "trials",
        "steps",
        "data",
        "versions",
        "settings",
        "sample",
        "sample_by_mass",
    ):
        assert {path.suffix for path in (report / "tables").glob(f"{stem}.*")} == {".csv", ".md", ".tex"}


def test_provenance_is_shown(page: Page, inputs: Inputs) -> None:
    assert inputs.predictions.maps.digest in page.text
    for record in inputs.records:
        assert record["versions"]["numpy"] in page.text
    assert [record["step"] for record in inputs.records] == ["tune", "train", "predict", "evaluate"]


def test_two_targets_two_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def note(figure: Figure, stem: Path) -> bytes:
        written.append(stem.name)
        return b""

    monkeypatch.setattr(style, "write_figure", note)
    run = make_run(tmp_path, ["mass", "star"], views=["sz", "xray"])
    run.trials_export.unlink()  # and not tuned
    report = write_report(read_inputs(run), run.report).parent
    kinds = ("fig5_examples", "fig6_pixels", "fig7_bias", "fig8_power", "fig9_mmd", "trends")
    of_sample = ["fig1_sample", "fig2_maps", "figA1_simulations", "figA2_gas_fraction", "figA3_star_fraction"]
    assert written == [*(f"{kind}_{target}" for target in ("mass", "star") for kind in kinds), *of_sample, "training"]
    page = Page((report / "index.html").read_text())
    assert "the paper's gas" in page.text
    assert "was not tuned" in page.text
    of_stars = (report / "tables" / "b200_star.md").read_text()
    assert of_stars.startswith("Bias b200 of the stellar mass inside R200 by mass interval, stars maps")
    assert "paper's" not in of_stars
    assert page.text.count("25 % too low at λ = 0.5 R200") == 1  # of the mass
    for quantity in ("mass", "stellar mass"):
        for said in ("Bias of the {} inside R by mass interval", "The column b200, the bias of the {} inside R200,"):
            assert page.text.count(said.format(quantity)) == 1


def test_a_retrained_model_is_not_taken_for_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "write_figure", lambda figure, stem: b"")
    run = make_run(tmp_path, ["mass"], every=12, split={"log_m200": [13.5, 14.02], "only": ["synthetic"]})
    page = Page(write_report(read_inputs(run), run.report).read_text())
    assert "trained on halos of log10 M200/(h⁻¹ M☉) from 13.5 to 14.02 of synthetic only" in page.text
    for table in ("b200_mass", "pixels_mass"):
        assert "paper's multi-3" not in (run.report / "tables" / f"{table}.md").read_text()
    assert "the paper's multi-3" not in page.text


def test_closing_lines(inputs: Inputs) -> None:
    first, *others = closing_lines(inputs)
    assert first == "best of 8 trials: 4 (filters 12, kernel 3, layers 2, dropout 0.2), validation loss 0.1000"
    assert others == summary.headline(inputs.metrics)


@pytest.mark.parametrize(
    ("path", "job"), [("model/log.csv", "train"), ("predictions.h5", "predict"), ("metrics.h5", "evaluate")]
)
def test_missing_input_names_its_job(own_run: Run, path: str, job: str) -> None:
    (own_run.folder / path).unlink()
    with pytest.raises(InputError, match=rf"{path}: no such file; run massmap {job} first"):
        input_digests(own_run)
    with pytest.raises(InputError, match=rf"{path}: no such file; run massmap {job} first"):
        read_inputs(own_run)


@pytest.mark.parametrize(("file", "dataset"), [("metrics.h5", "maps/row"), ("predictions.h5", "predictions/mass")])
def test_metrics_of_other_predictions_are_refused(own_run: Run, file: str, dataset: str) -> None:
    with h5py.File(own_run.folder / file, "r+") as opened:
        opened[dataset][0] = opened[dataset][0] * 2 + 1
    with pytest.raises(
        InputError, match=r"metrics.h5: not the metrics of .*predictions.h5; run massmap evaluate again"
    ):
        read_inputs(own_run)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text(f'{json.dumps(trial(0))}\n{{"tid": 1, "sta\n')
    with pytest.raises(InputError, match=r"^.*trials.jsonl: line 2 is not JSON; restore the file or move it away$"):
        read_trials(path)


@pytest.mark.parametrize(
    "line",
    [
        [],
        {**trial(1), "state": 9},
        {**trial(1), "result": {}},
        {**trial(1), "result": {"status": "ok", "loss": "low"}},
        {**trial(1), "misc": {"tid": 1, "vals": {"filters": 3}}},
        {**trial(2), "error": "text"},
    ],
)
def test_a_broken_trial_is_left_out_and_said(tmp_path: Path, line: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text(f"{json.dumps(trial(0))}\n{json.dumps(line)}\n")
    documents._told.clear()
    assert [t.tid for t in read_trials(path)] == [0]
    assert capsys.readouterr().out.count("a document that is left out: trial ") == 1


def test_best_trial_is_the_earliest_of_equals(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text("".join(json.dumps(trial(tid)) + "\n" for tid in (5, 3)))  # equal losses
    best = best_of(read_trials(path))
    assert best is not None
    assert best.tid == 3
    assert best_of([replace(best, state="failed")]) is None


def test_broken_training_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch,train_loss\n1,0.5\n")
    with pytest.raises(InputError, match=r"log.csv: not a training log; run .* again \('validation_loss' is missing\)"):
        read_training_log(path)
    path.write_text("")
    with pytest.raises(InputError, match="has no epochs; run"):
        read_training_log(path)


def test_job_writes_once_and_always_ends_with_the_headline(first_output: str, inputs: Inputs) -> None:
    ending = [*closing_lines(inputs), f"report: {inputs.run.report / 'index.html'}"]
    assert first_output.splitlines()[-len(ending) :] == ending
    again = run_job(str(inputs.run.folder / "config.yaml")).stdout.splitlines()
    assert again[0].startswith("report: already done")
    assert again[1:] == ending


def test_the_old_page_stays_until_the_new_one_is_written(own_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    page = own_run.report / "index.html"
    page.parent.mkdir()
    page.write_text("the old one")

    def fails(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("hpc_massmap.report.page.write_report", fails)
    config = Run.open(own_run.config).folder / "config.yaml"
    with pytest.raises(OSError, match="no space left"):
        report_job([str(config), "--force"])
    assert page.read_text() == "the old one"
    assert not (own_run.folder / "provenance" / "report.json").exists()


def test_job_tells_what_is_missing_in_one_line(own_run: Run) -> None:
    config = Run.open(own_run.config).folder / "config.yaml"
    own_run.metrics.unlink()
    missing = run_job(str(config))
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "run massmap evaluate first" in missing.stderr
