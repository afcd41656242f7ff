"""A mean over maps with its error by region: how shares and scores are summed up.

Where all regions agree, as when every map is held, the bootstrap sees no scatter and would give no error at all. The
error of such a share is what one more region that disagrees would change, 1/(n + 1).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.diagnostics.bootstrap import FEWEST_REGIONS, Resampling, half_width, ratio_errors, resample


@dataclass(frozen=True)
class Estimate:
    """A number, or an array of them, from some maps.

    Attributes
    ----------
    value : any shape, NaN where no map says anything
    error : the same shape, half the 68 % interval by a bootstrap over regions with Student's t; NaN of too few regions
    regions : the same shape, of the maps that say something
    """

    value: FloatArray
    error: FloatArray
    regions: IntArray

    def at(self, index: int | slice) -> "Estimate":
        """One number of an array of them, or some."""
        return Estimate(np.asarray(self.value[index]), np.asarray(self.error[index]), np.asarray(self.regions[index]))

    def text(self, digits: int = 3) -> str:
        """A single number with its error."""
        if np.isnan(self.value):
            return "none"
        error = "unknown" if np.isnan(self.error) else f"{float(self.error):.{digits}f}"
        return f"{float(self.value):.{digits}f} ± {error}, n = {int(self.regions)}"


def mean_of(values: FloatArray, region: npt.NDArray[np.generic], counts: FloatArray | None = None) -> Estimate:
    """The mean over maps; a NaN is left out.

    Parameters
    ----------
    values : (n, ...), the mean of each map
    region : (n,), the name of each map's region
    counts : (n, ...), how much of a map each mean is of, as its pixels in a ring; None: all alike

    Returns
    -------
    Of the shape of one map's values.
    """
    weights = np.ones(values.shape) if counts is None else counts.astype(np.float64)
    known = ~np.isnan(values) & (weights > 0)
    return _ratio(np.where(known, values, 0.0) * weights, weights, known, region)


def share_of(inside: FloatArray, region: npt.NDArray[np.generic], counts: FloatArray | None = None) -> Estimate:
    """The mean of shares in [0, 1], as `mean_of`, with an error that regions which all agree cannot make vanish.

    Parameters
    ----------
    inside : (n, ...), the share of each map
    region : (n,), the name of each map's region
    counts : (n, ...), of what number the shares are; None: all alike
    """
    found = mean_of(inside, region, counts)
    return Estimate(found.value, np.where(found.error == 0, 1 / (found.regions + 1), found.error), found.regions)


def ratio_of(above: FloatArray, below: FloatArray, region: npt.NDArray[np.generic]) -> Estimate:
    """The ratio of two means over the same maps, as of a score and a baseline's; maps that lack either are left out.

    Parameters
    ----------
    above, below : (n, ...), of each map
    region : (n,), the name of each map's region
    """
    known = ~np.isnan(above) & ~np.isnan(below)
    return _ratio(above, below, known, region)


def _ratio(
    above: FloatArray, below: FloatArray, known: npt.NDArray[np.bool_], region: npt.NDArray[np.generic]
) -> Estimate:
    draws, shape = resample(region), above.shape[1:]
    flat = len(above), math.prod(shape)
    top, bottom, some = above.reshape(flat), below.reshape(flat), known.reshape(flat)
    found = [_of_one(top[some[:, k], k], bottom[some[:, k], k], draws.of(some[:, k])) for k in range(top.shape[1])]
    value, error, regions = (np.array([one[n] for one in found]).reshape(shape) for n in range(3))
    return Estimate(value, error, regions.astype(np.int64))


def _of_one(above: FloatArray, below: FloatArray, draws: Resampling) -> tuple[float, float, int]:
    total = below.sum()
    if not total:
        return np.nan, np.nan, draws.n_regions
    enough = draws.n_regions if draws.n_regions >= FEWEST_REGIONS else 0
    return above.sum() / total, float(half_width(np.array(ratio_errors(above, below, draws)), enough)), draws.n_regions
