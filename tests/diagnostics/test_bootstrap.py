import numpy as np
import pytest

from hpc_massmap.diagnostics.bootstrap import (
    DRAWS,
    Resampling,
    binned_percentile_errors,
    binned_percentiles,
    percentile_errors,
    resample,
)

PERCENTILES = (16.0, 50.0, 84.0)


def errors_by_repetition(values: np.ndarray, draws: Resampling) -> np.ndarray:
    """Every draw written out: a region drawn twice is there twice with all its maps."""
    n = draws.n_regions
    drawn = []
    for weights in draws.weights:
        sample = np.repeat(values, weights[draws.region])
        drawn.append(np.percentile(sample, PERCENTILES))
    return np.asarray(np.std(drawn, axis=0, ddof=1) * np.sqrt(n / (n - 1)))


@pytest.mark.parametrize("ties", [False, True])
def test_errors_are_those_of_the_draws_written_out(ties: bool) -> None:
    rng = np.random.default_rng(1)
    regions = rng.choice(["a", "b", "c", "d", "e"], 60)
    values = rng.integers(0, 6, 60).astype(float) if ties else rng.standard_normal(60)
    draws = resample(regions)
    np.testing.assert_allclose(
        percentile_errors(values, draws, PERCENTILES), errors_by_repetition(values, draws), rtol=1e-10, atol=1e-15
    )
    few = draws.of(np.isin(regions, ["a", "b"]))
    assert few.n_regions == 2
    chosen = values[np.isin(regions, ["a", "b"])]
    np.testing.assert_allclose(
        percentile_errors(chosen, few, PERCENTILES), errors_by_repetition(chosen, few), rtol=1e-10, atol=1e-15
    )


def test_maps_of_one_region_are_no_new_measurements() -> None:
    rng = np.random.default_rng(2)
    of_region = rng.standard_normal(100)
    regions = np.repeat(np.arange(100), 29)
    error = percentile_errors(np.repeat(of_region, 29), resample(regions), (50.0,))[0]
    alone = percentile_errors(of_region, resample(np.arange(100)), (50.0,))[0]
    assert error == pytest.approx(alone, rel=0.05)
    as_if_independent = percentile_errors(np.repeat(of_region, 29), resample(np.arange(2900)), (50.0,))[0]
    assert error > 2 * as_if_independent
    assert error == pytest.approx(np.sqrt(np.pi / 2 / 100), rel=0.3)  # of the median of 100 normal numbers


def test_draws_depend_on_the_number_of_regions_only() -> None:
    draws = resample(np.array(["b", "a", "b", "c"]))
    assert draws.region.tolist() == [1, 0, 1, 2]
    assert draws.weights.shape == (DRAWS, 3)
    assert (draws.weights.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(resample(np.array([7, 8, 9])).weights, draws.weights)


def test_one_region_has_no_error() -> None:
    draws = resample(np.array(["a", "a", "b"]))
    one = draws.of(np.array([True, True, False]))
    assert np.isnan(percentile_errors(np.array([1.0, 2.0]), one, PERCENTILES)).all()
    assert np.isnan(binned_percentile_errors(np.array([[1, 2], [3, 4]]), np.arange(3.0), one, PERCENTILES)).all()


def test_binned_errors_are_near_those_of_the_pixels() -> None:
    rng = np.random.default_rng(3)
    regions = np.repeat(np.arange(20), 3)
    pixels = rng.normal(rng.normal(0, 0.3, 20)[np.arange(20).repeat(3), None], 1, (60, 500))
    edges = np.quantile(pixels, np.linspace(0, 1, 257))
    counts = np.stack([np.histogram(of_map, edges)[0] for of_map in pixels])
    draws = resample(regions)
    exact = percentile_errors(pixels.ravel(), resample(np.repeat(regions, 500)), PERCENTILES)
    found = binned_percentile_errors(counts, edges, draws, PERCENTILES)
    np.testing.assert_allclose(found, exact, rtol=0.01)
    np.testing.assert_allclose(
        binned_percentiles(counts.sum(axis=0), edges, PERCENTILES), np.percentile(pixels, PERCENTILES), atol=1e-3
    )


def test_members_of_a_bin_are_evenly_spread() -> None:
    found = binned_percentiles(np.array([2, 0, 2]), np.array([0.0, 1.0, 5.0, 6.0]), (25.0, 75.0))
    np.testing.assert_allclose(found, [0.5, 5.5])
    assert np.isnan(binned_percentiles(np.array([0, 0]), np.arange(3.0), PERCENTILES)).all()
