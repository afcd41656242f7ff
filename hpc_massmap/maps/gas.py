"""What the SZ and X-ray maps need to know of the gas: how hot it is and how many electrons it has.

Temperatures and ionisation follow the simulation: k_B T = (gamma - 1) u mu m_p with mu = 4/(1 + 3X + 4 X x_e), where
X is the hydrogen mass fraction and x_e the electrons per hydrogen nucleus. Masses come with h and lose it here.

Gas that is no plasma at its own temperature is left out of both maps; `Gas.thermal` is the rule.
"""

from astropy import constants as const
from astropy import units as u

from hpc_massmap.arrays import FloatArray
from hpc_massmap.sims.particles import GAMMA, Gas

PROTONS_PER_MSUN = float(u.Msun.to(u.kg) / const.m_p.si.value)
KELVIN = float((const.m_p * (u.km / u.s) ** 2 / const.k_B).to_value(u.K))  # of m_p (km/s)^2


def temperature(gas: Gas) -> FloatArray:
    """K, (n,)."""
    x = gas.hydrogen_fraction
    molecular_weight = 4 / (1 + 3 * x + 4 * x * gas.electron_abundance)
    return (GAMMA - 1) * gas.internal_energy * molecular_weight * KELVIN


def electrons(gas: Gas, h: float) -> FloatArray:
    """Number of free electrons in each particle, (n,)."""
    return gas.masses / h * PROTONS_PER_MSUN * gas.hydrogen_fraction * gas.electron_abundance
