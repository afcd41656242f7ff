"""A median with the 16th and 84th percentile, as the paper gives its numbers (eq. 8), and the error of the median."""

import math
from dataclasses import dataclass, fields

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.diagnostics.bootstrap import FEWEST_REGIONS, Resampling, half_width, percentile_errors

PERCENTILES = (16.0, 50.0, 84.0)
MEDIAN = (50.0,)
UNKNOWN = "unknown"  # in place of the error of too few regions
NOTE = (
    "± is half the 68 % interval of the median, from a bootstrap over its n regions with Student's t; unknown of fewer "
    f"than {FEWEST_REGIONS}. Percentiles are given without errors, which a few regions do not tell"
)


@dataclass(frozen=True)
class Spread:
    """Median and 16th to 84th percentile of many maps, for one quantity or for an array of them.

    Attributes
    ----------
    median, p16, p84 : one shape, NaN where count is 0
    count : the same shape, how many maps (or pixels)
    error : the same shape, half the 68 % interval of the median; NaN where it is unknown
    regions : the same shape, how many regions the maps are of; 0 where nobody asked for an error
    """

    median: FloatArray
    p16: FloatArray
    p84: FloatArray
    count: IntArray
    error: FloatArray
    regions: IntArray

    def at(self, index: int) -> "Spread":
        """One quantity of an array of them."""
        return Spread(*(np.asarray(getattr(self, field.name)[index]) for field in fields(self)))

    def text(self) -> str:
        """As in eq. 8 and with the median's error, of a single quantity."""
        if not self.count:
            return "none"
        error = f" ({error_text(float(self.error), int(self.regions))})" if self.regions else ""
        return f"{self.median:+.3f} +{self.p84 - self.median:.3f} -{self.median - self.p16:.3f}{error}"


def error_text(error: float, regions: int, digits: int = 3) -> str:
    """The error of a median as it is shown, with the number of regions that it is from."""
    return f"± {UNKNOWN if np.isnan(error) else format(error, f'.{digits}f')}, n = {regions}"


def median_error(standard_error: FloatArray, n_regions: int) -> FloatArray:
    """The error that a median is shown with, any shape: half the 68 % interval, NaN of too few regions."""
    return half_width(standard_error, n_regions if n_regions >= FEWEST_REGIONS else 0)


def spread(values: FloatArray, draws: Resampling | None = None) -> Spread:
    """Percentiles over the first axis.

    Parameters
    ----------
    values : (n, ...)
    draws : of these n maps; without them errors are unknown
    """
    shape = values.shape[1:]
    columns = values.reshape(len(values), math.prod(shape))
    count = np.count_nonzero(~np.isnan(columns), axis=0)
    found = np.full((len(PERCENTILES), len(count)), np.nan)
    error, regions = np.full(len(count), np.nan), np.zeros(len(count), np.int64)
    some = count > 0
    if some.any():
        found[:, some] = np.nanpercentile(columns[:, some], PERCENTILES, axis=0)
    if draws is not None:
        for n in np.flatnonzero(some):
            known = ~np.isnan(columns[:, n])
            own = draws.of(known)
            error[n] = median_error(percentile_errors(columns[known, n], own, MEDIAN), own.n_regions)[0]
            regions[n] = own.n_regions
    p16, median, p84 = (row.reshape(shape) for row in found)
    return Spread(median, p16, p84, count.reshape(shape), error.reshape(shape), regions.reshape(shape))


def stacked(spreads: list[Spread]) -> Spread:
    """Several of one shape along a new first axis."""
    return Spread(*(np.stack([getattr(one, field.name) for one in spreads]) for field in fields(Spread)))
