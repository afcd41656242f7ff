"""Cylindrical mass profiles of surface-density maps (section 4.2, eq. 9 and 10).

A pixel belongs to an aperture if its centre does: no sub-pixel weights, as in the paper.
"""

from dataclasses import dataclass

import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.metrics.pixels import squared_radii

RADII = np.arange(1, 11) / 10  # in R200


@dataclass(frozen=True)
class Profiles:
    """Enclosed masses of n maps.

    Attributes
    ----------
    radii : (10,), in R200
    mass_true, mass_predicted : (n, 10), unit of the map times kpc^2: Msun/h for `mass` and `star`
    bias : (n, 10), eq. 10; NaN where only the true mass is 0
    """

    radii: FloatArray
    mass_true: FloatArray
    mass_predicted: FloatArray
    bias: FloatArray


def enclosed_mass(surface_density: FloatArray, r200: FloatArray) -> FloatArray:
    """Mass inside cylinders of radius R200/10, 2 R200/10, ..., R200 (eq. 9).

    Parameters
    ----------
    surface_density : (n, 80, 80), Msun/h per kpc^2
    r200 : (n,), kpc

    Returns
    -------
    (n, 10), Msun/h
    """
    # no centre lies on an aperture: in units of R200/80 its coordinates are odd, so their squares sum to 2 modulo 8
    ring = np.searchsorted(RADII, np.sqrt(squared_radii())).ravel()
    pixel_area = (r200 / (PIXELS / 2)) ** 2
    masses = np.empty((len(surface_density), len(RADII)))
    for n, pixels in enumerate(surface_density):  # one by one, so that no result depends on its neighbours
        masses[n] = np.cumsum(np.bincount(ring, pixels.ravel())[: len(RADII)]) * pixel_area[n]
    return masses
