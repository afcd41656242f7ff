"""A map that was cut out around a wrong centre, or by a wrong R200.

Between the pixels it is bilinear. What lies beyond the map, which nobody drew, has the value at its edge.
"""

import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.compiled import compiled


def cut_out(maps: FloatArray, centre: FloatArray, factor: FloatArray) -> FloatArray:
    """Maps as they look to who takes a wrong place for their centre and a wrong length for R200.

    Parameters
    ----------
    maps : (n, 80, 80), any unit per area of the sky or of the cluster
    centre : (n, 2), along the rows and the columns, in true R200 from the true one
    factor : (n,), the R200 that is taken over the true one

    Returns
    -------
    (n, 80, 80), in the unit of `maps`, with pixels that are `factor` times as long
    """
    middle = (PIXELS - 1) / 2
    steps = np.arange(PIXELS) - middle
    places = middle + centre[:, :, None] * (PIXELS / 2) + factor[:, None, None] * steps  # (n, 2, 80)
    seen = np.empty(maps.shape, np.float64)
    _interpolate(np.asarray(maps, np.float64), np.clip(places, 0, PIXELS - 1), seen)
    return seen


@compiled(nogil=True)
def _interpolate(maps: FloatArray, places: FloatArray, seen: FloatArray) -> None:
    last = maps.shape[1] - 2
    for n in range(len(maps)):
        for i in range(maps.shape[1]):
            a = min(int(places[n, 0, i]), last)
            u = places[n, 0, i] - a
            for j in range(maps.shape[2]):
                b = min(int(places[n, 1, j]), last)
                v = places[n, 1, j] - b
                above = (1 - v) * maps[n, a, b] + v * maps[n, a, b + 1]
                below = (1 - v) * maps[n, a + 1, b] + v * maps[n, a + 1, b + 1]
                seen[n, i, j] = (1 - u) * above + u * below
