"""How the energy of thermal bremsstrahlung is shared out among its photons.

In Born's approximation the free-free Gaunt factor at photon energy E = u k_B T is sqrt(3)/pi exp(u/2) K0(u/2), and the
energy above u is a closed form. Slow electrons radiate more at high u than that; a polynomial in the Born parameter
Z alpha c/v, here gamma = sqrt(Z^2 Ry / k_B T), corrects for it. Against the exact non-relativistic Gaunt factor (Karzas
& Latter 1961, averaged over Maxwell's speeds), for hydrogen and helium above 1e6 K: the energy above u is right to
0.6 %, that in a narrow band to 1.3 %. That relativistic electrons have another spectrum is left out, as are lines.
"""

import numpy as np
from astropy import constants as const
from astropy import units as u
from numpy.polynomial.chebyshev import chebvander
from scipy.special import k0e, k1e

from hpc_massmap.arrays import FloatArray

KELVIN_OF_KEV = float((u.keV / const.k_B).to_value(u.K))
RYDBERG = float((const.Ryd * const.h * const.c / const.k_B).to_value(u.K))

# ln(exact / Born) of the energy above u, as u / (1 + u) sum_jk BEYOND_BORN[j, k] gamma^(j + 1) T_k(x), x being log10 u
# over RANGE mapped to -1..1; a test integrates the exact one anew
RANGE = (-3.0, 1.5)
BEYOND_BORN = np.array(
    [
        [2.6579, -1.1930, 0.5987, 0.1628, -0.0798, -0.0304],
        [-2.7156, 2.4084, -0.5565, -0.1864, 0.0808, 0.0131],
        [1.1026, -1.3752, 0.2581, 0.1003, -0.0269, -0.0029],
    ]
)


def energy_above(kelvin: FloatArray, charge: int, kev: float) -> FloatArray:
    """The fraction of the energy of bremsstrahlung on nuclei of one charge that is in photons above `kev`.

    Parameters
    ----------
    kelvin : (n,), at least 1e6 K
    kev : photon energy, keV

    Returns
    -------
    (n,); 1 above 0 keV
    """
    if kev == 0:
        return np.ones(len(kelvin))
    x = kev * KELVIN_OF_KEV / kelvin
    born = x / 2 * np.exp(-x) * (k1e(x / 2) - k0e(x / 2))  # the integral of exp(-u/2) K0(u/2), of all of which it is 2
    gamma = charge * np.sqrt(RYDBERG / kelvin)
    low, high = RANGE
    place = (2 * np.clip(np.log10(x), low, high) - low - high) / (high - low)
    in_gamma = chebvander(place, BEYOND_BORN.shape[1] - 1) @ BEYOND_BORN.T  # (n, 3)
    correction = gamma * (in_gamma[:, 0] + gamma * (in_gamma[:, 1] + gamma * in_gamma[:, 2]))
    return np.asarray(born * np.exp(correction * x / (1 + x)))


def energy_between(kelvin: FloatArray, charge: int, energies: tuple[float, float]) -> FloatArray:
    """The fraction between two photon energies in keV, (n,); those of bands that meet add up. See `energy_above`."""
    low, high = energies
    return energy_above(kelvin, charge, low) - energy_above(kelvin, charge, high)
