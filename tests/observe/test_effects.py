"""Each effect against a closed form, or a plain loop of a public library."""

import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import FlatLambdaCDM
from scipy.ndimage import map_coordinates
from scipy.special import erf

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.config import Beam, Counts, Effects, Sources
from hpc_massmap.observe.beam import blurred
from hpc_massmap.observe.counts import counted, counts_per_unit, fluxes, with_sources
from hpc_massmap.observe.cut import cut_out
from hpc_massmap.observe.effects import EFFECTS
from hpc_massmap.observe.missing import views_there, without_pixels
from hpc_massmap.observe.noise import noise_in_y, spectral_function, with_noise
from hpc_massmap.observe.sky import Sky, sky_of

H, OMEGA_M = 0.7, 0.3


def chance(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, k]) for k in range(n)]


@pytest.fixture
def maps() -> FloatArray:
    return np.random.default_rng(0).lognormal(0, 1, (3, PIXELS, PIXELS))


def test_a_beam_on_one_pixel_is_the_gaussian_integrated_over_it() -> None:
    point = np.zeros((2, PIXELS, PIXELS))
    point[:, 40, 33] = 2.0
    fwhm = np.array([3.0, 7.5])
    for seen, width in zip(blurred(point, fwhm), fwhm, strict=True):
        sigma = width / np.sqrt(8 * np.log(2)) * np.sqrt(2)
        rows, columns = (
            0.5 * (erf((np.arange(PIXELS) - at + 0.5) / sigma) - erf((np.arange(PIXELS) - at - 0.5) / sigma))
            for at in (40, 33)
        )
        np.testing.assert_allclose(seen, 2 * np.outer(rows, columns), rtol=1e-9, atol=1e-14)
        assert seen.sum() == pytest.approx(2, rel=1e-9)


def test_a_beam_leaves_an_even_sky_as_it_is_and_one_of_no_width_any(maps: FloatArray) -> None:
    even = np.full_like(maps, 3.0)
    np.testing.assert_allclose(blurred(even, np.array([1.0, 10.0, 60.0])), even, rtol=1e-12)
    np.testing.assert_allclose(blurred(maps, np.full(3, 1e-3)), maps, rtol=1e-12)


def test_pixels_have_the_angle_and_the_distance_of_astropy() -> None:
    redshift, r200 = np.array([0.05, 0.4]), np.array([1500.0, 900.0])
    sky, cosmology = sky_of(redshift, r200, H, OMEGA_M), FlatLambdaCDM(H0=70, Om0=0.3)
    for n in range(2):
        scale = cosmology.kpc_proper_per_arcmin(redshift[n]).to_value(u.kpc / u.arcmin)
        assert sky.arcmin[n] * PIXELS / 2 * scale == pytest.approx(r200[n])
        assert sky.distance[n] == pytest.approx(cosmology.luminosity_distance(redshift[n]).to_value(u.cm))


def test_counts_have_the_mean_and_the_variance_of_poisson() -> None:
    """Of a source whose flux and counts are known: L / (4 pi D_L^2), times what the telescope makes of it."""
    sky = sky_of(np.full(40, 0.06), np.full(40, 1500.0), H, OMEGA_M)
    settings = Counts(exposure=2e3, conversion=5e11, background=1e-3, band_share=0.4, output="counts")
    luminosity = 3e43 * u.erg / u.s
    distance = FlatLambdaCDM(H0=70, Om0=0.3).luminosity_distance(0.06)
    flux = (luminosity / (4 * np.pi * distance**2)).to_value(u.erg / u.s / u.cm**2)
    of_source = flux * 0.4 * 5e11 * 2e3
    of_background = 1e-3 * 2e3 * float(sky.arcmin[0]) ** 2 * PIXELS**2
    even = luminosity.value / 1e40 / (1500 / 40 * PIXELS) ** 2  # per kpc^2
    ideal = np.full((40, PIXELS, PIXELS), even)
    found = counted(ideal, settings, sky, chance(40))
    assert np.array_equal(found, np.round(found))
    expected = (of_source + of_background) / PIXELS**2
    assert expected < 2  # a Gaussian would not do
    assert found.mean() == pytest.approx(expected, abs=5 * np.sqrt(expected / found.size))
    assert found.var() == pytest.approx(expected, rel=0.02)
    assert (found == 0).mean() == pytest.approx(np.exp(-expected), rel=0.02)

    back = counted(ideal, settings.model_copy(update={"output": "subtracted"}), sky, chance(40))
    unit = counts_per_unit(settings, sky)[0]
    assert back.mean() == pytest.approx(even, abs=5 * np.sqrt(expected / found.size) / unit)
    np.testing.assert_allclose(back, (found - of_background / PIXELS**2) / unit)


@pytest.mark.parametrize(("frequency", "of_y"), [(143, -1.037), (150, -0.953), (353, 2.225)])
def test_the_effect_at_a_frequency(frequency: float, of_y: float) -> None:
    """x coth(x/2) - 4, in units of T_CMB: table 1 of Planck 2013 XXI without its bands; here at one frequency."""
    assert spectral_function(frequency) == pytest.approx(of_y, abs=0.02)


def test_noise_is_white_and_as_deep_as_it_says() -> None:
    arcmin = np.full(60, 0.25)
    sigma = noise_in_y(10.0, 150.0, arcmin)
    assert sigma[0] == pytest.approx(10 / 0.25 * 1e-6 / 2.7255 / 0.9534, rel=1e-3)
    np.testing.assert_allclose(noise_in_y(20.0, 150.0, 2 * arcmin), sigma)  # a depth is of an area
    noise = with_noise(np.zeros((60, PIXELS, PIXELS)), sigma, arcmin, 0.0, 3.0, chance(60)) / sigma[0]
    assert noise.std() == pytest.approx(1, rel=0.01)
    power = np.mean(np.abs(np.fft.fft2(noise)) ** 2, axis=0) / PIXELS**2
    low, high = power[1:9, 1:9].mean(), power[31:39, 31:39].mean()
    assert low == pytest.approx(1, rel=0.06)
    assert high == pytest.approx(1, rel=0.06)


def test_the_atmosphere_adds_the_power_that_it_should() -> None:
    """Mean power of many maps at each multipole, over the white one's: 1 + (knee/l)^slope."""
    n, side, knee, slope = 400, 0.5, 4000.0, 3.0
    noise = with_noise(np.zeros((n, PIXELS, PIXELS)), np.ones(n), np.full(n, side), knee, slope, chance(n))
    power = np.mean(np.abs(np.fft.fft2(noise)) ** 2, axis=0) / PIXELS**2
    for k in (1, 3, 10, 35):
        multipole = 2 * np.pi * k / (PIXELS * np.deg2rad(side / 60))
        found = np.mean([power[0, k], power[k, 0], power[0, -k], power[-k, 0]])
        assert found == pytest.approx(1 + (knee / multipole) ** slope, rel=0.15)
    assert power[0, 0] == pytest.approx(1, rel=0.3)


def test_point_sources_are_those_of_their_log_n_log_s() -> None:
    """Number and summed flux of many fields against the integrals of the power law."""
    sources = Sources(density=300.0, slope=1.5, faintest=1e-14, brightest=1e-12)
    found = [fluxes(sources, 0.5, one) for one in chance(2000)]
    everything = np.concatenate(found)
    assert everything.min() >= 1e-14
    assert everything.max() <= 1e-12
    number = 300 * 0.5 * (1 - 100**-1.5)
    assert np.mean([len(one) for one in found]) == pytest.approx(number, rel=0.01)
    assert np.var([len(one) for one in found]) == pytest.approx(number, rel=0.1)
    for limit in (3e-14, 1e-13):
        brighter = 300 * 0.5 * ((limit / 1e-14) ** -1.5 - 100**-1.5)
        assert np.mean([(one > limit).sum() for one in found]) == pytest.approx(brighter, rel=0.03)
    flux = 300 * 0.5 * 1.5 / 0.5 * 1e-14 * (1 - 100**-0.5)  # integral of S dN
    assert np.mean([one.sum() for one in found]) == pytest.approx(flux, rel=0.03)


def test_a_source_is_counted_as_its_flux_asks_for() -> None:
    sky = sky_of(np.full(50, 0.3), np.full(50, 1200.0), H, OMEGA_M)
    sources = Sources(density=1000.0, slope=1.5, faintest=1e-13, brightest=1e-12)
    settings = Counts(exposure=1e5, conversion=1e12, band_share=0.5)
    seen = with_sources(np.zeros((50, PIXELS, PIXELS)), sources, 0.5, sky, chance(50))
    expected = (seen * counts_per_unit(settings, sky)[:, None, None]).sum(axis=(1, 2))
    drawn = [fluxes(sources, float(PIXELS**2 * (sky.arcmin[n] / 60) ** 2), one) for n, one in enumerate(chance(50))]
    np.testing.assert_allclose(expected, [flux.sum() * 1e12 * 1e5 for flux in drawn], rtol=1e-9)


def test_large_scales_are_lost_and_small_ones_are_kept() -> None:
    row = np.arange(PIXELS)
    sky = Sky(np.ones(2), np.full(2, 0.5), np.ones(2))
    waves = np.stack([np.cos(2 * np.pi * row / scale) for scale in (4, 200)])[:, None] * np.ones((1, PIXELS, 1))
    seen = EFFECTS["large_scales"].apply(waves, Effects(large_scales=Beam(fwhm=10.0)), sky, chance(2))
    middle = np.s_[30:50, 30:50]
    np.testing.assert_allclose(seen[0][middle], waves[0][middle], atol=1e-3)
    # a Gaussian of 20 pixels leaves exp(-2 (pi sigma / scale)^2) of a wave
    lost = np.exp(-2 * (np.pi * 20 / np.sqrt(8 * np.log(2)) / 200) ** 2)
    np.testing.assert_allclose(seen[1][middle], waves[1][middle] * (1 - lost), atol=0.01)


def test_a_factor_scatters_as_it_should_and_faint_pixels_are_gone() -> None:
    sky = Sky(np.ones(4000), np.ones(4000), np.ones(4000))
    ones = np.ones((4000, 2, 2))
    factor = EFFECTS["amplitude_scatter"].apply(ones, Effects(amplitude_scatter=0.3), sky, chance(4000))
    assert (factor == factor[:, :1, :1]).all()
    logs = np.log(factor[:, 0, 0])
    assert logs.std() == pytest.approx(0.3, rel=0.05)
    assert logs.mean() == pytest.approx(0, abs=0.02)
    seen = EFFECTS["detection_limit"].apply(np.array([[[0.9, 1.0]]]), Effects(detection_limit=1.0), sky, [])
    np.testing.assert_array_equal(seen, [[[0.0, 1.0]]])


def test_a_wrong_cut_is_that_of_scipy(maps: FloatArray) -> None:
    centre, factor = np.array([[0.1, -0.2], [0.0, 0.0], [-0.3, 0.25]]), np.array([1.1, 1.0, 0.8])
    middle = (PIXELS - 1) / 2
    for n, seen in enumerate(cut_out(maps, centre, factor)):
        rows, columns = (middle + shift * PIXELS / 2 + factor[n] * (np.arange(PIXELS) - middle) for shift in centre[n])
        places = np.meshgrid(rows, columns, indexing="ij")
        np.testing.assert_allclose(seen, map_coordinates(maps[n], places, order=1, mode="nearest"), rtol=1e-9)
    np.testing.assert_array_equal(cut_out(maps, centre * 0, np.ones(3)), maps)


def test_a_wrong_r200_makes_a_map_seem_as_much_larger(maps: FloatArray) -> None:
    y, x = (np.mgrid[:PIXELS, :PIXELS] - (PIXELS - 1) / 2) / (PIXELS / 2)
    round_one = np.exp(-(x**2 + y**2) / 0.1)[None]
    seen = cut_out(round_one, np.zeros((1, 2)), np.array([1.25]))[0]
    np.testing.assert_allclose(seen, np.exp(-(x**2 + y**2) * 1.25**2 / 0.1), atol=6e-3)


def test_missing_pixels_are_zero_and_as_many_as_asked_for() -> None:
    seen = without_pixels(np.ones((20, PIXELS, PIXELS)), 0.1, chance(20))
    assert set(np.unique(seen)) == {0.0, 1.0}
    assert 1 - seen.mean() == pytest.approx(0.1, abs=0.005)


def test_views_are_away_as_often_as_asked_for_but_never_all() -> None:
    there = views_there(3, 0.4, chance(4000))
    assert there.any(axis=1).all()
    # each by itself with 0.4; of the cases in which all would be, one third each has one of them back
    np.testing.assert_allclose(1 - there.mean(axis=0), 0.4 - 0.4**3 / 3, atol=0.03)


def test_a_sky_is_not_asked_for_at_redshift_zero() -> None:
    assert np.isinf(sky_of(np.zeros(1), np.ones(1), H, OMEGA_M).arcmin[0])
    assert isinstance(sky_of(np.zeros(1), np.ones(1), H, OMEGA_M), Sky)
