"""Errors by a bootstrap over regions: how far a number would move, had other clusters been simulated.

What is resampled are regions with all their maps. The lines of sight of a halo show one object, its snapshots show it
again, the other simulation evolves it from the same initial conditions, and neighbours share a volume: none of these
is a new cluster. A draw gives every region a weight, how often it was drawn, so values are sorted once for all draws.

Of n regions the draws scatter by sqrt((n - 1)/n) too little, which is made good; and as that scatter is itself known
from n regions only, an interval is Student's t of n - 1 degrees of freedom times it. Then intervals of medians hold
their level in simulation from two regions on (tests/metrics/test_coverage.py). Those of the 16th and 84th percentile
would not: of a few regions the outermost are too rarely seen, and no resampling of the others tells of them.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.compiled import compiled

DRAWS = 500  # a standard error from this many is itself good to 3 %
SEED = 5
FEWEST_REGIONS = 3  # that an error is given for
ONE_SIGMA = 0.6827


@dataclass(frozen=True)
class Resampling:
    """Draws of regions with replacement, for some maps.

    Attributes
    ----------
    region : (n,), which region each map shows
    weights : (500, n_regions), how often each draw has each region
    """

    region: IntArray
    weights: IntArray

    @property
    def n_regions(self) -> int:
        """How many regions there are to draw from."""
        return int(self.weights.shape[1])

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Resampling":
        """Draws of the regions of the chosen maps alone; (n,) bool."""
        return resample(self.region[chosen])


def resample(regions: npt.NDArray[Any]) -> Resampling:
    """The draws of some maps. They depend on nothing but the number of regions.

    Parameters
    ----------
    regions : (n,), the name of each map's region
    """
    names, region = np.unique(regions, return_inverse=True)
    return Resampling(region, _weights(len(names)))


@cache
def _weights(n: int) -> IntArray:
    if n == 0:
        return np.zeros((DRAWS, 0), np.int64)
    return np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), DRAWS)


def half_width(standard_error: FloatArray, n_regions: int, level: float = ONE_SIGMA) -> FloatArray:
    """How far an interval goes to each side of a median, by Student's t, any shape; NaN of one region or none."""
    if n_regions < 2:
        return np.full_like(standard_error, np.nan)
    return np.asarray(standard_error * stdtrit(n_regions - 1, (1 + level) / 2))


def percentile_errors(values: FloatArray, draws: Resampling, percentiles: tuple[float, ...]) -> FloatArray:
    """Standard errors of percentiles of one quantity.

    Parameters
    ----------
    values : (n,), without NaN

    Returns
    -------
    (len(percentiles),), NaN if the values are of fewer than two regions. Only the median's can be trusted.
    """
    order = np.argsort(values, kind="stable")
    drawn = _percentiles(values[order], draws.region[order], draws.weights, np.array(percentiles) / 100)
    return _scatter(drawn, draws.n_regions)


def binned_percentile_errors(
    counts: IntArray, edges: FloatArray, draws: Resampling, percentiles: tuple[float, ...]
) -> FloatArray:
    """Standard errors of percentiles of what was counted in bins, all maps together.

    Parameters
    ----------
    counts : (n, b), of each map
    edges : (b + 1,)

    Returns
    -------
    (len(percentiles),), as of `percentile_errors`
    """
    by_region = np.zeros((draws.n_regions, counts.shape[1]), np.int64)
    for region in range(draws.n_regions):
        by_region[region] = counts[draws.region == region].sum(axis=0, dtype=np.int64)
    drawn = [binned_percentiles(drawn, edges, percentiles) for drawn in draws.weights @ by_region]
    return _scatter(np.array(drawn), draws.n_regions)


def binned_percentiles(counts: IntArray, edges: FloatArray, percentiles: tuple[float, ...]) -> FloatArray:
    """Percentiles of what was counted in bins, as if a bin's members were evenly spread: NaN if nothing was.

    Parameters
    ----------
    counts : (b,)
    edges : (b + 1,)
    """
    through = np.concatenate([[0], np.cumsum(counts)])
    if not through[-1]:
        return np.full(len(percentiles), np.nan)
    return np.asarray(np.interp(np.array(percentiles) / 100 * through[-1], through, edges))


def ratio_errors(above: FloatArray, below: FloatArray, draws: Resampling) -> float:
    """Standard error of a ratio of two sums over maps, as a mean over the pixels of all maps together.

    Parameters
    ----------
    above, below : (n,), of each map

    Returns
    -------
    NaN if the maps are of fewer than two regions.
    """
    sums = np.stack([np.bincount(draws.region, of, draws.n_regions) for of in (above, below)], axis=1)
    drawn = np.einsum("dr,rk->dk", draws.weights, sums)  # not by BLAS, whose sums depend on the number of threads
    return float(_scatter(drawn[:, :1] / drawn[:, 1:], draws.n_regions)[0])


def _scatter(drawn: FloatArray, n_regions: int) -> FloatArray:
    """Standard errors from the draws, (draws, k): (k,)."""
    if n_regions < 2:
        return np.full(drawn.shape[1], np.nan)
    return np.asarray(drawn.std(axis=0, ddof=1) * np.sqrt(n_regions / (n_regions - 1)))


@compiled()
def _percentiles(ordered: FloatArray, region: IntArray, weights: IntArray, fractions: FloatArray) -> FloatArray:
    """Of each draw's values, repeated by weight and interpolated as numpy does: (draws, k); `fractions` must rise."""
    n_draws, n_wanted = len(weights), len(fractions)
    found = np.full((n_draws, n_wanted), np.nan)
    of_region = np.zeros(weights.shape[1], np.int64)
    for r in region:
        of_region[r] += 1
    for draw in range(n_draws):
        weight = weights[draw]
        total = 0
        for r in range(len(weight)):
            total += weight[r] * of_region[r]
        i, through = -1, 0  # `through` values of the draw are in ordered[: i + 1]
        for k in range(n_wanted):
            place = fractions[k] * (total - 1)
            below = int(place)
            while through <= below:
                i += 1
                through += weight[region[i]]
            found[draw, k] = ordered[i]
            if through == below + 1 and place > below:  # the next one is another value
                j = i + 1
                while weight[region[j]] == 0:
                    j += 1
                found[draw, k] += (ordered[j] - ordered[i]) * (place - below)
    return found
