"""Plots of a tuning: what they draw is what the trials say, and the importance is that of a function which is known."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy.stats import rankdata

from hpc_massmap.config import IntegerRange, Space
from hpc_massmap.errors import InputError
from hpc_massmap.report import style, tuning
from hpc_massmap.report.curves import ceiling, trials_figure
from hpc_massmap.report.history import hours_to_loss, read_trials
from hpc_massmap.report.importance import Importance, importance
from hpc_massmap.report.inputs import Inputs
from hpc_massmap.report.page import write_report
from hpc_massmap.tune.documents import TrialRecord
from tests.report.run_folder import trial as trial_document

START = datetime(2026, 5, 1, tzinfo=UTC)
COLOUR = style.COLOURS["sz"]
RANGES = {"filters": range(8, 33), "kernel": range(1, 7), "layers": range(1, 5), "dropout": np.linspace(0, 0.5, 11)}


def loss_of(filters: float, kernel: float, layers: float, dropout: float) -> float:
    """Kernel size matters most, and not monotonically; then the levels, the filters, the dropout."""
    return 0.1 + 0.3 / filters + 0.012 * (kernel - 3) ** 2 + 0.01 * (4 - layers) + 0.01 * dropout


def trial(tid: int, loss: float | None, values: dict[str, float], pruned: bool = False) -> TrialRecord:
    started = START + timedelta(hours=tid % 4)
    ended = started + timedelta(hours=2) if loss is not None else None
    state = "failed" if loss is None else "pruned" if pruned else "done"
    return TrialRecord(tid, state, 1, dict(values), 0, None, loss, [], "node", None, started, ended, None)


def numbered(tid: int) -> dict[str, Any]:
    """A document of any number, like one of the first six."""
    document = trial_document(tid % 6)
    return {**document, "tid": tid, "misc": {**document["misc"], "tid": tid}}


def random_trials(count: int, noise: float = 0.004, seed: int = 1) -> list[TrialRecord]:
    rng = np.random.default_rng(seed)
    tried = [{name: float(rng.choice(np.asarray(values))) for name, values in RANGES.items()} for _ in range(count)]
    return [trial(tid, loss_of(**values) + rng.normal(0, noise), values) for tid, values in enumerate(tried)]


def exact_shares() -> dict[str, float]:
    """Functional ANOVA of the ranks of the known function, by counting all of the space."""
    points = list(product(*RANGES.values()))
    ranks = rankdata([loss_of(*point) for point in points])
    shares = {}
    for n, name in enumerate(RANGES):
        means = [ranks[[point[n] == value for point in points]].mean() for value in RANGES[name]]
        shares[name] = float(np.var(means) / np.var(ranks))
    return shares


def test_importance_of_a_known_function() -> None:
    found, exact = importance(random_trials(120)), exact_shares()
    assert found is not None
    assert (
        list(found.share) == sorted(exact, key=lambda name: -exact[name]) == ["kernel", "layers", "filters", "dropout"]
    )
    for name, share in exact.items():
        assert found.share[name] == pytest.approx(share, abs=0.12)
    assert sum(found.share.values()) + found.together == pytest.approx(1)
    assert found.explained > 0.7
    assert found.trials == 120


def test_importance_survives_trials_that_diverged() -> None:
    trials = [replace(t, best=50.0 + t.tid) if t.tid % 12 == 0 else t for t in random_trials(120)]
    found = importance(trials)
    assert found is not None
    assert next(iter(found.share)) == "kernel"
    assert found.share["kernel"] > 0.5


def test_importance_of_noise_says_that_it_means_nothing() -> None:
    rng = np.random.default_rng(2)
    found = importance([replace(t, best=float(rng.normal())) for t in random_trials(60)])
    assert found is not None
    assert found.explained < 0.1


def test_importance_needs_trials_and_leaves_out_what_was_not_varied() -> None:
    assert importance(random_trials(19)) is None
    found = importance([replace(t, values={**t.values, "layers": 3.0}) for t in random_trials(30)])
    assert found is not None
    assert sorted(found.share) == ["dropout", "filters", "kernel"]
    assert importance([replace(t, values={}) for t in random_trials(30)]) is None


def lines_of(figure: Figure) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    collections = [item for item in figure.axes[0].collections if isinstance(item, LineCollection)]
    return [np.array(path.vertices) for item in collections for path in item.get_paths()]


def test_parallel_coordinates_go_through_the_values_to_the_loss() -> None:
    trials = random_trials(40)
    figure = tuning.parallel_figure([*trials, trial(40, None, {}), trial(41, 80.0, trials[0].values)])
    assert figure is not None
    lines = lines_of(figure)
    assert len(lines) == 41
    best = min(trials, key=lambda t: t.best or 1)
    assert figure.legends[0].get_texts()[0].get_text() == f"best: trial {best.tid}"
    dropouts = [t.values["dropout"] for t in trials]
    height = (best.values["dropout"] - min(dropouts)) / (max(dropouts) - min(dropouts))
    path = lines[-1]  # drawn last, above the others
    assert path[path[:, 0] == 3][0, 1] == pytest.approx(height)
    assert path[-1].tolist() == [4, 0]
    assert lines[0][-1].tolist() == [4, 1]  # the diverged trial is drawn where the scale ends
    (scale,) = figure.axes[0].child_axes
    assert scale.get_ylim() == (best.best, ceiling(np.array([*(t.best for t in trials), 80.0])))
    assert scale.get_ylim()[1] < 1


def test_parallel_coordinates_of_nothing() -> None:
    assert tuning.parallel_figure([]) is None
    assert tuning.parallel_figure([trial(0, 0.5, {"filters": 8.0})]) is None


def test_best_over_time_is_by_the_end_of_the_trials() -> None:
    trials = [trial(0, 0.5, {}), trial(3, 0.2, {}), trial(1, 0.4, {}, pruned=True), trial(2, None, {})]
    assert [(hour, t.tid) for hour, t in hours_to_loss(trials)] == [(2.0, 0), (3.0, 1), (5.0, 3)]
    figure = tuning.time_figure(trials, COLOUR)
    assert figure is not None
    done, pruned, best = (np.array(line.get_xydata()).tolist() for line in figure.axes[0].get_lines())
    assert done == [[2, 0.5], [5, 0.2]]
    assert pruned == [[3, 0.4]]
    assert best == [[2, 0.5], [3, 0.4], [5, 0.2]]
    assert figure.axes[0].get_xlabel().endswith("[h]")
    assert tuning.time_figure([replace(t, started=None) for t in trials], COLOUR) is None
    short = [replace(t, ended=t.ended and START + timedelta(minutes=t.tid + 1), started=START) for t in trials]
    in_minutes = tuning.time_figure(short, COLOUR)
    assert in_minutes is not None
    assert np.allclose(in_minutes.axes[0].get_lines()[0].get_xdata(), [1, 4])
    assert in_minutes.axes[0].get_xlabel().endswith("[min]")


def test_a_diverged_trial_does_not_hide_the_others() -> None:
    trials = random_trials(30)
    losses = np.array([t.best for t in trials])
    assert ceiling(losses) == losses.max()
    assert ceiling(np.append(losses, 1e9)) < 2 * losses.max()
    assert ceiling(np.ones(3)) == 1
    panel = trials_figure([*trials, trial(30, 1e9, trials[0].values)], 0, COLOUR).axes[0]
    assert panel.get_ylim()[1] < 1
    assert any(str(line.get_label()).startswith("above 0.") for line in panel.get_lines())


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_an_export_whose_losses_are_no_numbers_is_drawn(tmp_path: Path, loss: float) -> None:
    documents = [numbered(tid) for tid in range(30)]
    documents[0] = {**documents[0], "result": {"status": "ok", "loss": loss}, "book_time": "2025-05-01T10:00:00"}
    export = tmp_path / "trials.jsonl"
    export.write_text("".join(json.dumps(document) + "\n" for document in documents))
    written = {path.name for path in tuning.write_tuning_figures(export, tmp_path / "plots")}
    assert {"best_over_time.png", "parallel_coordinates.png", "importance.png"} <= written


def test_a_study_that_has_not_begun_has_no_plots(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no trials"):
        tuning.write_tuning_figures(tmp_path / "trials.jsonl", tmp_path / "plots")


def test_bars_are_the_shares() -> None:
    found = Importance({"kernel": 0.6, "filters": 0.3}, 0.1, 0.9, 50)
    panel = tuning.importance_figure(found, COLOUR).axes[0]
    assert [bar.get_width() for bar in panel.patches] == [0.6, 0.3, 0.1]  # type: ignore[attr-defined]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["kernel size $K$", "filters $F$", "together"]
    assert panel.get_title(loc="right").startswith("50 trials; ")
    assert panel.get_title(loc="right").endswith(": 0.90")


def test_trials_jsonl_alone_is_enough(tmp_path: Path) -> None:
    export = tmp_path / "trials.jsonl"
    export.write_text("".join(json.dumps(numbered(tid)) + "\n" for tid in range(30)))
    written = {path.name for path in tuning.write_tuning_figures(export, tmp_path / "plots", startup=5)}
    names = ("trials", "best_over_time", "parallel_coordinates", "importance")
    assert {f"{name}.{ending}" for name in names for ending in ("png", "pdf")} <= written
    with (tmp_path / "plots" / "trials.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 30
    assert {row["ended (h)"] for row in rows} == {"", "0.08333333333333333"}
    assert (tmp_path / "plots" / "importance.csv").exists()


def test_the_page_shows_them(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def note(figure: Figure, stem: Path) -> bytes:
        written.append(stem.name)
        return b""

    monkeypatch.setattr(style, "write_figure", note)
    page = write_report(replace(inputs, trials=random_trials(25)), tmp_path).read_text()
    assert written[-5:] == ["trials", "best_over_time", "parallel_coordinates", "importance", "training"]
    assert "Importance of the hyperparameters" in page
    written.clear()
    page = write_report(inputs, tmp_path).read_text()
    assert written[-4:] == ["trials", "best_over_time", "parallel_coordinates", "training"]
    assert "From 20 finished trials on" in page


def test_a_hyperparameter_that_was_not_varied_has_the_value_of_the_space(tmp_path: Path) -> None:
    export = tmp_path / "trials.jsonl"
    document = trial_document(1)
    document["misc"]["vals"]["kernel"] = [0]  # hyperopt's index of the only choice
    export.write_text(json.dumps(document))
    space = Space(kernel=IntegerRange(low=5, high=5))
    assert read_trials(export, space)[0].values["kernel"] == 5
