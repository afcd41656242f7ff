"""Maximum mean discrepancy of the pixel values of two maps (section 4.4, eq. 14 to 16).

It compares distributions: where a pixel sits does not matter. Values are measured in units of the median heuristic, so
the result has no unit. The unbiased estimate may be a little below 0: two equal maps give 2 (mean kernel - 1)/m.
"""

from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.kernelsums import Boxes, exponential_sum, gaussian_sum

Kernel = Literal["gaussian", "printed"]
NOISE_SEED = 16  # of the calibration, with the map's row


@dataclass(frozen=True)
class Mmd:
    """MMD^2 of n predicted maps, and of the true ones with noise.

    Attributes
    ----------
    value : (n,)
    calibration : (n, n_noise)
    noise : (n_noise,), alpha of eq. 16
    kernel, scales : as in the config
    """

    value: FloatArray
    calibration: FloatArray
    noise: FloatArray
    kernel: str
    scales: FloatArray


def mmd_squared(truth: FloatArray, others: list[FloatArray], scales: list[float], kernel: Kernel) -> FloatArray:
    """Eq. 14 between one map and each of some others, summed over the kernel's widths.

    sigma is each of `scales` times the median heuristic of the truth. `gaussian` is exp(-d^2/(2 sigma^2)). `printed` is
    the exp(-d/(2 sigma^2)) of eq. 15, whose exponent has a unit unless d and sigma are numbers: here of the heuristic.
    If more than half of the truth's pairs are equal, the mean distance of its pairs replaces their median. If all are
    equal, the kernel is the limit of a vanishing width: 1 for equal values, else 0.

    Parameters
    ----------
    truth, others : m values each, in any shape and one unit

    Returns
    -------
    (len(others),), within 1e-11 of the direct sums for each scale
    """
    x = np.sort(truth, axis=None)
    ys = [np.sort(other, axis=None) for other in others]
    unit = median_distance(x) or mean_distance(x)
    if unit == 0:
        return len(scales) * np.array([_of_equal_values(x, y) for y in ys])
    # the middle of the truth as the origin, or large values would lose digits
    origin = float(x[len(x) // 2])
    x, ys = (x - origin) / unit, [(y - origin) / unit for y in ys]
    by_scale = [_gaussian(x, ys, s) if kernel == "gaussian" else _printed(x, ys, s) for s in scales]
    return np.asarray(np.sum(by_scale, axis=0))


def calibration_maps(truth: FloatArray, noise: list[float], row: int) -> list[FloatArray]:
    """The truth with Gaussian noise of standard deviation alpha times its maximum (eq. 16), one map an alpha.

    The noise depends on nothing but the row of the map in its file.
    """
    generator = np.random.default_rng([NOISE_SEED, row])
    return [truth + float(truth.max()) * alpha * generator.standard_normal(truth.shape) for alpha in noise]


def median_distance(ordered: FloatArray) -> float:
    """The median heuristic: the exact median of |x_i - x_j| over all i < j, of a sorted sample.

    Bisection over the bits of the distance, each step counting the closer pairs in one sweep.
    """
    pairs = len(ordered) * (len(ordered) - 1) // 2
    lower = _kth_distance(ordered, (pairs - 1) // 2)
    return float(lower if pairs % 2 else (lower + _kth_distance(ordered, pairs // 2)) / 2)


def mean_distance(ordered: FloatArray) -> float:
    """Mean of |x_i - x_j| over all i < j, of a sorted sample."""
    m = len(ordered)
    weights = 2 * np.arange(m) - (m - 1)
    return float(weights @ (ordered - ordered[0])) / (m * (m - 1) / 2)


def _gaussian(x: FloatArray, ys: list[FloatArray], sigma: float) -> list[float]:
    x_boxes = Boxes(x, sigma)
    within_x = gaussian_sum(x_boxes, x_boxes)
    result = []
    for y in ys:
        y_boxes = Boxes(y, sigma)
        sums = within_x, gaussian_sum(x_boxes, y_boxes), gaussian_sum(y_boxes, y_boxes)
        result.append(_unbiased(*sums, len(x)))
    return result


def _printed(x: FloatArray, ys: list[FloatArray], sigma: float) -> list[float]:
    length = 2 * sigma**2
    within_x = exponential_sum(x, x, length)
    return [_unbiased(within_x, exponential_sum(x, y, length), exponential_sum(y, y, length), len(x)) for y in ys]


def _of_equal_values(x: FloatArray, y: FloatArray) -> float:
    """Eq. 14 with a kernel that is 1 for equal values and else 0, where all of x are equal."""
    m = len(x)
    _, counts = np.unique(y, return_counts=True)
    return _unbiased(m**2, m * int(np.count_nonzero(y == x[0])), int(np.sum(counts**2)), m)


def _unbiased(within_x: float, between: float, within_y: float, m: int) -> float:
    """Eq. 14 from sums over all pairs; m of those within a map pair a value with itself, where the kernel is 1."""
    return (within_x - m) / (m * (m - 1)) - 2 * between / m**2 + (within_y - m) / (m * (m - 1))


@numba.njit(cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _kth_distance(ordered: FloatArray, k: int) -> float:
    """The distance of a pair that has k pairs before it in the order of distances."""
    m = len(ordered)
    bits = np.array([0, 0], dtype=np.int64)  # the order of positive numbers is that of their bits as integers
    numbers = bits.view(np.float64)
    low, numbers[0] = -1, ordered[m - 1] - ordered[0]
    high = bits[0]
    while high - low > 1:
        middle = low + (high - low) // 2
        bits[1] = middle
        closer, j = 0, 0
        for i in range(m):
            while ordered[i] - ordered[j] > numbers[1]:
                j += 1
            closer += i - j
        if closer > k:
            high = middle
        else:
            low = middle
    bits[0] = high
    return float(numbers[0])
