from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.pixels import (
    APERTURES,
    BINS,
    FirstPass,
    PixelStatistics,
    SecondPass,
    differences_by_aperture,
    from_sortable,
    inside_apertures,
    sortable,
    statistics,
)
from hpc_massmap.metrics.relative import relative_difference

from .made_up import cluster, prediction

Values = npt.NDArray[np.float32]


def selected(parts: list[list[Values]]) -> dict[str, PixelStatistics]:
    """Both passes over parts that may be on different ranks."""
    firsts = [FirstPass.empty() for _ in parts]
    for first, part in zip(firsts, parts, strict=True):
        first.add(part)
    total = FirstPass(np.sum([f.upper for f in firsts], axis=0), np.sum([f.drawn for f in firsts], axis=0))
    seconds = [SecondPass.after(total.upper) for _ in parts]
    counts = np.stack([second.add(part) for second, part in zip(seconds, parts, strict=True)])
    lower = np.sum([second.lower for second in seconds], axis=0)
    return statistics(total, seconds[0].order_statistics(lower), seconds[0].bins, counts)


def difference_by_loop(predicted: FloatArray, true: FloatArray) -> list[float]:
    kept = []
    for p, t in zip(predicted.ravel().tolist(), true.ravel().tolist(), strict=True):
        if t != 0:
            kept.append((p - t) / t)
        elif p == 0:
            kept.append(0.0)
    return kept


def test_relative_difference_keeps_zero_over_zero_and_drops_the_rest() -> None:
    true = np.array([2.0, 0.0, 0.0, 4.0, -2.0])
    predicted = np.array([3.0, 0.0, 1.0, 1.0, -1.0])
    np.testing.assert_array_equal(relative_difference(predicted, true), [0.5, 0.0, np.nan, -0.75, -0.5])


def test_apertures_hold_the_pixels_whose_centre_is_inside() -> None:
    r200, r500 = np.array([1000.0, 2000.0]), np.array([650.0, 1100.0])
    inside = inside_apertures(r200, r500)
    for n, i, j in np.ndindex(2, 80, 80):
        radius = np.hypot(i - 39.5, j - 39.5) * r200[n] / 40
        assert inside["whole"][n, i, j]
        assert inside["r500"][n, i, j] == (radius <= r500[n])
        assert inside["half_r500"][n, i, j] == (radius <= r500[n] / 2)


def test_statistics_are_those_of_all_pixels_together() -> None:
    rng = np.random.default_rng(1)
    true = np.stack([cluster(rng) for _ in range(5)]).astype(np.float64)
    predicted = np.stack([prediction(t, rng) for t in true]).astype(np.float64)
    r200 = np.linspace(800, 1500, 5)
    r500 = 0.6 * r200
    blocks = [slice(0, 2), slice(2, 2), slice(2, 5)]
    result = selected([differences_by_aperture(predicted[b], true[b], r200[b], r500[b]) for b in blocks])
    for name, inside in inside_apertures(r200, r500).items():
        expected = difference_by_loop(predicted[inside], true[inside])
        rounded = np.array(expected, np.float32).astype(np.float64)
        found = result[name]
        assert found.count == len(expected)
        assert [found.p16, found.median, found.p84] == np.percentile(rounded, [16, 50, 84]).tolist()
        np.testing.assert_allclose([found.p16, found.p84], np.percentile(expected, [16, 84]), rtol=1e-6)
        counts, edges = np.histogram(rounded, np.linspace(-1, 2, 301))
        np.testing.assert_allclose(found.edges, edges)
        np.testing.assert_allclose(found.density, counts / len(expected) / 0.01, rtol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 26, 101, 5000])
@pytest.mark.parametrize("kind", ["normal", "tied", "tiny", "wide"])
def test_percentiles_are_numpys_to_the_last_bit(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    values = {
        "normal": rng.standard_normal(n),
        "tied": rng.integers(-1, 2, n) * 0.0 + rng.integers(-1, 2, n),
        "tiny": rng.standard_normal(n) * 1e-42,  # subnormal
        "wide": rng.standard_normal(n) * 10.0 ** rng.integers(-30, 30, n),
    }[kind].astype(np.float32)
    result = selected([[part] * 3 for part in np.array_split(values, 3)])
    for name in APERTURES:
        found = result[name]
        expected = np.percentile(values.astype(np.float64), [16, 50, 84])
        assert [found.p16, found.median, found.p84] == expected.tolist()


def test_an_aperture_without_pixels_has_no_percentiles() -> None:
    found = selected([[np.array([], np.float32)] * 3])["r500"]
    assert found.count == 0
    assert np.isnan([found.median, found.p16, found.p84]).all()
    assert (found.density == 0).all()


def test_what_lies_outside_the_drawn_range_counts_in_the_norm() -> None:
    values = np.array([-3.0, 0.1, 0.2, 5.0], np.float32)
    found = selected([[values] * 3])["whole"]
    assert np.sum(found.density * np.diff(found.edges)) == pytest.approx(0.5)


def test_each_part_has_its_histogram_in_bins_of_equal_parts() -> None:
    rng = np.random.default_rng(8)
    parts = [rng.normal(mean, 0.3, 6400).astype(np.float32) for mean in (-0.1, 0.0, 0.2)]
    parts[1][:3000] = 0  # as in maps that are mostly empty
    found = selected([[part] * 3 for part in parts])["whole"]
    for part, counts in zip(parts, found.counts, strict=True):
        assert counts.sum() == len(part)
        inside = [np.count_nonzero((low <= part) & (part < high)) for low, high in pairwise(found.bins)]
        np.testing.assert_array_equal(counts, inside)
    together = found.counts.sum(axis=0, dtype=int)
    zeros = np.searchsorted(found.bins, 0.0, side="right") - 1
    assert together[zeros] == 3000
    assert found.bins[zeros + 1] < 1e-30
    assert np.delete(together, zeros).max() < 3 * 19200 / BINS


def test_sortable_bits_keep_the_order() -> None:
    values = np.array([-np.inf, -3e38, -1.0, -1e-45, 0.0, 1e-45, 0.5, 1.0, 3e38, np.inf], np.float32)
    keys = sortable(values)
    assert (np.diff(keys.astype(np.int64)) > 0).all()
    np.testing.assert_array_equal(from_sortable(keys), values.astype(np.float64))
    assert sortable(np.array([-0.0], np.float32)) == sortable(np.array([0.0], np.float32))
