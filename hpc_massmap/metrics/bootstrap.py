"""Standard errors by a bootstrap over regions: how far a number would move, had other clusters been simulated.

What is resampled are regions with all their maps. The lines of sight of a halo show one object, its snapshots show it
again, the other simulation evolves it from the same initial conditions, and neighbours share a volume: none of these
is a new cluster. A draw gives every region a weight, how often it was drawn, so values are sorted once for all draws.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.compiled import compiled

DRAWS = 500  # a standard error from this many is itself good to 3 %
SEED = 5


@dataclass(frozen=True)
class Resampling:
    """Draws of regions with replacement, for some of the maps.

    Attributes
    ----------
    region : (n,), which region each map shows
    weights : (500, n_regions), how often each draw has each region
    """

    region: IntArray
    weights: IntArray

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Resampling":
        """The same draws, for the chosen maps alone; (n,) bool."""
        return Resampling(self.region[chosen], self.weights)


def resample(regions: npt.NDArray[Any]) -> Resampling:
    """The draws of a test set. They depend on nothing but the number of its regions.

    Parameters
    ----------
    regions : (n,), the name of each map's region
    """
    names, region = np.unique(regions, return_inverse=True)
    return Resampling(region, _weights(len(names)))


@cache
def _weights(n: int) -> IntArray:
    return np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), DRAWS)


def percentile_errors(values: FloatArray, draws: Resampling, percentiles: tuple[float, ...]) -> FloatArray:
    """Standard errors of percentiles of one quantity.

    Parameters
    ----------
    values : (n,), without NaN

    Returns
    -------
    (len(percentiles),), NaN if the values are of fewer than two regions
    """
    order = np.argsort(values, kind="stable")
    drawn = _percentiles(values[order], draws.region[order], draws.weights, np.array(percentiles) / 100)
    return _scatter(drawn, len(np.unique(draws.region)))


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
    (len(percentiles),), NaN if the counts are of fewer than two regions
    """
    by_region = np.zeros((draws.weights.shape[1], counts.shape[1]), np.int64)
    for region in np.unique(draws.region):
        by_region[region] = counts[draws.region == region].sum(axis=0, dtype=np.int64)
    drawn = [binned_percentiles(drawn, edges, percentiles) for drawn in draws.weights @ by_region]
    return _scatter(np.array(drawn), int(by_region.any(axis=1).sum()))


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


def _scatter(drawn: FloatArray, n_regions: int) -> FloatArray:
    """Standard deviation over the draws, (draws, k), that have any map: (k,)."""
    some = ~np.isnan(drawn[:, 0])
    if n_regions < 2 or np.count_nonzero(some) < 2:
        return np.full(drawn.shape[1], np.nan)
    return np.asarray(drawn[some].std(axis=0, ddof=1))


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
        if total == 0:
            continue
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
