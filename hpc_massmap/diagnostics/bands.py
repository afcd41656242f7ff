"""The interval that a model itself gives at each level, and the scale in which its calibration widens it.

A band has three arrays: low, high and scale. Of samples and quantiles the scale is half the interval's width, so that
calibration stretches it by one factor for all maps, and a map that is said to be uncertain stays so. Of a map without
intervals low and high are the map, and the scale is in proportion to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from hpc_massmap.apertures import means_in_rings, ring_of_pixels
from hpc_massmap.arrays import FloatArray

PARTS = 99
FRACTIONS = tuple((n + 0.5) / PARTS for n in range(PARTS))  # levels of quantiles that stand for a whole distribution


@dataclass(frozen=True)
class Band:
    """An interval of each quantity at each level.

    Attributes
    ----------
    low, high, scale : (levels, ...); a first axis of 1 stands for all levels
    """

    low: FloatArray
    high: FloatArray
    scale: FloatArray


def pixel_scale(maps: FloatArray) -> FloatArray:
    """Scale of the pixels of a map without intervals: halfway from each to the mean of its ring; (..., 80, 80)."""
    size = np.abs(maps)
    return np.asarray((size + means_in_rings(size)[..., ring_of_pixels()]) / 2)


def band_of_point(centre: FloatArray, scale: FloatArray) -> Band:
    """Of a quantity without an interval, the same at every level; `centre` and `scale` of any shape."""
    return Band(centre[None], centre[None], scale[None])


def band_of_samples(ordered: FloatArray, levels: Sequence[float]) -> Band:
    """Central intervals of samples.

    The k-th of s samples has a new one below it with probability k/(s + 1), and between samples the quantile is linear;
    the outermost samples are the widest interval, so that of few it holds less than a high level.

    Parameters
    ----------
    ordered : (s, ...), rising along the first axis
    levels : in (0, 1)
    """
    s = len(ordered)
    tails = [(1 - np.array(levels)) / 2, (1 + np.array(levels)) / 2]
    return _band(*(_at(ordered, np.clip(tail * (s + 1) - 1, 0, s - 1)) for tail in tails))


def band_of_quantiles(quantiles: FloatArray, of: Sequence[float], levels: Sequence[float]) -> Band:
    """Central intervals from quantiles at a few levels: linear between and beyond them in the normal's own quantile.

    Parameters
    ----------
    quantiles : (k, ...), rising along the first axis; two or more
    of : the levels of the quantiles, rising in (0, 1)
    levels : of the intervals, in (0, 1)
    """
    ends = [[(1 + sign * level) / 2 for level in levels] for sign in (-1, 1)]
    return _band(*(quantiles_between(quantiles, of, tails) for tails in ends))


def quantiles_between(quantiles: FloatArray, of: Sequence[float], wanted: Sequence[float]) -> FloatArray:
    """Quantiles at other levels, as those of `band_of_quantiles`: (len(wanted), ...)."""
    known, places = ndtri(np.array(of)), ndtri(np.array(wanted))
    below = np.clip(np.searchsorted(known, places) - 1, 0, len(known) - 2)
    part = ((places - known[below]) / (known[below + 1] - known[below])).reshape(-1, *[1] * (quantiles.ndim - 1))
    return np.asarray((1 - part) * quantiles[below] + part * quantiles[below + 1])


def central(quantiles: FloatArray, levels: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Central intervals by quantiles at `FRACTIONS`, (99, ...): low and high, (levels, ...) each."""
    tails = [(1 - np.array(levels)) / 2, (1 + np.array(levels)) / 2]
    low, high = (_at(quantiles, np.clip(tail * PARTS - 0.5, 0, PARTS - 1)) for tail in tails)
    return low, high


def _band(low: FloatArray, high: FloatArray) -> Band:
    return Band(low, high, (high - low) / 2)


def _at(ordered: FloatArray, place: FloatArray) -> FloatArray:
    below = np.minimum(place.astype(np.int64), len(ordered) - 1)
    above = np.minimum(below + 1, len(ordered) - 1)
    part = (place - below).reshape(-1, *[1] * (ordered.ndim - 1))
    return np.asarray((1 - part) * ordered[below] + part * ordered[above])
