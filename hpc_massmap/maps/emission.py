"""What one gas particle contributes to the SZ and X-ray maps.

Temperatures and ionisation follow the simulation: k_B T = (gamma - 1) u mu m_p with mu = 4/(1 + 3X + 4 X x_e), where
X is the hydrogen mass fraction and x_e the electrons per hydrogen nucleus. Masses come with h and lose it here.

Star-forming gas (SFR > 0) is left out of both maps: its temperature is that of the subgrid model's effective equation
of state, not of a plasma. X-rays further leave out gas below 1e6 K, whose emission is not bremsstrahlung.
"""

import numpy as np
from astropy import constants as const
from astropy import units as u

from hpc_massmap.arrays import FloatArray
from hpc_massmap.sims.particles import HYDROGEN_FRACTION, Gas

GAMMA = 5 / 3
GAUNT_FACTOR = 1.2  # frequency average, good to 20 % (Rybicki & Lightman 1979, below eq. 5.15b)
COLDEST_XRAY_GAS = 1e6  # K
XRAY_UNIT = 1e40 * u.erg / u.s

PROTONS_PER_MSUN = float(u.Msun.to(u.kg) / const.m_p.si.value)
KELVIN = float((const.m_p * (u.km / u.s) ** 2 / const.k_B).to_value(u.K))  # of m_p (km/s)^2
COMPTON = float((const.sigma_T * const.k_B / (const.m_e * const.c**2)).to_value(u.kpc**2 / u.K))

# Rybicki & Lightman (1979) eq. 5.15: emissivity = BREMSSTRAHLUNG * sqrt(T) n_e n_i Z^2 g, here without g
_RADIATED = 2**5 * np.pi * const.e.esu**6 / (3 * const.h * const.m_e * const.c**3)
_SPEED = (2 * np.pi * const.k_B / (3 * const.m_e)) ** 0.5
BREMSSTRAHLUNG = (_RADIATED.cgs * _SPEED.cgs).value * u.erg * u.cm**3 / u.s / u.K**0.5
LUMINOSITY = float((BREMSSTRAHLUNG / u.kpc**3 / XRAY_UNIT * u.K**0.5).to_value(u.dimensionless_unscaled))


def temperature(gas: Gas) -> FloatArray:
    """K, (n,)."""
    x = HYDROGEN_FRACTION
    molecular_weight = 4 / (1 + 3 * x + 4 * x * gas.electron_abundance)
    return (GAMMA - 1) * gas.internal_energy * molecular_weight * KELVIN


def electrons(gas: Gas, h: float) -> FloatArray:
    """Number of free electrons in each particle, (n,)."""
    return gas.masses / h * PROTONS_PER_MSUN * HYDROGEN_FRACTION * gas.electron_abundance


def integrated_compton_y(gas: Gas, h: float) -> FloatArray:
    """Compton-y times area (eq. 1): sigma_T k_B T N_e / (m_e c^2).

    Returns
    -------
    (n,), kpc^2; 0 for star-forming gas
    """
    y = COMPTON * temperature(gas) * electrons(gas, h)
    return np.where(gas.star_formation_rate > 0, 0.0, y)


def bremsstrahlung_luminosity(gas: Gas, h: float) -> FloatArray:
    """Bolometric thermal bremsstrahlung of each particle.

    The sum of Z^2 n_i over hydrogen and helium, both fully ionised above 1e6 K, is n_H + 4 n_He = rho/m_p exactly,
    whatever the hydrogen fraction.

    Returns
    -------
    (n,), 1e40 erg/s; 0 for star-forming gas and below 1e6 K
    """
    kelvin = temperature(gas)
    ions = gas.density * PROTONS_PER_MSUN  # sum of Z^2 n_i, kpc^-3
    luminosity = LUMINOSITY * GAUNT_FACTOR * np.sqrt(kelvin) * electrons(gas, h) * ions
    return np.where((gas.star_formation_rate > 0) | (kelvin < COLDEST_XRAY_GAS), 0.0, luminosity)
