"""Means by region: against draws written out, and whether their errors hold in simulation."""

import numpy as np
import pytest

from hpc_massmap.diagnostics.bootstrap import half_width, resample
from hpc_massmap.diagnostics.estimate import mean_of, ratio_of, share_of


def test_a_mean_and_its_error_are_those_of_the_draws_written_out() -> None:
    rng = np.random.default_rng(1)
    region = rng.choice(["a", "b", "c", "d", "e"], 40)
    values, counts = rng.standard_normal((40, 2)), rng.integers(1, 9, (40, 2)).astype(float)
    values[3, 1] = np.nan
    found = mean_of(values, region, counts)
    for k, known in enumerate((np.ones(40, bool), ~np.isnan(values[:, 1]))):
        draws = resample(region[known])
        drawn = []
        for weights in draws.weights:
            rows = np.repeat(np.flatnonzero(known), weights[draws.region])
            drawn.append(np.average(values[rows, k], weights=counts[rows, k]))
        error = half_width(np.array(np.std(drawn, ddof=1) * np.sqrt(5 / 4)), 5)
        assert found.value[k] == pytest.approx(np.average(values[known, k], weights=counts[known, k]))
        assert found.error[k] == pytest.approx(float(error))
    assert found.regions.tolist() == [5, 5]


def test_errors_of_shares_hold_by_region() -> None:
    """Maps of a region are alike, so that an error by maps would be far too small."""
    rng, inside, too_small = np.random.default_rng(2), 0, 0
    for _ in range(300):
        region = np.repeat(np.arange(12), 20)
        share = rng.beta(2, 1, 12)[region]
        held = (rng.random(240) < share).astype(float)
        found = share_of(held, region)
        inside += bool(abs(found.value - 2 / 3) < found.error)
        too_small += bool(abs(held.mean() - 2 / 3) < np.sqrt(2 / 9 / 240))
    assert inside / 300 == pytest.approx(0.68, abs=0.09)
    assert too_small / 300 < 0.5


def test_where_all_regions_agree_an_error_stays() -> None:
    found = share_of(np.ones(8), np.repeat(["a", "b", "c", "d"], 2))
    assert [float(found.value), float(found.error), int(found.regions)] == [1, 0.2, 4]
    assert found.text() == "1.000 ± 0.200, n = 4"


def test_too_few_regions_have_no_error_and_no_maps_no_number() -> None:
    assert mean_of(np.ones(4), np.array(["a", "a", "b", "b"])).text() == "1.000 ± unknown, n = 2"
    assert mean_of(np.full(4, np.nan), np.arange(4)).text() == "none"
    assert mean_of(np.empty((0, 3)), np.empty(0, int)).value.shape == (3,)


def test_a_ratio_leaves_out_maps_that_lack_either() -> None:
    above, below = np.array([1.0, 2.0, np.nan, 5.0]), np.array([2.0, 2.0, 9.0, np.nan])
    assert ratio_of(above, below, np.arange(4)).value == 0.75
