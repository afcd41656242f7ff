"""Coverage: whether intervals hold the truth as often as they promise.

By itself it can be had for nothing, by intervals that know the sample and not the map: these are right over all maps
and wrong in every part of them. So coverage is given by parts, too, beside scores that reward narrow intervals.
"""

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.estimate import Estimate, share_of

LEVELS = (0.5, 0.68, 0.9, 0.95)  # that are promised and tested


def is_inside(truth: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """1 where low <= truth <= high, else 0; NaN where there is no interval, which is infinite; any shape."""
    inside = ((low <= truth) & (truth <= high)).astype(np.float64)
    return np.where(np.isposinf(high) | np.isnan(high) | np.isnan(truth), np.nan, inside)


def coverage(truth: FloatArray, low: FloatArray, high: FloatArray, region: npt.NDArray[np.generic]) -> Estimate:
    """Share of maps whose truth lies in its interval, with an error by region.

    Parameters
    ----------
    truth, low, high : (n, ...)
    region : (n,), the name of each map's region
    """
    return share_of(is_inside(truth, low, high), region)
