"""Sums of maps in apertures: the ten cylinders of a mass profile, and the rings between them.

A pixel belongs to an aperture if its centre does: no sub-pixel weights, as in the paper.
"""

from functools import cache

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.grid import pixel_area, squared_radii

RADII = np.arange(1, 11) / 10  # in R200
N_RINGS = len(RADII) + 1  # the last one is all that lies beyond R200


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
    ring = ring_of_pixels().ravel()
    area = pixel_area(r200)
    masses = np.empty((len(surface_density), len(RADII)))
    for n, pixels in enumerate(surface_density):  # one by one, so that no result depends on its neighbours
        masses[n] = np.cumsum(np.bincount(ring, pixels.ravel())[: len(RADII)]) * area[n]
    return masses


@cache
def ring_of_pixels() -> IntArray:
    """Which ring, R200/10 wide, each pixel's centre is in: (80, 80), 0 to 10."""
    ring: IntArray = np.searchsorted(RADII, np.sqrt(squared_radii()))
    return ring


def pixels_in_rings() -> IntArray:
    """How many pixels each ring has: (11,)."""
    found: IntArray = np.bincount(ring_of_pixels().ravel(), minlength=N_RINGS)
    return found


def means_in_rings(maps: FloatArray) -> FloatArray:
    """Means over the pixels of each ring: (..., 80, 80) to (..., 11)."""
    ring, flat = ring_of_pixels().ravel(), maps.reshape(-1, maps.shape[-2] * maps.shape[-1])
    sums = [np.bincount(ring, one, N_RINGS) for one in flat]  # one by one, as above
    return np.array(sums, np.float64).reshape(*maps.shape[:-2], N_RINGS) / pixels_in_rings()
