"""Intervals with a promise of finite samples, calibrated by region: hierarchical conformal prediction.

All maps of a region (lines of sight, snapshots, counterparts of other codes) show one object, so that maps are not
exchangeable; regions are. The rule is HCP of Lee, Barber & Willett (2023, arXiv 2306.06342, theorem 1): each of the n
regions that calibrate has the weight 1/(n + 1), spread evenly over its maps and their pixels, and infinity has the
last 1/(n + 1); the factor of a level is that quantile of the scores. A map drawn from a new region then lies in its
interval with at least that probability, whatever the distribution, if regions are alike. Unlike the subsampling of
Dunn, Wasserman & Ramdas (2022) it takes every map and nothing of it is random. No level above n/(n + 1) can be
promised.

The score is that of conformalised quantile regression (Romano, Patterson & Candes 2019) in units of a scale: how far
outside of the interval that a model itself gives a truth lies. Of a model without intervals that interval is its map.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray

ROUNDING = 1e-9  # of sums of weights, in regions


def highest_level(n_regions: int) -> float:
    """The highest level that so many regions can promise."""
    return n_regions / (n_regions + 1)


def scores(truth: FloatArray, low: FloatArray, high: FloatArray, scale: FloatArray) -> FloatArray:
    """How far each truth lies outside of low to high, in units of the scale; negative inside; any shape.

    Without a scale, 0, it is -1 inside and infinite outside: no factor makes such an interval wider.
    """
    outside = np.maximum(low - truth, truth - high)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(scale > 0, outside / scale, np.where(outside <= 0, -1.0, np.inf)))


def factors(found: FloatArray, region: npt.NDArray[np.generic], levels: Sequence[float]) -> FloatArray:
    """By how many scales an interval has to be widened, for each level: HCP's weighted quantile.

    Parameters
    ----------
    found : (n,) or (n, pixels), scores of the maps that calibrate
    region : (n,), the name of each map's region
    levels : in (0, 1)

    Returns
    -------
    (len(levels),), infinite where so few regions can promise nothing.
    """
    ordered, through, n = _by_region(found, region)
    place = np.searchsorted(through, np.array(levels) * (n + 1) - ROUNDING)
    return np.append(ordered, np.inf)[place]


def quantiles_by_region(found: FloatArray, region: npt.NDArray[np.generic], levels: Sequence[float]) -> FloatArray:
    """Quantiles of values of which each region has the same part, given as to `factors`: (len(levels),)."""
    ordered, through, n = _by_region(found, region)
    return np.asarray(ordered[np.minimum(np.searchsorted(through, np.array(levels) * n - ROUNDING), len(ordered) - 1)])


def _by_region(found: FloatArray, region: npt.NDArray[np.generic]) -> tuple[FloatArray, FloatArray, int]:
    """Values in their order, the weight up to and with each, in regions, and how many regions there are."""
    _, own, maps = np.unique(region, return_inverse=True, return_counts=True)
    flat = found.reshape(len(found), -1)
    weights = np.repeat(1 / (maps[own] * flat.shape[1]), flat.shape[1])
    order = np.argsort(flat, axis=None, kind="stable")
    return flat.ravel()[order], np.cumsum(weights[order]), len(maps)


def interval(
    low: FloatArray, high: FloatArray, scale: FloatArray, factor: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """The calibrated interval of each quantity, which holds every truth whose score is at most the factor; any shape.

    What no factor holds is infinite on both sides, whatever the scale.
    """
    with np.errstate(invalid="ignore"):
        reach = np.where(np.isposinf(factor), np.inf, factor * scale)
    return low - reach, high + reach
