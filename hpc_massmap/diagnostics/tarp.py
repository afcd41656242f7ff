"""TARP: whether a posterior over whole maps is right, by distances to references (Lemos et al. 2023, arXiv 2302.03026).

The samples that are nearer to a reference than the truth is are a credible region about it. If the posterior is right,
their share is even in [0, 1] whatever the reference, so that coverage is tested without a density, in any dimension. To
find out a posterior that ignores the data, the reference has to depend on them (their section 3).
"""

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.estimate import Estimate, share_of


def tarp_fraction(truth: FloatArray, samples: FloatArray, reference: FloatArray, uniform: FloatArray) -> FloatArray:
    """Share of the samples of each map that are nearer to its reference than the truth is.

    Parameters
    ----------
    truth, reference : (n, d)
    samples : (n, s, d)
    uniform : (n,), even in [0, 1), which spreads a rank over its part of [0, 1]

    Returns
    -------
    (n,), even in [0, 1] if the posterior is right.
    """
    of_truth = ((truth - reference) ** 2).sum(axis=1)
    of_samples = ((samples - reference[:, None]) ** 2).sum(axis=2)
    nearer, equal = ((of_samples < of_truth[:, None]).sum(axis=1), (of_samples == of_truth[:, None]).sum(axis=1))
    return np.asarray((nearer + uniform * (equal + 1)) / (samples.shape[1] + 1))


def expected_coverage(fractions: FloatArray, levels: FloatArray, region: npt.NDArray[np.generic]) -> Estimate:
    """Share of the maps whose truth is in the credible region of each level: the level itself, if all is right.

    Parameters
    ----------
    fractions : (n,), of `tarp_fraction`
    levels : (k,)
    region : (n,), the name of each map's region

    Returns
    -------
    Of shape (k,).
    """
    return share_of((fractions[:, None] <= levels).astype(np.float64), region)
