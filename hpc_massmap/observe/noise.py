"""Noise of a map of the cosmic microwave background, in Compton-y: white, and what the atmosphere adds to it."""

import numpy as np
from astropy import constants as const
from astropy import units as u
from numpy.random import Generator

from hpc_massmap.arrays import FloatArray

T_CMB = 2.7255  # K (Fixsen 2009)
PER_GHZ = float((const.h * u.GHz / (const.k_B * T_CMB * u.K)).to_value(u.dimensionless_unscaled))


def spectral_function(frequency: float) -> float:
    """What a Compton-y of 1 is in units of T_CMB at that frequency (GHz): x coth(x/2) - 4, without relativity.

    Sunyaev & Zel'dovich (1972); Carlstrom, Holder & Reese (2002), eq. 2.
    """
    x = PER_GHZ * frequency
    return float(x / np.tanh(x / 2) - 4)


def noise_in_y(depth: float, frequency: float, arcmin: FloatArray) -> FloatArray:
    """Standard deviation of Compton-y in pixels of that side, (n,) in arcmin: (n,).

    Parameters
    ----------
    depth : μK arcmin, of thermodynamic temperature
    frequency : GHz
    """
    return np.asarray(depth * 1e-6 / (arcmin * T_CMB * abs(spectral_function(frequency))))


def with_noise(
    maps: FloatArray, sigma: FloatArray, arcmin: FloatArray, knee: float, slope: float, chance: list[Generator]
) -> FloatArray:
    """Maps (n, 80, 80) with noise of power N (1 + (knee/l)^slope) at multipole l: (n, 80, 80).

    Parameters
    ----------
    sigma : (n,) in the maps' unit, of the white part, N, in a pixel
    arcmin : (n,), along a side of a pixel
    knee : multipole; the mean of a map, whose l is 0, has the white part alone
    """
    noise = np.stack([one.standard_normal(maps.shape[1:]) for one in chance]) * sigma[:, None, None]
    if knee > 0:
        noise = np.stack([_reddened(one, side, knee, slope) for one, side in zip(noise, arcmin, strict=True)])
    return np.asarray(maps + noise)


def _reddened(noise: FloatArray, arcmin: float, knee: float, slope: float) -> FloatArray:
    per_radian = [2 * np.pi * np.fft.fftfreq(side, np.deg2rad(arcmin / 60)) for side in noise.shape]
    multipole = np.hypot(*np.meshgrid(*per_radian, indexing="ij"))
    multipole[0, 0] = np.inf
    factor = np.sqrt(1 + (knee / multipole) ** slope)
    return np.asarray(np.fft.ifft2(np.fft.fft2(noise) * factor).real)
