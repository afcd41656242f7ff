"""Calibration by region keeps its promise where that by maps does not: simulated regions whose maps are alike."""

import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.diagnostics.bands import band_of_point, band_of_samples
from hpc_massmap.diagnostics.conformal import factors, highest_level, interval, scores

REPETITIONS = 500


def regions(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray, IntArray]:
    """Truths, maps of a model, region of each: regions that are hard to predict are seldom seen along many lines."""
    hard = rng.random(n) < 0.5
    maps = np.where(hard, rng.integers(1, 4, n), rng.integers(10, 30, n))
    region = np.repeat(np.arange(n), maps)
    of_region = rng.standard_normal(n) * np.where(hard, 2.0, 1.0)
    predicted = np.exp(rng.standard_normal(len(region)))
    residual = of_region[region] + 0.3 * rng.standard_normal(len(region))
    return predicted * (1 + 0.1 * residual), predicted, region


def factor_by_maps(found: FloatArray, level: float) -> float:
    """As if all maps were exchangeable: the usual quantile of split conformal prediction."""
    place = int(np.ceil(level * (len(found) + 1))) - 1
    return float(np.sort(found)[place]) if place < len(found) else np.inf


def factor_by_loop(found: FloatArray, region: IntArray, level: float) -> float:
    """HCP's quantile, by its definition: the least score below or at which there is enough weight."""
    names = sorted(set(region.tolist()))
    for candidate in sorted(found.tolist()):
        weight = 0.0
        for name in names:
            of_region = [score for score, its in zip(found, region, strict=True) if its == name]
            weight += sum(score <= candidate for score in of_region) / len(of_region) / (len(names) + 1)
        if weight >= level - 1e-12:
            return float(candidate)
    return np.inf


def share_held(n: int, level: float) -> tuple[float, float, float]:
    """Share of the maps of new regions that are held, regions alike, by region and by maps; and its error."""
    rng = np.random.default_rng(1000 * n + int(100 * level))
    held = np.zeros((2, REPETITIONS))
    for repetition in range(REPETITIONS):
        truth, predicted, region = regions(rng, n)
        found = scores(truth, predicted, predicted, predicted)
        by_region, by_maps = factors(found, region, [level])[0], factor_by_maps(found, level)
        truth, predicted, region = regions(rng, 20)
        for k, factor in enumerate((by_region, by_maps)):
            low, high = interval(predicted, predicted, predicted, factor)
            inside = (low <= truth) & (truth <= high)
            held[k, repetition] = np.mean([inside[region == name].mean() for name in range(20)])
    return *held.mean(axis=1).tolist(), float(held[0].std() / np.sqrt(REPETITIONS))


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9, 0.95])
@pytest.mark.parametrize("n", [5, 10, 20, 50])
def test_by_region_at_least_the_promised_level_is_held_and_by_maps_it_is_not(n: int, level: float) -> None:
    by_region, by_maps, error = share_held(n, level)
    assert by_region > level - 3 * error
    if level <= highest_level(n):
        assert by_region < level + 1 / (n + 1) + 3 * error  # nor are intervals wider than they have to be
        assert by_maps < level - 3 * error
    else:
        assert by_region == 1  # infinite


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_factor_is_that_of_the_definition(n: int) -> None:
    rng = np.random.default_rng(n)
    truth, predicted, region = regions(rng, n)
    found = scores(truth, predicted, predicted, predicted).round(2)  # with ties
    levels = [0.2, 0.5, 0.68, n / (n + 1), 0.9, 0.95]
    expected = [factor_by_loop(found, region, level) for level in levels]
    np.testing.assert_array_equal(factors(found, region, levels), expected)
    assert np.isfinite(expected[3])
    assert np.isinf(factors(found, region, [n / (n + 1) + 1e-6])[0])


def test_pixels_of_a_map_share_its_weight() -> None:
    found, region = np.random.default_rng(4).standard_normal((6, 5)), np.array([0, 0, 0, 1, 2, 2])
    written_out = factor_by_loop(found.ravel(), np.repeat(region, 5), 0.6)
    assert factors(found, region, [0.6])[0] == written_out


@pytest.mark.parametrize("wrong", [0.5, 1.0, 2.0])
def test_samples_that_are_too_narrow_are_widened_and_too_wide_ones_narrowed(wrong: float) -> None:
    rng = np.random.default_rng(6)
    region = np.repeat(np.arange(100), 5)
    sigma = np.exp(rng.standard_normal(500))
    band = band_of_samples(np.sort(wrong * sigma * rng.standard_normal((99, 500)), axis=0), [0.68])
    truth, new = sigma * rng.standard_normal((2, 500))
    factor = factors(scores(truth, band.low[0], band.high[0], band.scale[0]), region, [0.68])[0]
    assert factor == pytest.approx(1 / wrong - 1, abs=0.25 / wrong)
    low, high = interval(band.low[0], band.high[0], band.scale[0], factor)
    assert np.mean((low <= new) & (new <= high)) == pytest.approx(0.68, abs=0.07)


def test_an_interval_holds_the_truths_whose_score_is_at_most_the_factor() -> None:
    rng = np.random.default_rng(8)
    low, truth, scale = rng.standard_normal((3, 1000))
    high, scale = low + rng.random(1000), np.abs(scale)
    for factor in (-0.1, 0.0, 0.7):
        bounds = interval(low, high, scale, factor)
        inside = (bounds[0] <= truth) & (truth <= bounds[1])
        np.testing.assert_array_equal(inside, scores(truth, low, high, scale) <= factor)


def test_without_a_scale_a_truth_is_held_or_it_never_is() -> None:
    zero = np.zeros(2)
    np.testing.assert_array_equal(scores(np.array([0.0, 1.0]), zero, zero, zero), [-1, np.inf])
    band = band_of_point(zero, zero)
    assert interval(band.low[0], band.high[0], band.scale[0], np.inf)[1].tolist() == [np.inf, np.inf]
