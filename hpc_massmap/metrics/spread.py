"""A median with the 16th and 84th percentile, as the paper gives its numbers (eq. 8), and their standard errors."""

import math
from dataclasses import dataclass, fields

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.metrics.bootstrap import Resampling, percentile_errors

PERCENTILES = (16.0, 50.0, 84.0)


@dataclass(frozen=True)
class Spread:
    """Median and 16th to 84th percentile of many maps, for one quantity or for an array of them.

    Attributes
    ----------
    median, p16, p84 : one shape, NaN where count is 0
    count : the same shape, how many maps (or pixels)
    error, p16_error, p84_error : the same shape, standard errors of the three; NaN where they are unknown
    """

    median: FloatArray
    p16: FloatArray
    p84: FloatArray
    count: IntArray
    error: FloatArray
    p16_error: FloatArray
    p84_error: FloatArray

    def at(self, index: int) -> "Spread":
        """One quantity of an array of them."""
        return Spread(*(np.asarray(getattr(self, field.name)[index]) for field in fields(self)))

    def text(self) -> str:
        """As in eq. 8 and with the median's standard error, of a single quantity."""
        if not self.count:
            return "none"
        error = "" if np.isnan(self.error) else f" (± {self.error:.3f})"
        return f"{self.median:+.3f} +{self.p84 - self.median:.3f} -{self.median - self.p16:.3f}{error}"


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
    errors = found.copy()
    some = count > 0
    if some.any():
        found[:, some] = np.nanpercentile(columns[:, some], PERCENTILES, axis=0)
    if draws is not None:
        for n in np.flatnonzero(some):
            known = ~np.isnan(columns[:, n])
            errors[:, n] = percentile_errors(columns[known, n], draws.of(known), PERCENTILES)
    p16, median, p84, p16_error, error, p84_error = (row.reshape(shape) for row in (*found, *errors))
    return Spread(median, p16, p84, count.reshape(shape), error, p16_error, p84_error)


def stacked(spreads: list[Spread]) -> Spread:
    """Several of one shape along a new first axis."""
    return Spread(*(np.stack([getattr(one, field.name) for one in spreads]) for field in fields(Spread)))
