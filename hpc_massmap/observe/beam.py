"""A Gaussian beam, or point-spread function, whose width in pixels is another for each cluster.

It is integrated over the pixels, along each axis by itself. Beyond the map, which nobody drew, are the values at its
edge: nothing of a source is lost that is farther from it than the beam reaches.
"""

import numpy as np
from scipy.special import ndtr

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.compiled import compiled

NOTHING = 1e-16  # of a pixel's light
FWHM = float(np.sqrt(8 * np.log(2)))  # of a Gaussian, in standard deviations


def blurred(maps: FloatArray, fwhm: FloatArray) -> FloatArray:
    """Maps (n, 80, 80), any unit per area, behind beams of that full width at half maximum, (n,) in pixels.

    Returns
    -------
    (n, 80, 80), in the unit of `maps`: at the centre of each pixel, of maps that are constant within pixels
    """
    edges = np.arange(PIXELS + 1) - 0.5
    edges[[0, -1]] = -np.inf, np.inf
    reach = (edges[None, None, :] - np.arange(PIXELS)[None, :, None]) * (FWHM / fwhm[:, None, None])
    weights = np.diff(ndtr(reach), axis=2)  # (n, 80, 80): of pixel j in what is seen at i
    reached = weights > NOTHING
    ends = np.stack([reached.argmax(axis=2), PIXELS - reached[:, :, ::-1].argmax(axis=2)], axis=2)
    seen = np.zeros(maps.shape, np.float64)
    _along_both(np.asarray(maps, np.float64), weights, ends, seen)
    return seen


@compiled(nogil=True)
def _along_both(maps: FloatArray, weights: FloatArray, ends: IntArray, seen: FloatArray) -> None:
    # loops in place of a matrix product, whose last bits depend on the number of threads
    side = maps.shape[1]
    for n in range(len(maps)):
        half = np.zeros((side, side))
        for i in range(side):
            for k in range(ends[n, i, 0], ends[n, i, 1]):
                half[i] += weights[n, i, k] * maps[n, k]
        for i in range(side):
            for j in range(side):
                for k in range(ends[n, j, 0], ends[n, j, 1]):
                    seen[n, i, j] += half[i, k] * weights[n, j, k]
