"""Interval score of Winkler (1972): the width of an interval, and what it costs to miss the truth.

score = (high - low) + 2/alpha (low - y) where y < low, + 2/alpha (y - high) where y > high, for the level 1 - alpha
(Gneiting & Raftery 2007, eq. 43). Only the central interval of the right distribution makes it least.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from hpc_massmap.arrays import FloatArray


def interval_score(truth: FloatArray, low: FloatArray, high: FloatArray, level: float) -> FloatArray:
    """The score of each interval, in the truth's unit; any shape, NaN where there is no interval, which is infinite."""
    with np.errstate(invalid="ignore"):
        missed = np.maximum(low - truth, 0.0) + np.maximum(truth - high, 0.0)
        score = (high - low) + 2 / (1 - level) * missed
    return np.where(np.isfinite(score), score, np.nan)


def expected_score_of_normal(level: float, factor: float = 1.0) -> float:
    """Mean score, in units of sigma, of the central interval of a normal distribution made wider by a factor."""
    z = float(factor * ndtri((1 + level) / 2))
    tail = float(np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) - z * ndtr(-z))  # E max(y - z, 0)
    return 2 * z + 4 / (1 - level) * tail
