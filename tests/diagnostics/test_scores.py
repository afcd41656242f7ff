"""Scores against their closed forms and against the sums that they are, written out."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import norm

from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.crps import crps, crps_of_normal, crps_of_quantiles
from hpc_massmap.diagnostics.interval_score import expected_score_of_normal, interval_score


def crps_by_pairs(y: float, x: FloatArray) -> float:
    s, total = len(x), 0.0
    for a in x:
        for b in x:
            total += abs(a - b)
    return float(np.mean([abs(a - y) for a in x])) - total / (2 * s * (s - 1))


def test_crps_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    truth, samples = rng.standard_normal((3, 4)), rng.standard_normal((9, 3, 4)).round(1)  # with ties
    found = crps(truth, samples)
    for n, k in np.ndindex(3, 4):
        assert found[n, k] == pytest.approx(crps_by_pairs(float(truth[n, k]), samples[:, n, k]), abs=1e-12)
    np.testing.assert_array_equal(crps(truth[1:2], samples[:, 1:2])[0], found[1])
    np.testing.assert_array_equal(crps(truth, np.sort(samples, axis=0), is_sorted=True), found)


@pytest.mark.parametrize("s", [2, 5, 40])
def test_the_fair_crps_does_not_depend_on_how_many_samples_there_are(s: int) -> None:
    rng = np.random.default_rng(s)
    truth, samples = rng.standard_normal(40_000), 0.3 + 1.2 * rng.standard_normal((s, 40_000))
    expected = crps_of_normal(truth, np.array(0.3), np.array(1.2)).mean()
    found = crps(truth, samples)
    error = (found - crps_of_normal(truth, np.array(0.3), np.array(1.2))).std() / 200
    assert found.mean() == pytest.approx(expected, abs=4 * error)
    biased = expected + 1.2 / np.sqrt(np.pi) / s  # of the estimator with 1/s^2
    assert s > 5 or abs(found.mean() - biased) > 4 * error


def test_crps_of_a_normal_is_its_integral() -> None:
    """The squared distance between its distribution function and the truth's step."""
    x = np.linspace(-15, 15, 300_001)
    for y, mean, sigma in ((0.4, 0.0, 1.0), (3.0, 0.5, 0.7)):
        squared = (norm.cdf(x, mean, sigma) - (x >= y)) ** 2
        assert float(crps_of_normal(np.array(y), np.array(mean), np.array(sigma))) == pytest.approx(
            float(np.trapezoid(squared, x)), rel=1e-3
        )


def test_crps_of_many_quantiles_is_that_of_their_distribution() -> None:
    levels = (np.arange(99) + 0.5) / 99
    truth = np.array([-2.0, 0.0, 0.7, 5.0])
    found = crps_of_quantiles(truth, np.broadcast_to(ndtri(levels)[:, None], (99, 4)))
    np.testing.assert_allclose(found, crps_of_normal(truth, np.zeros(4), np.ones(4)), rtol=1e-3)


def test_one_sample_has_no_crps() -> None:
    assert np.isnan(crps(np.zeros(3), np.zeros((1, 3)))).all()


def test_the_interval_score_by_hand() -> None:
    found = interval_score(np.array([0.0, 2.0, -1.0, 0.0]), np.zeros(4), np.array([1.0, 1.0, 1.0, np.inf]), 0.9)
    np.testing.assert_allclose(found, [1.0, 21.0, 21.0, np.nan])


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9, 0.95])
def test_the_interval_score_of_a_normal_is_its_closed_form(level: float) -> None:
    truth = np.random.default_rng(2).standard_normal(400_000)
    for factor in (0.8, 1.0, 1.3):
        z = factor * float(ndtri((1 + level) / 2))
        found = interval_score(truth, np.full(truth.shape, -z), np.full(truth.shape, z), level)
        expected = expected_score_of_normal(level, factor)
        assert found.mean() == pytest.approx(expected, abs=4 * found.std() / np.sqrt(len(truth)))
        assert expected >= expected_score_of_normal(level)  # only the right width is best
