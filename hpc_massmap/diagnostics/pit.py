"""Probability integral transform (PIT): where in its distribution a truth lies, even in [0, 1] if that is right.

A pile at both ends says that the distributions are too narrow, one in the middle too wide, one at one end that they are
shifted. Of finite samples a truth has a rank, which is spread evenly over its part of [0, 1], so that right ones are
exactly even (Dawid 1984; Czado, Gneiting & Held 2009).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.estimate import Estimate, mean_of

BINS = 20


def pit(truth: FloatArray, samples: FloatArray, uniform: FloatArray) -> FloatArray:
    """Randomised PIT of truths among samples, of the shape of `truth`.

    Parameters
    ----------
    truth : (...)
    samples : (s, ...)
    uniform : (...), even in [0, 1): which place within a rank
    """
    below, equal = (samples < truth).sum(axis=0), (samples == truth).sum(axis=0)
    return np.asarray((below + uniform * (equal + 1)) / (len(samples) + 1))


def pit_of_quantiles(
    truth: FloatArray, quantiles: FloatArray, levels: Sequence[float], uniform: FloatArray
) -> FloatArray:
    """Randomised PIT of truths among quantiles, which tell no more than between which two of them a truth lies.

    Parameters
    ----------
    truth : (...)
    quantiles : (k, ...), rising along the first axis
    levels : of the quantiles, rising in (0, 1)
    uniform : (...), even in [0, 1)

    Returns
    -------
    As (...); with right quantiles even within each part and between them.
    """
    edges = np.array([0.0, *levels, 1.0])
    below, not_above = (quantiles < truth).sum(axis=0), (quantiles <= truth).sum(axis=0)
    return np.asarray(edges[below] + uniform * (edges[not_above + 1] - edges[below]))


def histogram(values: FloatArray) -> FloatArray:
    """Densities in 20 bins of each map's own PITs, which are 1 if they are even: (n, k) to (n, 20)."""
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    counts = np.stack([np.bincount(row, minlength=BINS) for row in bins]) if len(bins) else np.empty((0, BINS))
    return np.asarray(counts * (BINS / values.shape[1]))


def pit_density(densities: FloatArray, region: npt.NDArray[np.generic]) -> Estimate:
    """The PIT histogram of many maps with errors by region: (20,).

    Parameters
    ----------
    densities : (n, 20), of each map, as of `histogram`
    region : (n,), the name of each map's region
    """
    return mean_of(densities, region)
