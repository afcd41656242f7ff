"""What one particle emits: the Gaunt factor, units written out, the table."""

import dataclasses

import mpmath  # type: ignore[import-untyped,unused-ignore]
import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from scipy.special import roots_genlaguerre, roots_legendre

from hpc_massmap.maps.cooling import CoolingTable
from hpc_massmap.maps.gas import temperature
from hpc_massmap.maps.xray import BREMSSTRAHLUNG, bremsstrahlung_luminosity, gaunt_factor, xray_luminosity
from hpc_massmap.sims.particles import Gas
from tests.maps.test_physics import gas

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
