import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import APERTURES, PixelStatistics
from hpc_massmap.metrics.power import Power, wavelengths
from hpc_massmap.metrics.profiles import RADII, Profiles
from hpc_massmap.metrics.results import Metrics, TargetMetrics
from hpc_massmap.metrics.summary import (
    b200_by_mass,
    bias_by_mass,
    calibration_by_mass,
    headline,
    in_intervals,
    interval_labels,
    mass_bins,
    mmd_by_mass,
    power_difference,
    power_spectra,
    spread,
)

INTERVALS = [13.5, 14.0, 14.5, 15.0]


def made_up(log_m200: list[float]) -> Metrics:
    n, rng = len(log_m200), np.random.default_rng(12)

    def some(*shape: int) -> FloatArray:
        return rng.standard_normal((n, *shape))

    statistics = PixelStatistics(0.01, -0.2, 0.3, 100, np.linspace(-1, 2, 4), np.array([0.1, 0.5, 0.2]))
    result = TargetMetrics(
        dict.fromkeys(APERTURES, statistics),
        Profiles(RADII, some(10), some(10), some(10)),
        Power(wavelengths(), some(56), some(56), some(56)),
        Mmd(some(), some(2), np.array([0.1, 0.2]), "gaussian", np.array([1.0])),
    )
    maps = {"row": np.arange(n), "m200": 10 ** np.array(log_m200)}
    return Metrics("made_up", "digest", INTERVALS, maps, {"mass": result})


def test_intervals_are_half_open_and_the_last_is_closed() -> None:
    metrics = made_up([13.4, 13.5, 13.9, 14.0, 15.0, 15.1])
    inside = [np.flatnonzero(interval).tolist() for interval in in_intervals(metrics)]
    assert inside == [[1, 2], [3], [4]]
    assert interval_labels(metrics)[0] == "13.5 <= log10 M200 < 14"
    assert interval_labels(metrics)[-1] == "14.5 <= log10 M200 <= 15"


def test_bias_by_mass_is_that_of_the_maps_inside() -> None:
    metrics = made_up([13.6, 13.7, 13.8, 14.7])
    bias = metrics.targets["mass"].profiles.bias
    low, middle, high = bias_by_mass(metrics, "mass")
    np.testing.assert_array_equal(low.median, np.median(bias[:3], axis=0))
    np.testing.assert_array_equal(low.p16, np.percentile(bias[:3], 16, axis=0))
    np.testing.assert_array_equal(low.p84, np.percentile(bias[:3], 84, axis=0))
    np.testing.assert_array_equal(high.median, bias[3])
    assert (middle.count == 0).all()
    assert np.isnan([middle.median, middle.p16, middle.p84]).all()
    b200 = b200_by_mass(metrics, "mass")
    assert [int(each.count) for each in b200] == [3, 0, 1]
    assert float(b200[0].median) == np.median(bias[:3, -1])


def test_spread_leaves_out_what_is_undefined() -> None:
    values = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan], [3.0, 7.0, np.nan]])
    found = spread(values)
    np.testing.assert_array_equal(found.count, [3, 2, 0])
    np.testing.assert_array_equal(found.median, [2.0, 6.0, np.nan])
    np.testing.assert_allclose(found.p16, [1.32, 5.32, np.nan])
    assert found.at(0).text() == "+2.000 +0.680 -0.680"
    assert found.at(2).text() == "none"
    assert int(spread(np.array([])).count) == 0


def test_power_is_over_all_maps() -> None:
    metrics = made_up([12.0, 13.7, 16.0])
    power = metrics.targets["mass"].power
    np.testing.assert_array_equal(power_difference(metrics, "mass").median, np.median(power.difference, axis=0))
    true, predicted = power_spectra(metrics, "mass")
    np.testing.assert_array_equal(true.p84, np.percentile(power.true, 84, axis=0))
    np.testing.assert_array_equal(predicted.p16, np.percentile(power.predicted, 16, axis=0))


def test_mmd_by_mass_is_the_median_in_each_bin() -> None:
    log_m200 = [13.5, 13.55, 13.6, 14.2, 14.99, 15.0]
    metrics = made_up(log_m200)
    mmd, edges = metrics.targets["mass"].mmd, mass_bins(metrics)
    np.testing.assert_allclose(edges, np.linspace(13.5, 15.0, 11))
    found, calibration = mmd_by_mass(metrics, "mass"), calibration_by_mass(metrics, "mass")
    assert calibration.median.shape == (10, 2)
    for b in range(10):
        inside = [edges[b] <= m < edges[b + 1] or (b == 9 and m == edges[10]) for m in log_m200]
        assert found.count[b] == sum(inside)
        expected = np.median(mmd.value[inside]) if any(inside) else np.nan
        assert found.median[b] == pytest.approx(expected, nan_ok=True)
        if any(inside):
            np.testing.assert_allclose(calibration.median[b], np.median(mmd.calibration[inside], axis=0))


def test_headline_gives_b200_by_mass_and_pixels() -> None:
    metrics = made_up([13.6, 13.7, 14.7])
    text = "\n".join(headline(metrics))
    assert f"13.5 <= log10 M200 < 14: {b200_by_mass(metrics, 'mass')[0].text()}  (2 maps)" in text
    assert "14 <= log10 M200 < 14.5: none  (0 maps)" in text
    assert "pixels, whole: +0.010 +0.290 -0.210  (100 pixels)" in text
