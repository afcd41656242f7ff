"""Where the pixels of a map are and how large they are: 80x80 that span R200 to each side of the centre (eq. 3)."""

import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray


def pixel_positions() -> FloatArray:
    """Centres of the pixels along one side: (80,), in R200 from the middle of the map."""
    return np.asarray((np.arange(PIXELS) - (PIXELS - 1) / 2) / (PIXELS / 2))


def squared_radii() -> FloatArray:
    """Squared distance of every pixel's centre from the map's: (80, 80), in units of R200 squared.

    None is on an aperture of tenths of R200: in units of R200/80 coordinates are odd, so squares sum to 2 modulo 8.
    """
    position = pixel_positions()
    return np.asarray(position[:, None] ** 2 + position[None, :] ** 2)


def pixel_area(r200: FloatArray | float) -> FloatArray:
    """Area of a pixel (eq. 3), of the shape of `r200` (kpc): kpc^2."""
    return np.asarray((r200 / (PIXELS / 2)) ** 2)
