"""The SZ map: the Compton-y that one gas particle adds (eq. 1)."""

import numpy as np
from astropy import constants as const
from astropy import units as u

from hpc_massmap.arrays import FloatArray
from hpc_massmap.maps.gas import electrons, temperature
from hpc_massmap.sims.particles import Gas

COMPTON = float((const.sigma_T * const.k_B / (const.m_e * const.c**2)).to_value(u.kpc**2 / u.K))


def integrated_compton_y(gas: Gas, h: float) -> FloatArray:
    """Compton-y times area (eq. 1): sigma_T k_B T N_e / (m_e c^2).

    Returns
    -------
    (n,), kpc^2; 0 for gas that is not `thermal`
    """
    y = COMPTON * temperature(gas) * electrons(gas, h)
    return np.where(gas.thermal, y, 0.0)
