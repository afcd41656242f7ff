"""What one particle emits: the Gaunt factor, units written out, the table, and pymsz's method for Compton-y."""

import dataclasses

import mpmath  # type: ignore[import-untyped,unused-ignore]
import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from scipy.integrate import quad
from scipy.special import roots_genlaguerre, roots_legendre

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps
from hpc_massmap.maps.cooling import CoolingTable
from hpc_massmap.maps.emission import (
    BREMSSTRAHLUNG,
    bremsstrahlung_luminosity,
    gaunt_factor,
    integrated_compton_y,
    temperature,
    xray_luminosity,
)
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.sims.particles import FULLY_IONISED, Gas
from tests.maps.test_physics import gas, halo_at, snapshot

H = 0.7


def gaunt_by_sommerfeld(before: float, after: float, gamma2: float) -> float:
    """Free-free Gaunt factor of one electron energy before and after, in k_B T (Karzas & Latter 1961, eq. 7-16)."""
    a, b = mpmath.sqrt(gamma2 / before), mpmath.sqrt(gamma2 / after)
    x = -4 * a * b / (b - a) ** 2
    f = mpmath.hyp2f1(1j * a, 1j * b, 1, x)
    slope = -a * b * mpmath.hyp2f1(1 + 1j * a, 1 + 1j * b, 2, x)
    change = abs(2 * mpmath.re(mpmath.conj(f) * slope) * x)
    return float(
        mpmath.pi * mpmath.sqrt(3) * change / (mpmath.expm1(2 * mpmath.pi * a) * -mpmath.expm1(-2 * mpmath.pi * b))
    )


@pytest.mark.parametrize("kelvin", [1e6, 1e7, 2e8])
@pytest.mark.parametrize("charge", [1, 2])
def test_the_gaunt_factor_is_sommerfeld_s_averaged(kelvin: float, charge: int) -> None:
    gamma2 = charge**2 * float((const.Ryd * const.h * const.c / const.k_B / (kelvin * u.K)).to_value(1))
    speeds, of_speed = roots_genlaguerre(10, 1)
    s, of_s = roots_legendre(12)
    fractions, of_fraction = 1 - ((1 - s) / 2) ** 3, 1.5 * ((1 - s) / 2) ** 2 * of_s  # logarithmic where they meet
    average = sum(
        p * q * gaunt_by_sommerfeld(w, w * t, gamma2)
        for w, p in zip(speeds, of_speed, strict=True)
        for t, q in zip(fractions, of_fraction, strict=True)
    )
    assert gaunt_factor(np.array([kelvin]), charge)[0] == pytest.approx(average, rel=2e-3)


def one_particle() -> Gas:
    return gas(np.zeros((1, 3)), 1e9, 3e4, 20.0, internal_energy=9e5, electron_abundance=1.1)


def test_compton_y_with_its_units_written_out() -> None:
    x, n_e = 0.76, 1.1
    mu = 4 / (1 + 3 * x + 4 * x * n_e)
    thermal_energy = 2 / 3 * 9e5 * (u.km / u.s) ** 2 * mu * const.m_p
    electrons = 1e9 / H * u.Msun / const.m_p * x * n_e
    y = (const.sigma_T * thermal_energy * electrons / (const.m_e * const.c**2)).to_value(u.kpc**2)
    assert integrated_compton_y(one_particle(), H)[0] == pytest.approx(y, rel=1e-12)


def test_luminosities_with_their_units_written_out() -> None:
    x, n_e, table = 0.76, 1.1, flat_table(2e-23)
    electrons = 1e9 / H * u.Msun / const.m_p * x * n_e
    rho = 3e4 * u.Msun / u.kpc**3
    kelvin = temperature(one_particle())
    g = (x * gaunt_factor(kelvin, 1) + (1 - x) * gaunt_factor(kelvin, 2))[0] * (1 + 4.4e-10 * kelvin[0])
    closed = g * BREMSSTRAHLUNG * np.sqrt(kelvin[0] * u.K) * electrons * rho / const.m_p
    tabulated = 2e-23 * u.erg * u.cm**3 / u.s * electrons * rho * x / const.m_p
    unit = 1e40 * u.erg / u.s
    assert xray_luminosity(one_particle(), H, None)[0] == pytest.approx(closed.to_value(unit), rel=1e-12)
    assert xray_luminosity(one_particle(), H, table)[0] == pytest.approx(tabulated.to_value(unit), rel=1e-12)


def flat_table(value: float) -> CoolingTable:
    return CoolingTable(np.array([4.0, 9.0]), np.array([0.0, 5.0]), np.full((2, 2), value), "none", 0.02, "test")


def test_a_table_of_pure_bremsstrahlung_is_the_closed_form() -> None:
    log_t, x = np.linspace(4, 9, 51), 0.76
    kelvin = 10**log_t
    gaunt = x * gaunt_factor(kelvin, 1) + (1 - x) * gaunt_factor(kelvin, 2)
    column = gaunt * (1 + 4.4e-10 * kelvin) * BREMSSTRAHLUNG.value * np.sqrt(kelvin) / x
    table = CoolingTable(log_t, np.array([0.0, 1.0]), np.column_stack([column, column]), "none", 0.02, "test")
    particles = gas(np.zeros((300, 3)), 1e9, 3e4, 20.0)
    particles = dataclasses.replace(particles, internal_energy=np.geomspace(1e4, 5e6, 300))
    closed = bremsstrahlung_luminosity(particles, H)
    np.testing.assert_allclose(xray_luminosity(particles, H, table), closed, rtol=2e-3)
    assert 0 < np.count_nonzero(closed) < 300


def test_the_metallicity_is_the_particle_s_or_else_0_3_solar() -> None:
    steep = CoolingTable(
        np.array([4.0, 9.0]), np.array([0.0, 1.0]), np.tile([1e-24, 1e-23], (2, 1)), "none", 0.02, "test"
    )
    without = xray_luminosity(one_particle(), H, steep)[0]
    at_solar = xray_luminosity(dataclasses.replace(one_particle(), metallicity=np.array([0.02])), H, steep)[0]
    assert at_solar / without == pytest.approx(10**0.7)


def test_thermal_gas_forms_no_stars() -> None:
    rate = np.array([0.0, 1e-9, 3.0])
    particles = dataclasses.replace(gas(np.zeros((3, 3)), 1e9, 3e4, 20.0), star_formation_rate=rate)
    np.testing.assert_array_equal(particles.thermal, [True, False, False])
    for table in (None, flat_table(1e-23)):
        np.testing.assert_array_equal(xray_luminosity(particles, H, table) > 0, [True, False, False])
    np.testing.assert_array_equal(integrated_compton_y(particles, H) > 0, [True, False, False])


def beta_profile(particle_count: int, beta: float, core: float) -> tuple[FloatArray, FloatArray]:
    """Positions of a beta model within 1.8 (R200), equal masses, and the density at each over the central one."""
    rng = np.random.default_rng(5)
    grid = np.linspace(0, 1.8, 20_000)
    shell = grid**2 * (1 + (grid / core) ** 2) ** (-1.5 * beta)
    enclosed = np.concatenate([[0], np.cumsum((shell[1:] + shell[:-1]) / 2)])
    radius = np.interp(rng.random(particle_count) * enclosed[-1], enclosed, grid)
    direction = rng.normal(size=(particle_count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * radius[:, None], (1 + (radius / core) ** 2) ** (-1.5 * beta)


def beta_column(b: float, depth: float, power: float) -> float:
    """The column of (1 + r^2)^-power at projected radius b from -depth to depth, which the cube cuts."""
    return 2 * float(quad(lambda z: (1 + b * b + z * z) ** -power, 0, depth)[0])


def test_the_beta_model_s_column_is_the_published_profile_in_a_deep_cube() -> None:
    for beta in (0.6, 2 / 3, 0.9):
        for power, slope in ((1.5 * beta, 0.5 - 1.5 * beta), (3 * beta, 0.5 - 3 * beta)):
            ratio = beta_column(2.0, np.inf, power) / beta_column(0.0, np.inf, power)
            assert ratio == pytest.approx(5**slope, rel=1e-6)


def test_an_isothermal_beta_model_in_sz_and_x_rays() -> None:
    count, beta, core, r200, centre_density = 300_000, 2 / 3, 0.2, 1000.0, 1e5
    positions, relative = beta_profile(count, beta, core)
    total = 4 * np.pi * quad(lambda r: r**2 * (1 + (r / core) ** 2) ** (-1.5 * beta), 0, 1.8)[0]
    mass = total * r200**3 * centre_density * H / count
    model = gas(positions * r200, mass, 1.0, 1.0, internal_energy=1e6)
    size = 2 * (3 * 32 * mass / H / (4 * np.pi * relative * centre_density)) ** (1 / 3) / 2
    model = dataclasses.replace(model, density=relative * centre_density, smoothing_length=size)
    maps = halo_maps(snapshot(model), halo_at(count * mass / 2, r200), Maps(), rotations(2))

    y, x = (np.mgrid[:80, :80] - 39.5) / 40
    radius = np.hypot(x, y)
    one = gas(np.zeros((1, 3)), H, centre_density, 1.0, internal_energy=1e6)  # one solar mass at the centre's density
    for name, per_mass, power in (
        ("sz", integrated_compton_y(one, H)[0], 1.5 * beta),
        ("xray", bremsstrahlung_luminosity(one, H)[0], 3 * beta),
    ):
        for low, high in ((0.1, 0.2), (0.2, 0.4), (0.4, 0.7), (0.7, 0.9)):
            ring = (radius >= low) & (radius < high)
            column = [beta_column(b / core, 1 / core, power) * core for b in radius[ring]]
            expected = per_mass * centre_density * r200 * np.mean(column)
            assert maps[name][:, ring].mean() == pytest.approx(expected, rel=0.015), (name, low)


def compton_y_by_pymsz(particles: Gas, r200: float, pixels: int = 80) -> float:
    """Total y times area of pymsz's method (github.com/weiguangcui/pymsz), particle by particle.

    Weight sigma_T k_B / (m_e c^2 m_p) m T X n_e; Wendland C4 at the projected distance of the pixels' centres,
    normalised to 1 over the pixels; a particle smaller than a pixel goes to one.
    """
    scale = (const.sigma_T * const.k_B * u.Msun * u.K / (const.m_e * const.c**2 * const.m_p)).to_value(u.kpc**2)
    image, side = np.zeros((pixels, pixels)), 2 * r200 / pixels
    centres = (np.arange(pixels) + 0.5) * side - r200
    kelvin = temperature(particles)
    for n, (x, y, _) in enumerate(particles.positions):
        weight = scale * particles.masses[n] / H * kelvin[n] * 0.76 * particles.electron_abundance[n]
        q = np.hypot(centres[:, None] - x, centres[None, :] - y) / particles.smoothing_length[n]
        kernel = np.where(q < 1, (1 - np.minimum(q, 1)) ** 6 * (1 + 6 * q + 35 / 3 * q**2), 0)
        if kernel.sum() > 0:
            image += weight * kernel / kernel.sum()
        else:
            image[int((x + r200) / side), int((y + r200) / side)] += weight
    return float(image.sum())


def test_the_total_compton_y_is_pymsz_s() -> None:
    rng, count, r200 = np.random.default_rng(2), 2000, 1000.0
    positions = np.clip(rng.normal(scale=300, size=(count, 3)), -990, 990)
    particles = dataclasses.replace(
        gas(positions, 1e9, 3e4, 1.0, electron_abundance=FULLY_IONISED),
        internal_energy=rng.uniform(1e5, 2e6, count),
        smoothing_length=rng.uniform(5, 200, count),
    )
    maps = halo_maps(snapshot(particles), halo_at(count * 1e9 / 2, r200), Maps(), np.eye(3)[None])
    total = maps["sz"].sum(dtype=np.float64) * (r200 / 40) ** 2
    assert total == pytest.approx(compton_y_by_pymsz(particles, r200), rel=1e-4)
