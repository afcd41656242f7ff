import numpy as np
import pytest

from hpc_massmap.diagnostics.pit import BINS, histogram, pit, pit_of_quantiles
from hpc_massmap.diagnostics.tarp import tarp_fraction


def test_pit_by_hand() -> None:
    samples = np.array([[1.0], [2.0], [2.0], [4.0]])
    found = [float(pit(np.array([y]), samples, np.array([0.5]))[0]) for y in (0.0, 2.0, 3.0, 9.0)]
    np.testing.assert_allclose(found, [0.1, 0.5, 0.7, 0.9])


@pytest.mark.parametrize("decimals", [0, 9])
def test_pits_of_right_samples_are_even_also_with_ties(decimals: int) -> None:
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal((8, 100_000)).round(decimals)
    counts = np.histogram(pit(drawn[0], drawn[1:], rng.random(100_000)), BINS, (0, 1))[0]
    assert np.abs(counts / 5000 - 1).max() < 4 / np.sqrt(5000)


@pytest.mark.parametrize("decimals", [0, 9])
def test_pits_of_right_quantiles_are_even(decimals: int) -> None:
    rng, levels = np.random.default_rng(2), [0.05, 0.16, 0.5, 0.84, 0.95]
    many = rng.standard_normal(400_001).round(decimals)
    quantiles = np.broadcast_to(np.quantile(many, levels)[:, None], (5, 100_000))
    values = pit_of_quantiles(many[:100_000], quantiles, levels, rng.random(100_000))
    assert values.min() >= 0
    assert values.max() <= 1
    if decimals:
        assert np.abs(np.histogram(values, BINS, (0, 1))[0] / 5000 - 1).max() < 0.06


def test_each_map_has_its_own_histogram() -> None:
    values = np.array([[0.0, 0.049, 0.5, 1.0], [0.2, 0.2, 0.2, 0.2]])
    found = histogram(values)
    np.testing.assert_array_equal(found.mean(axis=1), 1)
    assert found[0, [0, 10, 19]].tolist() == [10, 5, 5]
    assert histogram(np.empty((0, 4))).shape == (0, BINS)


def test_tarp_fraction_is_that_of_the_loop() -> None:
    rng = np.random.default_rng(3)
    truth, samples, reference = rng.random((6, 9)), rng.random((6, 7, 9)), rng.random((6, 9))
    samples[2, 4] = truth[2]
    uniform = rng.random(6)
    found = tarp_fraction(truth, samples, reference, uniform)
    for n in range(6):
        distance = [np.linalg.norm(one - reference[n]) for one in samples[n]]
        own = np.linalg.norm(truth[n] - reference[n])
        nearer, equal = sum(d < own - 1e-12 for d in distance), sum(abs(d - own) < 1e-12 for d in distance)
        assert found[n] == pytest.approx((nearer + uniform[n] * (equal + 1)) / 8)
