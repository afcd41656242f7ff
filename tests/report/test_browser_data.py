"""Which test maps the browser has, and that its bytes give them back."""

from dataclasses import replace

import numpy as np
import pytest

from hpc_massmap.arrays import PIXELS
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics, TargetMetrics
from hpc_massmap.report import browser
from hpc_massmap.report.inputs import Inputs

from .unpacked import unpacked

pytestmark = pytest.mark.xdist_group("report")  # one worker writes the report for all of these


def repeated(metrics: Metrics, times: int) -> Metrics:
    """The same maps several times, of other halos after every fifth, with made-up errors."""
    maps = {name: np.concatenate([column] * times) for name, column in metrics.maps.items()}
    n_halos = metrics.maps["halo"].max() + 1
    maps["halo"] = np.concatenate([metrics.maps["halo"] + n // 5 * n_halos for n in range(times)])
    of = metrics.targets["mass"]
    rng = np.random.default_rng(0)
    bias = rng.normal(size=(len(metrics) * times, of[Profiles].bias.shape[1]))
    return replace(metrics, maps=maps, targets={"mass": TargetMetrics([replace(of[Profiles], bias=bias)])})


def test_all_maps_are_shown_if_they_fit(inputs: Inputs) -> None:
    n = len(inputs.metrics)
    assert np.array_equal(browser.chosen_maps(inputs.metrics, "mass", n), np.arange(n))
    assert browser.rule_of_choice(n, n) == f"All {n} test maps are here."


def test_chosen_maps_are_the_worst_and_a_fair_part_of_halos(inputs: Inputs) -> None:
    metrics = repeated(inputs.metrics, 20)
    error = np.abs(metrics.targets["mass"][Profiles].bias[:, -1])
    chosen = browser.chosen_maps(metrics, "mass", 240)
    assert 200 <= len(chosen) <= 240
    assert set(np.argsort(-error)[: browser.WORST]) <= set(chosen)
    others = np.setdiff1d(chosen, np.argsort(-error)[: browser.WORST])
    mass = metrics.log_m200
    assert np.abs(np.percentile(mass[others], [0, 50, 100]) - np.percentile(mass, [0, 50, 100])).max() < 0.05
    for halo in np.unique(metrics.maps["halo"][others]):
        of_halo = error[metrics.maps["halo"] == halo]
        shown = error[chosen[metrics.maps["halo"][chosen] == halo]]
        assert {of_halo.min(), of_halo.max()} <= set(shown)
    assert f"{len(chosen)} of the {len(metrics)}" in browser.rule_of_choice(len(chosen), len(metrics))


def test_a_map_without_an_error_does_no_harm(inputs: Inputs) -> None:
    metrics = repeated(inputs.metrics, 2)
    metrics.targets["mass"][Profiles].bias[5, -1] = np.nan
    assert 5 not in browser.chosen_maps(metrics, "mass", 20)[: browser.WORST // 2]


def test_bytes_give_back_the_maps(inputs: Inputs) -> None:
    data = browser.browser_data([inputs], "mass", 1000)
    titles = [panel["title"] for panel in data["panels"]]
    assert titles == ["stars", "SZ", "X-ray", "total mass: truth", "prediction", "residual"]
    predicted, true = inputs.predictions.block("mass", slice(7, 8))
    truth, prediction, residual = data["panels"][-3:]
    assert (truth["low"], truth["high"]) == (prediction["low"], prediction["high"])
    for panel, values in ((truth, true[0]), (prediction, predicted[0])):
        shown = panel["low"] * (panel["high"] / panel["low"]) ** (unpacked(panel["images"][7]) / browser.LEVELS)
        inside = np.clip(values, panel["low"], panel["high"])
        step = (panel["high"] / panel["low"]) ** (0.5 / browser.LEVELS)
        assert np.all((shown <= inside * step * 1.001) & (shown >= inside / step / 1.001))
    shown = residual["low"] + unpacked(residual["images"][7]) / browser.LEVELS * (residual["high"] - residual["low"])
    inside = np.clip(predicted[0] - true[0], residual["low"], residual["high"])
    assert np.abs(shown - inside).max() <= residual["high"] / browser.LEVELS * 1.001
    assert residual["low"] == -residual["high"]


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_maps_of_one_value_have_a_scale(value: float) -> None:
    panel = browser._log_panel("flat", np.full((2, PIXELS, PIXELS), value), "mass", "1")
    assert np.all(unpacked(panel["images"][1]) == 0)
    assert panel["low"] > 0
