import numpy as np
import pytest
from scipy.special import ndtri

from hpc_massmap.apertures import ring_of_pixels
from hpc_massmap.diagnostics.bands import band_of_quantiles, band_of_samples, pixel_scale


def test_the_scale_of_a_point_is_halfway_to_its_ring() -> None:
    maps = np.random.default_rng(1).standard_normal((2, 80, 80))
    found = pixel_scale(maps)
    size, ring = np.abs(maps[1]), ring_of_pixels()
    for i, j in [(0, 0), (40, 40), (10, 33)]:
        assert found[1, i, j] == pytest.approx((size[i, j] + size[ring == ring[i, j]].mean()) / 2)
    np.testing.assert_array_equal(pixel_scale(maps[1:])[0], found[1])


@pytest.mark.parametrize("s", [3, 19, 64])
def test_intervals_of_samples_hold_a_new_one_as_often_as_they_say(s: int) -> None:
    rng = np.random.default_rng(s)
    ordered, new = np.sort(rng.standard_normal((s, 200_000)), axis=0), rng.standard_normal(200_000)
    highest = (s - 1) / (s + 1)  # between the outermost
    band = band_of_samples(ordered, [0.5, 0.68, 0.95])
    for level, low, high in zip((0.5, 0.68, 0.95), band.low, band.high, strict=True):
        held = np.mean((low <= new) & (new <= high))
        assert held == pytest.approx(min(level, highest), abs=0.02 if level < highest else 0.005)


def test_few_quantiles_of_a_normal_give_all_its_intervals() -> None:
    of = (0.05, 0.16, 0.5, 0.84, 0.95)
    quantiles = 3 + 2 * ndtri(of)[:, None] * np.ones(4)
    band = band_of_quantiles(quantiles, of, [0.5, 0.68, 0.9, 0.95])
    for n, level in enumerate((0.5, 0.68, 0.9, 0.95)):
        z = ndtri((1 + level) / 2)
        np.testing.assert_allclose(band.low[n], 3 - 2 * z)
        np.testing.assert_allclose(band.high[n], 3 + 2 * z)
        np.testing.assert_allclose(band.scale[n], 2 * z)
