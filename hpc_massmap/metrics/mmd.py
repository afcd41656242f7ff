"""Maximum mean discrepancy of the pixel values of two maps (section 4.4, eq. 14 to 16).

It compares distributions: where a pixel sits does not matter. Values are measured in units of the median heuristic, so
the result has no unit. The unbiased estimate may be a little below 0: two equal maps give 2 (mean kernel - 1)/m.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.compiled import compiled
from hpc_massmap.config import Evaluate
from hpc_massmap.metrics.gridsums import gaussian_sums
from hpc_massmap.metrics.kernelsums import Boxes, exponential_sum, gaussian_sum
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.sample import Sample
from hpc_massmap.metrics.spread import error_text

Kernel = Literal["gaussian", "printed"]
NOISE_SEED = 16  # of the calibration, with the map's row


def mmd_squared(truth: FloatArray, others: list[FloatArray], scales: list[float], kernel: Kernel) -> FloatArray:
    """Eq. 14 between one map, (80, 80), and each of some others, summed over the kernel's widths: (others,).

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
    ys = [np.ravel(other) for other in others]
    unit = median_distance(x) or mean_distance(x)
    if unit == 0:
        return len(scales) * np.array([_of_equal_values(x, y) for y in ys])
    # the middle of the truth as the origin, or large values would lose digits
    origin = float(x[len(x) // 2])
    x, ys = (x - origin) / unit, [(y - origin) / unit for y in ys]
    if kernel == "gaussian":
        sums = gaussian_sums(x, ys, np.array(scales))
        if sums is None:
            sums = np.stack([[_through_boxes(x, np.sort(y), s) for s in scales] for y in ys])
    else:
        sums = np.stack([[_printed(x, np.sort(y), s) for s in scales] for y in ys])
    within_x, between, within_y = np.moveaxis(sums, -1, 0)
    return np.asarray(_unbiased(within_x, between, within_y, len(x)).sum(axis=1))


def calibration_maps(truth: FloatArray, noise: list[float], row: int) -> list[FloatArray]:
    """The truth, (80, 80), with Gaussian noise of standard deviation alpha times its maximum (eq. 16), a map an alpha.

    The noise depends on nothing but the row of the map in its file.
    """
    generator = np.random.default_rng([NOISE_SEED, row])
    return [truth + float(truth.max()) * alpha * generator.standard_normal(truth.shape) for alpha in noise]


def median_distance(ordered: FloatArray) -> float:
    """The median heuristic: the exact median of `|x_i - x_j|` over all i < j, of a sorted sample (n,).

    A search for the distance, each step counting the closer pairs in one sweep.
    """
    pairs = len(ordered) * (len(ordered) - 1) // 2
    lower, upper = _kth_distances(ordered, (pairs - 1) // 2)
    return float(lower if pairs % 2 else (lower + upper) / 2)


def mean_distance(ordered: FloatArray) -> float:
    """Mean of `|x_i - x_j|` over all i < j, of a sorted sample (n,)."""
    m = len(ordered)
    weights = 2 * np.arange(m) - (m - 1)
    return float(weights @ (ordered - ordered[0])) / (m * (m - 1) / 2)


def _through_boxes(x: FloatArray, y: FloatArray, sigma: float) -> tuple[float, float, float]:
    """What `gaussian_sums` gives, of samples that are too far spread for it; sorted."""
    x_boxes, y_boxes = Boxes(x, sigma), Boxes(y, sigma)
    return gaussian_sum(x_boxes, x_boxes), gaussian_sum(x_boxes, y_boxes), gaussian_sum(y_boxes, y_boxes)


def _printed(x: FloatArray, y: FloatArray, sigma: float) -> tuple[float, float, float]:
    length = 2 * sigma**2
    return exponential_sum(x, x, length), exponential_sum(x, y, length), exponential_sum(y, y, length)


def _of_equal_values(x: FloatArray, y: FloatArray) -> float:
    """Eq. 14 with a kernel that is 1 for equal values and else 0, where all of x are equal."""
    m = len(x)
    _, counts = np.unique(y, return_counts=True)
    return float(_unbiased(m**2, m * int(np.count_nonzero(y == x[0])), int(np.sum(counts**2)), m))


def _unbiased(within_x: Any, between: Any, within_y: Any, m: int) -> Any:
    """Eq. 14 from sums over all pairs; m of those within a map pair a value with itself, where the kernel is 1."""
    return (within_x - m) / (m * (m - 1)) - 2 * between / m**2 + (within_y - m) / (m * (m - 1))


@dataclass(frozen=True)
class Mmd(MapMetric):
    """MMD^2 of n predicted maps, and of the true ones with noise.

    Attributes
    ----------
    value : (n,)
    calibration : (n, n_noise)
    noise : (n_noise,), alpha of eq. 16
    kernel, scales : as in the config
    """

    name: ClassVar[str] = "mmd"

    value: FloatArray
    calibration: FloatArray
    noise: FloatArray
    kernel: str
    scales: FloatArray

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        found = np.empty((len(block.rows), 1 + len(settings.mmd_noise)))
        for n, (row, predicted, true) in enumerate(zip(block.rows, block.predicted, block.true, strict=True)):
            noisy = calibration_maps(true, settings.mmd_noise, int(row))
            found[n] = mmd_squared(true, [predicted, *noisy], settings.mmd_scales, settings.mmd_kernel)
        return {"value": found[:, 0], "calibration": found[:, 1:]}

    @classmethod
    def of(cls, rows: Rows, settings: Evaluate) -> Self:
        noise, scales = np.array(settings.mmd_noise), np.array(settings.mmd_scales)
        return cls(rows["value"], rows["calibration"], noise, settings.mmd_kernel, scales)

    def headline(self, sample: Sample) -> list[str]:
        columns = zip(self.noise, self.calibration.T, strict=True)
        noise = ", ".join(f"{alpha:g}: {np.median(column):.4f}" for alpha, column in columns)
        mmd = sample.spread_of(self.value, sample.everything)
        error = error_text(float(mmd.error), int(mmd.regions), digits=4)
        return [f"  MMD^2, median: {mmd.median:.4f} ({error})  (truth with noise {noise})"]


@compiled()
def _kth_distances(ordered: FloatArray, k: int) -> tuple[float, float]:
    """The distance of a pair that has k pairs before it in the order of distances, and the next one in that order.

    False position with the Illinois rule until few pairs are left. Every fourth step, lest ties or gaps hold it up,
    halves the bits: the order of positive numbers is that of their bits as integers.
    """
    m = len(ordered)
    bits = np.zeros(3, dtype=np.int64)
    numbers = bits.view(np.float64)
    bits[0] = -1  # no pair is as close as that
    numbers[1] = ordered[m - 1] - ordered[0]
    before, through = 0, m * (m - 1) // 2  # pairs at most as far as either end
    below, above = k + 0.5, through - k - 0.5
    step, last = 0, 0
    while bits[1] - bits[0] > 1 and through - before > m:
        step += 1
        low = numbers[0] if bits[0] >= 0 else 0.0
        numbers[2] = low + (numbers[1] - low) * below / (below + above)
        if step % 4 == 0 or not bits[0] < bits[2] < bits[1]:
            bits[2] = bits[0] + (bits[1] - bits[0]) // 2
        closer, j = 0, 0
        for i in range(m):
            while ordered[i] - ordered[j] > numbers[2]:
                j += 1
            closer += i - j
        if closer > k:
            bits[1], through, above = bits[2], closer, closer - k - 0.5
            below = below / 2 if last == 1 else below
            last = 1
        else:
            bits[0], before, below = bits[2], closer, k + 0.5 - closer
            above = above / 2 if last == -1 else above
            last = -1
    high = numbers[1]
    if through - before > m:  # equal distances
        return high, high if k + 1 < through else _distances(ordered, high, high)[1]
    found, beyond = _distances(ordered, numbers[0] if bits[0] >= 0 else -1.0, high)
    return found[k - before], found[k + 1 - before] if k + 1 < through else beyond


@compiled()
def _distances(ordered: FloatArray, low: float, high: float) -> tuple[FloatArray, float]:
    """All distances above `low` that are at most `high`, sorted, and the first one beyond."""
    inside, beyond = [high for _ in range(0)], np.inf
    first = last = 0
    for i in range(len(ordered)):
        while ordered[i] - ordered[first] > high:
            first += 1
        while last < i and ordered[i] - ordered[last] > low:
            last += 1
        if first:
            beyond = min(beyond, ordered[i] - ordered[first - 1])
        for j in range(first, last):
            inside.append(ordered[i] - ordered[j])
    return np.sort(np.array(inside)), beyond
