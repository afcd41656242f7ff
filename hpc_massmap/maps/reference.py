"""The projection of a halo written down as it is defined, slow and plain: what deposit.py must agree with.

The map is the square [-R200, R200]^2 in the rotated frame, cut into 640 x 640 fine pixels. Every particle whose
centre lies in the cube counts. Its kernel is sampled at the centres of the fine pixels within its radius, by projected
distance, and renormalised so that the weights inside the image sum to 1; a kernel smaller than a fine pixel puts
everything into the pixel the particle is in. The fine map is then smoothed by a Gaussian with FWHM 0.015 R200,
reflected at the edges, and summed in blocks to 80 x 80: nothing is lost at any step.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.maps.kernels import KERNELS, ProjectedKernel, projected_kernel

FINE_PIXELS = 640
BLOCK = FINE_PIXELS // PIXELS
FWHM = 0.015  # R200
SIGMA = FWHM * FINE_PIXELS / 2 / (2 * np.sqrt(2 * np.log(2)))  # fine pixels
TRUNCATE = 4.0  # standard deviations


def project(
    positions: FloatArray, radii: FloatArray, quantities: FloatArray, rotation: FloatArray, kernel: str
) -> FloatArray:
    """Project particles along one line of sight.

    Parameters
    ----------
    positions : (n, 3), from the halo's centre, R200
    radii : (n,), of the kernels, R200; 0 for nearest grid point
    quantities : (channels, n), additive: masses, luminosities, Compton-y times area
    rotation : (3, 3), row 2 is the line of sight

    Returns
    -------
    (channels, 80, 80), sum in each pixel; the first pixel axis is row 0 of the rotation, the second row 1
    """
    if kernel not in KERNELS:
        raise ValueError(f"{kernel!r} is none of {', '.join(KERNELS)}")
    fine = fine_map(positions @ rotation.T, radii, quantities, projected_kernel(kernel))
    smooth = np.stack([gaussian_filter(channel, SIGMA, mode="reflect", truncate=TRUNCATE) for channel in fine])
    return np.asarray(smooth.reshape(-1, PIXELS, BLOCK, PIXELS, BLOCK).sum(axis=(2, 4)))


def fine_map(rotated: FloatArray, radii: FloatArray, quantities: FloatArray, kernel: ProjectedKernel) -> FloatArray:
    """Deposit on the fine pixels: (channels, 640, 640)."""
    fine = np.zeros((len(quantities), FINE_PIXELS, FINE_PIXELS))
    in_pixels = FINE_PIXELS / 2
    centre = np.arange(FINE_PIXELS) + 0.5
    for n in np.flatnonzero(np.all(np.abs(rotated) <= 1, axis=1)):
        x, y = (rotated[n, :2] + 1) * in_pixels
        radius = radii[n] * in_pixels
        if radius < 1:
            i, j = (min(int(c), FINE_PIXELS - 1) for c in (x, y))
            fine[:, i, j] += quantities[:, n]
            continue
        rows, columns = (slice(max(int(c - radius), 0), int(c + radius) + 1) for c in (x, y))
        q2 = ((centre[rows, None] - x) ** 2 + (centre[None, columns] - y) ** 2) / radius**2
        position = np.linspace(0, 1, len(kernel.table))
        weights = np.interp(q2, position, kernel.table, right=0.0)
        fine[:, rows, columns] += quantities[:, n, None, None] * weights / weights.sum()
    return fine
