"""Continuous ranked probability score (CRPS): how far a distribution is from the truth, in the truth's unit.

It is the mean absolute error of a distribution that is a single number, and rewards narrow ones that are right
(Gneiting & Raftery 2007). Of s samples the fair estimator is used, whose expectation is the score of the distribution
that they are from, whatever s (Ferro 2014).
"""

import numpy as np
from scipy.special import ndtr

from hpc_massmap.arrays import FloatArray


def crps(truth: FloatArray, samples: FloatArray, is_sorted: bool = False) -> FloatArray:
    """Fair CRPS of samples: `mean |x_i - y| - sum_ij |x_i - x_j| / (2 s (s - 1))`.

    The sum over pairs is one over the sorted samples, each as often as it is the larger less the smaller of a pair.

    Parameters
    ----------
    truth : (...)
    samples : (s, ...)
    is_sorted : whether they rise along the first axis

    Returns
    -------
    (...), NaN of fewer than two samples, which have no spread.
    """
    s = len(samples)
    if s < 2:
        return np.full(truth.shape, np.nan)
    ordered = samples if is_sorted else np.sort(samples, axis=0)
    distance, pairs = np.zeros(truth.shape), np.zeros(truth.shape)
    for k, one in enumerate(ordered):  # in this order whatever the shape, so that no result depends on its neighbours
        distance += np.abs(one - truth)
        pairs += (2 * k - s + 1) * one.astype(np.float64)
    return np.asarray(distance / s - pairs / (s * (s - 1)))


def crps_of_quantiles(truth: FloatArray, quantiles: FloatArray) -> FloatArray:
    """CRPS of a distribution that is given by s quantiles at the levels (k - 1/2)/s: twice the mean pinball loss.

    Parameters
    ----------
    truth : (...)
    quantiles : (s, ...), rising along the first axis
    """
    s, found = len(quantiles), np.zeros(truth.shape)
    for k, one in enumerate(quantiles):
        above = truth - one
        found += np.maximum((k + 0.5) / s * above, ((k + 0.5) / s - 1) * above)
    return np.asarray(2 * found / s)


def crps_of_normal(truth: FloatArray, mean: FloatArray, sigma: FloatArray) -> FloatArray:
    """CRPS of a normal distribution in closed form (Gneiting et al. 2005, eq. 5); any shape."""
    z = (truth - mean) / sigma
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray(sigma * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi)))
