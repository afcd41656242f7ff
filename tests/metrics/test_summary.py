import re

import numpy as np
import pytest

from hpc_massmap.apertures import RADII
from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.bootstrap import half_width, percentile_errors, resample
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import APERTURES, Pixels, PixelStatistics
from hpc_massmap.metrics.power import Power, wavelengths
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics, TargetMetrics
from hpc_massmap.metrics.sample import by_projection, by_simulation, in_intervals, interval_labels
from hpc_massmap.metrics.spread import spread
from hpc_massmap.metrics.summary import (
    b200_by_mass,
    b200_of,
    bias_by_mass,
    calibration_by_mass,
    headline,
    mass_bins,
    mmd_by_mass,
    mmd_of,
    pixels,
    pixels_of,
    power_difference,
    power_spectra,
)

INTERVALS = [13.5, 14.0, 14.5, 15.0]


def made_up(log_m200: list[float]) -> Metrics:
    n, rng = len(log_m200), np.random.default_rng(12)

    def some(*shape: int) -> FloatArray:
        return rng.standard_normal((n, *shape))

    # pixels evenly spread between -1 and 1, but those of map n between -1 + 0.1 n and 1
    counts = np.stack([np.where(np.arange(20) < k, 0, 10) for k in range(n)]).astype(np.uint16)
    bins = np.linspace(-1, 1, 21)
    drawn = np.linspace(-1, 2, 4), np.array([0.1, 0.5, 0.2])
    statistics = PixelStatistics(0.01, -0.2, 0.3, 100, *drawn, bins, counts)
    result = TargetMetrics(
        [
            Pixels(dict.fromkeys(APERTURES, statistics)),
            Profiles(RADII, some(10), some(10), some(10)),
            Power(wavelengths(), some(56), some(56), some(56)),
            Mmd(some(), some(2), np.array([0.1, 0.2]), "gaussian", np.array([1.0])),
        ]
    )
    maps = {"row": np.arange(n), "m200": 10 ** np.array(log_m200), "region": np.arange(n) // 2}
    maps |= {"simulation": np.where(np.arange(n) % 2, "gizmo", "gadget"), "projection": np.arange(n) % 3}
    return Metrics("made_up", "digest", INTERVALS, maps, {"mass": result})


def test_intervals_are_half_open_and_the_last_is_closed() -> None:
    metrics = made_up([13.4, 13.5, 13.9, 14.0, 15.0, 15.1])
    inside = [np.flatnonzero(interval).tolist() for interval in in_intervals(metrics)]
    assert inside == [[1, 2], [3], [4]]
    assert interval_labels(metrics)[0] == "13.5 <= log10 M200 < 14"
    assert interval_labels(metrics)[-1] == "14.5 <= log10 M200 <= 15"


def test_bias_by_mass_is_that_of_the_maps_inside() -> None:
    metrics = made_up([13.6, 13.7, 13.8, 14.7])
    bias = metrics.targets["mass"][Profiles].bias
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
    power = metrics.targets["mass"][Power]
    np.testing.assert_array_equal(power_difference(metrics, "mass").median, np.median(power.difference, axis=0))
    true, predicted = power_spectra(metrics, "mass")
    np.testing.assert_array_equal(true.p84, np.percentile(power.true, 84, axis=0))
    np.testing.assert_array_equal(predicted.p16, np.percentile(power.predicted, 16, axis=0))


def test_mmd_by_mass_is_the_median_in_each_bin() -> None:
    log_m200 = [13.5, 13.55, 13.6, 14.2, 14.99, 15.0]
    metrics = made_up(log_m200)
    mmd, edges = metrics.targets["mass"][Mmd], mass_bins(metrics)
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


def test_errors_stand_where_there_are_regions_to_compare() -> None:
    metrics = made_up([13.6, 13.7, 13.8, 13.9, 13.7, 13.7, 14.2, 14.2, 14.2])
    low, middle, high = b200_by_mass(metrics, "mass")
    bias = metrics.targets["mass"][Profiles].bias[:, -1]
    draws = resample(metrics.maps["region"][:6])
    assert float(low.error) == half_width(percentile_errors(bias[:6], draws, (50,)), 3)[0] > 0
    assert np.isnan([middle.error, high.error]).all()  # two regions, and none
    assert [int(each.regions) for each in (low, middle, high)] == [3, 2, 0]
    assert low.text().endswith(f" (± {low.error:.3f}, n = 3)")
    assert middle.text().endswith(" (± unknown, n = 2)")
    assert high.text() == "none"
    difference = power_difference(metrics, "mass")
    assert difference.error.shape == (56,)
    assert (difference.error > 0).all()
    assert (bias_by_mass(metrics, "mass")[0].error > 0).all()
    assert mmd_by_mass(metrics, "mass").error.shape == (10,)


def test_an_error_of_too_few_regions_is_a_word() -> None:
    lines = headline(made_up([13.6, 13.7]))
    assert "unknown of fewer than 3" in lines[0]
    errors = [line.split("(±")[1].split(")")[0] for line in lines[2:] if "(±" in line]
    assert errors == [" unknown, n = 1"] * len(errors)
    assert len(errors) == 7  # of b200 in an interval and of each simulation, of pixels three times, of the MMD


def test_simulations_and_projections_have_their_own_numbers() -> None:
    metrics = made_up([13.6, 13.7, 13.8, 14.2, 14.7])
    result = metrics.targets["mass"]
    simulations = by_simulation(metrics)
    assert {name: np.flatnonzero(chosen).tolist() for name, chosen in simulations.items()} == {
        "gadget": [0, 2, 4],
        "gizmo": [1, 3],
    }
    assert {p: np.flatnonzero(chosen).tolist() for p, chosen in by_projection(metrics).items()} == {
        0: [0, 3],
        1: [1, 4],
        2: [2],
    }
    chosen = simulations["gizmo"]
    assert float(b200_of(metrics, "mass", chosen).median) == np.median(result[Profiles].bias[[1, 3], -1])
    assert float(mmd_of(metrics, "mass", chosen).median) == np.median(result[Mmd].value[[1, 3]])
    of_gizmo = pixels_of(metrics, "mass", "r500", chosen)
    assert of_gizmo.count == 190 + 170
    # (x + 0.9) 100 of the first map and from -0.7 on (x + 0.7) 100 of the other are 180 together
    assert float(of_gizmo.median) == pytest.approx(0.1)
    assert np.isnan(of_gizmo.error)
    assert of_gizmo.regions == 2
    assert pixels(metrics, "mass", "r500").median == 0.01


def test_headline_gives_b200_by_mass_and_pixels() -> None:
    metrics = made_up([13.6, 13.7, 14.7, 14.8, 14.9])
    text = "\n".join(headline(metrics))
    assert f"13.5 <= log10 M200 < 14: {b200_by_mass(metrics, 'mass')[0].text()}  (2 maps)" in text
    assert "14 <= log10 M200 < 14.5: none  (0 maps)" in text
    assert re.search(r"pixels, whole: \+0\.010 \+0\.290 -0\.210 \(± 0\.\d{3}, n = 3\)  \(100 pixels\)", text)
    assert "b200, 14.5 <= log10 M200 <= 15: " in text
    assert "b200, gizmo: " in text
    assert re.search(r"MMD\^2, median: -?\d\.\d{4} \(± \d\.\d{4}, n = 3\)", text)
