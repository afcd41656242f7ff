"""The X-ray map: the luminosity of one gas particle (eq. 2).

Gas below 1e6 K is left out. The closed form is bremsstrahlung of hydrogen and helium alone: it has no lines, which
matter in groups and wherever gas is metal-rich and cooler than some 1e7 K. The table (cooling.py) has them.
"""

import numpy as np
import numpy.typing as npt
from astropy import constants as const
from astropy import units as u
from numpy.polynomial.chebyshev import chebval

from hpc_massmap.arrays import FloatArray
from hpc_massmap.maps.cooling import CoolingTable
from hpc_massmap.maps.gas import PROTONS_PER_MSUN, electrons, temperature
from hpc_massmap.maps.spectrum import RYDBERG, energy_between
from hpc_massmap.sims.particles import Gas

BoolArray = npt.NDArray[np.bool_]

DEFAULT_METALLICITY = 0.3  # solar, of the intracluster medium, where the snapshot has none
COLDEST_XRAY_GAS = 1e6  # K
XRAY_UNIT = 1e40 * u.erg / u.s

# The exact non-relativistic Gaunt factor (Karzas & Latter 1961), averaged over frequency and speed, as Chebyshev
# coefficients in log10(Z^2 Ry / k_B T) over GAUNT_RANGE; a test integrates it anew
GAUNT_RANGE = (-4.0, 1.0)
GAUNT = (1.25928, 0.14387, -0.04859, -0.06575, -0.01096, 0.01304, 0.00716, -0.00063, -0.00196)
RELATIVISTIC = 4.4e-10  # per K: relativistic electrons and their mutual collisions (Rybicki & Lightman 1979, eq. 5.25)

# Rybicki & Lightman (1979) eq. 5.15: emissivity = BREMSSTRAHLUNG * sqrt(T) n_e n_i Z^2 g, here without g
_RADIATED = 2**5 * np.pi * const.e.esu**6 / (3 * const.h * const.m_e * const.c**3)
_SPEED = (2 * np.pi * const.k_B / (3 * const.m_e)) ** 0.5
BREMSSTRAHLUNG = (_RADIATED.cgs * _SPEED.cgs).value * u.erg * u.cm**3 / u.s / u.K**0.5
LUMINOSITY = float((BREMSSTRAHLUNG / u.kpc**3 / XRAY_UNIT * u.K**0.5).to_value(u.dimensionless_unscaled))
COOLING = float((u.erg * u.cm**3 / u.s / u.kpc**3 / XRAY_UNIT).to_value(u.dimensionless_unscaled))


def gaunt_factor(kelvin: FloatArray, charge: int) -> FloatArray:
    """Frequency-averaged Gaunt factor of electrons on bare nuclei, (n,); beyond GAUNT_RANGE its value at the edge."""
    low, high = GAUNT_RANGE
    log_gamma2 = np.clip(np.log10(charge**2 * RYDBERG / kelvin), low, high)
    return np.asarray(chebval((2 * log_gamma2 - low - high) / (high - low), GAUNT))


def bremsstrahlung_luminosity(gas: Gas, h: float, energies: tuple[float, float] | None = None) -> FloatArray:
    """Thermal bremsstrahlung of hydrogen and helium, both fully ionised, in each particle.

    Parameters
    ----------
    energies : keV, as emitted, of the photons that count; None for all

    Returns
    -------
    (n,), 1e40 erg/s; 0 for gas that is not `thermal` and below 1e6 K
    """
    kelvin = np.maximum(temperature(gas), COLDEST_XRAY_GAS)  # colder gas is left out, and gas at 0 K must not divide
    x = gas.hydrogen_fraction  # Z^2 n m_p / rho of hydrogen; that of helium, as which metals count, is 1 - x
    gaunt = np.zeros(len(gas))
    for charge, share in ((1, x), (2, 1 - x)):
        seen = energy_between(kelvin, charge, energies) if energies else 1.0
        gaunt += share * gaunt_factor(kelvin, charge) * seen
    ions = gas.density * PROTONS_PER_MSUN  # sum of Z^2 n_i, kpc^-3
    luminosity = LUMINOSITY * gaunt * (1 + RELATIVISTIC * kelvin) * np.sqrt(kelvin) * electrons(gas, h) * ions
    return np.where(_shines(gas), luminosity, 0.0)


def xray_luminosity(
    gas: Gas, h: float, cooling: CoolingTable | None, energies: tuple[float, float] | None = None
) -> FloatArray:
    """X-ray luminosity of each particle, of a table or, without one, of bremsstrahlung in closed form.

    The metallicity is the particle's, in units of the table's solar one; 0.3 solar where the snapshot has none.

    Parameters
    ----------
    cooling : for the photons that count
    energies : without a table, as of `bremsstrahlung_luminosity`

    Returns
    -------
    (n,), 1e40 erg/s; 0 for gas that is not `thermal` and below 1e6 K
    """
    if cooling is None:
        return bremsstrahlung_luminosity(gas, h, energies)
    metallicity = (
        np.full(len(gas), DEFAULT_METALLICITY)
        if gas.metallicity is None
        else gas.metallicity / cooling.solar_metallicity
    )
    emissivity = cooling(np.maximum(temperature(gas), COLDEST_XRAY_GAS), metallicity)
    hydrogen = gas.density * PROTONS_PER_MSUN * gas.hydrogen_fraction  # kpc^-3
    return np.where(_shines(gas), COOLING * emissivity * electrons(gas, h) * hydrogen, 0.0)


def _shines(gas: Gas) -> BoolArray:
    return gas.thermal & (temperature(gas) >= COLDEST_XRAY_GAS)
