"""Whether intervals hold their level: the truth is known, and maps of a region are alike, as in a simulation."""

import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.diagnostics.bootstrap import ONE_SIGMA, half_width, percentile_errors, resample
from hpc_massmap.metrics.spread import UNKNOWN, Spread, spread

REPETITIONS = 600
LEVELS = (ONE_SIGMA, 0.95)
TOLERANCE = {ONE_SIGMA: 0.06, 0.95: 0.027}  # three standard deviations of a share of 600


def samples(n_regions: int, seed: int) -> list[tuple[FloatArray, IntArray]]:
    """Values whose median is 0 and the region of each: 4 to 16 maps a region, about a mean as wide as they scatter."""
    rng, found = np.random.default_rng(seed), list[tuple[FloatArray, IntArray]]()
    for _ in range(REPETITIONS):
        region = np.repeat(np.arange(n_regions), rng.integers(4, 17, n_regions))
        found.append((rng.standard_normal(n_regions)[region] + rng.standard_normal(len(region)), region))
    return found


def coverage(n_regions: int, level: float, percentile: float = 50.0, truth: float = 0.0, plain: bool = False) -> float:
    """Share of intervals that hold the truth; `plain` ones are of the bootstrap's scatter alone, as if normal."""
    inside = 0
    for values, region in samples(n_regions, seed=n_regions):
        error = percentile_errors(values, resample(region), (percentile,))
        if plain:
            normal = {ONE_SIGMA: 1.0, 0.95: 1.96}[level]
            reach = normal * error[0] * np.sqrt((n_regions - 1) / n_regions)
        else:
            reach = half_width(error, n_regions, level)[0]
        inside += abs(np.percentile(values, percentile) - truth) < reach
    return inside / REPETITIONS


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_regions", [2, 3, 4, 8, 32])
def test_intervals_of_the_median_hold_their_level(n_regions: int, level: float) -> None:
    assert coverage(n_regions, level) == pytest.approx(level, abs=TOLERANCE[level])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_regions", [2, 3, 4])
def test_the_plain_scatter_of_the_draws_is_found_out(n_regions: int, level: float) -> None:
    assert coverage(n_regions, level, plain=True) < level - TOLERANCE[level]


def test_of_a_few_regions_no_interval_of_the_84th_percentile_would_hold() -> None:
    """Which is why none is given."""
    truth = np.sqrt(2) * 0.99446  # of the sum of two normal numbers
    assert coverage(4, ONE_SIGMA, 84.0, truth) < ONE_SIGMA - TOLERANCE[ONE_SIGMA]


@pytest.mark.parametrize("n_regions", [1, 2, 3])
def test_the_error_that_is_shown_is_of_the_regions_of_those_maps(n_regions: int) -> None:
    values, region = samples(4, seed=1)[0]
    chosen = region < n_regions
    found: Spread = spread(values[chosen], resample(region).of(chosen))
    assert found.regions == n_regions
    assert found.text().endswith(f", n = {n_regions})")
    assert (f"± {UNKNOWN}" in found.text()) == (n_regions < 3) == bool(np.isnan(found.error))
    if n_regions == 3:
        alone = percentile_errors(values[chosen], resample(region[chosen]), (50.0,))
        assert float(found.error) == half_width(alone, 3)[0] == pytest.approx(1.321 * alone[0], rel=1e-3)
