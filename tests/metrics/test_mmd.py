"""The tolerance on MMD^2 is absolute: it is a difference of mean kernels, each at most 1 for every scale."""

from itertools import combinations

import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.gridsums import gaussian_sums
from hpc_massmap.metrics.kernelsums import Boxes, exponential_sum, gaussian_sum
from hpc_massmap.metrics.mmd import Kernel, calibration_maps, mean_distance, median_distance, mmd_squared

from .made_up import cluster, prediction

SCALES = [0.25, 0.5, 1.0, 2.0, 4.0]
KERNELS: list[Kernel] = ["gaussian", "printed"]


def kernel_value(distance: FloatArray, sigma: float, kernel: Kernel) -> FloatArray:
    return np.asarray(np.exp(-(distance if kernel == "printed" else distance**2) / (2 * sigma**2)))


def direct_sum(x: FloatArray, y: FloatArray, sigma: float, kernel: Kernel) -> float:
    return float(sum(kernel_value(np.abs(value - y), sigma, kernel).sum() for value in x.tolist()))


def direct_mmd_squared(truth: FloatArray, other: FloatArray, unit: float, kernel: Kernel) -> float:
    """Eq. 14, leaving out the pairs of a value with itself one by one."""
    x, y, m = truth.ravel() / unit, other.ravel() / unit, truth.size
    total = 0.0
    for sigma in SCALES:
        for sample in (x, y):
            for i, value in enumerate(sample.tolist()):
                total += kernel_value(np.abs(value - np.delete(sample, i)), sigma, kernel).sum() / (m * (m - 1))
        total -= 2 * direct_sum(x, y, sigma, kernel) / m**2
    return total


def unbiased_by_sums(x: FloatArray, y: FloatArray, sigma: float) -> float:
    """Eq. 14 from all pairs, of which m within a sample pair a value with itself."""
    m = len(x)
    within = direct_sum(x, x, sigma, "gaussian") + direct_sum(y, y, sigma, "gaussian") - 2 * m
    return within / (m * (m - 1)) - 2 * direct_sum(x, y, sigma, "gaussian") / m**2


def median_by_loop(values: FloatArray) -> float:
    return float(np.median([abs(a - b) for a, b in combinations(values.ravel().tolist(), 2)]))


def degenerate_pairs() -> dict[str, tuple[FloatArray, FloatArray]]:
    rng = np.random.default_rng(8)
    truth = cluster(rng)[::4, ::4].astype(np.float64)
    close = prediction(truth, rng).astype(np.float64)
    half_zero, one_bright = np.where(rng.random(truth.shape) < 0.8, 0, truth), np.full_like(truth, 3.0)
    one_bright[5, 7] = 1e6
    return {
        "ordinary": (truth, close),
        "equal": (truth, truth),
        "mostly zero": (half_zero, close),
        "prediction constant": (truth, np.full_like(truth, truth.mean())),
        "one bright pixel": (one_bright, one_bright + 1),
        "diverged": (truth, np.float32(1e38) * rng.standard_normal(truth.shape)),
        "diverged to one value": (truth, np.where(close > np.median(close), np.float32(1e38), close)),
        "far from zero": (truth + 1e19, close + 1e19),
    }


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", degenerate_pairs())
def test_mmd_is_that_of_the_direct_sums(name: str, kernel: Kernel) -> None:
    truth, other = degenerate_pairs()[name]
    origin = np.median(truth)
    unit = median_by_loop(truth)
    if name in ("mostly zero", "one bright pixel"):
        assert unit == 0
        unit = float(np.mean([abs(a - b) for a, b in combinations(truth.ravel().tolist(), 2)]))
    found = mmd_squared(truth, [other, truth], SCALES, kernel)
    assert found[0] == pytest.approx(direct_mmd_squared(truth - origin, other - origin, unit, kernel), abs=1e-11)
    assert found[1] == pytest.approx(direct_mmd_squared(truth - origin, truth - origin, unit, kernel), abs=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_sums_over_whole_maps_are_those_of_all_pairs(kernel: Kernel) -> None:
    rng = np.random.default_rng(9)
    truth = cluster(rng).astype(np.float64)
    unit = median_distance(np.sort(truth, axis=None))
    x, y = (np.sort(maps, axis=None) / unit for maps in (truth, calibration_maps(truth, [0.05], 1)[0]))
    for sigma in SCALES:
        expected = direct_sum(x, y, sigma, kernel)
        if kernel == "gaussian":
            found = gaussian_sum(Boxes(x, sigma), Boxes(y, sigma))
        else:
            found = exponential_sum(x, y, 2 * sigma**2)
        assert found == pytest.approx(expected, rel=1e-10)
        assert abs(found - expected) < 1e-12 * len(x) * len(y)


def test_mmd_of_whole_maps_is_eq_14_to_1e_8() -> None:
    rng = np.random.default_rng(14)
    truth = cluster(rng).astype(np.float64)
    other = prediction(truth, rng).astype(np.float64)
    unit = median_distance(np.sort(truth, axis=None))
    found = mmd_squared(truth, [other], [0.25, 4.0], "gaussian")[0]
    expected = sum(unbiased_by_sums(truth.ravel() / unit, other.ravel() / unit, sigma) for sigma in (0.25, 4.0))
    assert found == pytest.approx(expected, rel=1e-8, abs=0)


@pytest.mark.parametrize("spread", [0.0, 0.3, 30.0, 2000.0])
@pytest.mark.parametrize("distance", [0.0, 0.2, 1.0, 3.0, 5.0, 5.7, 6.3, 8.0, 40.0])
def test_sums_through_a_grid_are_those_of_all_pairs(distance: float, spread: float) -> None:
    rng = np.random.default_rng(15)
    x = rng.uniform(0, spread, 40)
    y = x + rng.choice([-distance, distance], 40)
    sigmas = np.array([1.0, 0.3, 2.5])
    found = gaussian_sums(x, [y, x + 0.1], sigmas)
    assert found is not None
    assert found.shape == (2, 3, 3)
    for n, other in enumerate((y, x + 0.1)):
        for s, sigma in enumerate(sigmas.tolist()):
            expected = [direct_sum(u, v, sigma, "gaussian") for u, v in ((x, x), (x, other), (other, other))]
            np.testing.assert_allclose(found[n, s], expected, rtol=0, atol=1e-13 * 40 * 40)


def test_far_spread_samples_need_no_grid() -> None:
    x = np.linspace(0, 1e7, 50)
    assert gaussian_sums(x, [x], np.array([1.0])) is None
    near = np.concatenate([x[:-1], [1.5]])
    unit = median_distance(np.sort(near))
    found = mmd_squared(near, [x], [1e-6], "gaussian")[0]  # of the heuristic: the width is a few units
    assert found == pytest.approx(unbiased_by_sums(near / unit, x / unit, 1e-6), abs=1e-11)
    assert direct_sum(near / unit, near / unit, 1e-6, "gaussian") > 50.1


@pytest.mark.parametrize("distance", [0.0, 0.2, 1.0, 3.0, 5.0, 5.7, 6.3, 8.0])
def test_gaussian_sums_at_every_distance(distance: float) -> None:
    rng = np.random.default_rng(13)
    x = np.sort(rng.uniform(0, 0.7, 60))
    y = np.sort(rng.uniform(0, 0.7, 60)) + distance * np.sqrt(2)  # in units of sigma
    found = gaussian_sum(Boxes(x, 1.0), Boxes(y, 1.0)), gaussian_sum(Boxes(y, 1.0), Boxes(x, 1.0))
    np.testing.assert_allclose(found, direct_sum(x, y, 1.0, "gaussian"), rtol=0, atol=1e-14 * 60 * 60)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_constant_truth_compares_by_equality(kernel: Kernel) -> None:
    truth = np.full((4, 4), 2.0)
    half = np.where(np.arange(16).reshape(4, 4) < 8, 2.0, 3.0)
    found = mmd_squared(truth, [truth, truth + 1, half], SCALES, kernel)
    # all within equal, half of the pairs between, and 2 x 8 x 7 of 16 x 15 within the other
    np.testing.assert_allclose(found, len(SCALES) * np.array([0.0, 2.0, 1 - 2 * 0.5 + 112 / 240]), atol=1e-15)


@pytest.mark.parametrize("m", [2, 3, 4, 50, 51, 81])
def test_median_distance_is_that_of_all_pairs(m: int) -> None:
    rng = np.random.default_rng(m)
    with_gap = np.append(rng.standard_normal(m - 1), 1e30)
    mostly_zero = np.where(rng.random(m) < 0.7, 0, rng.lognormal(size=m))
    integers = rng.integers(0, 4, m).astype(float)
    for values in (rng.lognormal(0, 2, m), integers, np.zeros(m), with_gap, mostly_zero, integers * 1e-310):
        assert median_distance(np.sort(values)) == median_by_loop(values)
        distances = [abs(a - b) for a, b in combinations(values.tolist(), 2)]
        assert mean_distance(np.sort(values)) == pytest.approx(np.mean(distances), rel=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_units_and_places_of_pixels_do_not_matter(kernel: Kernel) -> None:
    rng = np.random.default_rng(10)
    truth = cluster(rng).astype(np.float64)
    other = prediction(truth, rng).astype(np.float64)
    found = mmd_squared(truth, [other], SCALES, kernel)
    shuffled = rng.permutation(other.ravel()).reshape(80, 80)
    np.testing.assert_allclose(mmd_squared(truth, [shuffled], SCALES, kernel), found, rtol=0, atol=1e-14)
    np.testing.assert_allclose(mmd_squared(truth * 1e-9, [other * 1e-9], SCALES, kernel), found, atol=1e-11)


def test_calibration_noise_is_of_eq_16_and_depends_on_the_row_only() -> None:
    truth = cluster(np.random.default_rng(11)).astype(np.float64)
    noise = [0.05, 0.3]
    maps = calibration_maps(truth, noise, row=5)
    for alpha, noisy in zip(noise, maps, strict=True):
        assert np.std(noisy - truth) == pytest.approx(alpha * truth.max(), rel=0.03)
        assert abs(np.mean(noisy - truth)) < 0.04 * alpha * truth.max()
    np.testing.assert_array_equal(calibration_maps(truth, noise, row=5), maps)
    assert not np.array_equal(calibration_maps(truth, noise, row=6), maps)
    assert abs(np.corrcoef((maps[0] - truth).ravel(), (maps[1] - truth).ravel())[0, 1]) < 0.05
