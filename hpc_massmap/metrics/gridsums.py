"""Sums of Gaussian kernels of several widths over all pairs of two samples of numbers, through one grid.

exp(-(u - v)^2 / (2 s^2)) is the integral of a product of two Gaussians, one about u and one about v, and the
trapezoidal rule on a grid of `SPACING` s is exact to rounding. So a sample enters as the sum of its members' Gaussians
of the narrowest width, and the sum over pairs is the product of two grids. In Fourier space a wider kernel is one more
factor: the widths share the grids. Memory and time grow with the samples' range; too wide a one is for `kernelsums`.
"""

import math

import numpy as np
import scipy.fft

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.compiled import compiled

SPACING = 0.375  # of the grid, in the narrowest sigma; the rule neglects 2 exp(-pi^2 / (2 SPACING^2)) = 1e-15
REACH = 15  # cells on either side of a member; exp(-((REACH + 0.5) SPACING)^2) = 2e-15
APART = 8.3  # the widest sigma between the ends of the grid, which is periodic; exp(-APART^2 / 2) = 1e-15
NEGLIGIBLE = 36.0  # exp(-36) = 2e-16
MOST_CELLS = 1 << 18  # 2 MB a grid

SQUARES = np.exp(-((SPACING * np.arange(REACH + 1.0)) ** 2))


def gaussian_sums(x: FloatArray, ys: list[FloatArray], sigmas: FloatArray) -> FloatArray | None:
    """Sum of exp(-(u_i - v_j)^2 / (2 sigma^2)) over all i and j, for each y and sigma.

    Parameters
    ----------
    x, ys : samples, in any order
    sigmas : (s,), in the samples' unit

    Returns
    -------
    (len(ys), s, 3), of x with itself, of x with y, of y with itself, each within 1e-12 times the number of pairs; None
    if the samples need more than `MOST_CELLS`.
    """
    narrowest = float(sigmas.min())
    cell = SPACING * narrowest
    low = min(float(of.min()) for of in (x, *ys))
    high = max(float(of.max()) for of in (x, *ys))
    cells = (high - low + APART * float(sigmas.max())) / cell + 2 * REACH + 2
    if cells > MOST_CELLS:
        return None
    n = scipy.fft.next_fast_len(math.ceil(cells), real=True)
    factors, ends = _factors(n, cell, sigmas)
    of_x = scipy.fft.rfft(_spread(x, low, cell, n))
    return np.stack([_products(of_x, scipy.fft.rfft(_spread(y, low, cell, n)), factors, ends) for y in ys])


def _factors(n: int, cell: float, sigmas: FloatArray) -> tuple[FloatArray, IntArray]:
    """What each mode of `rfft` counts for each sigma, (s, n // 2 + 1), and how many modes count at all, (s,)."""
    squared = (sigmas**2 - sigmas.min() ** 2) / 2
    step = 2 * math.pi / (n * cell)
    modes = n // 2 + 1
    with np.errstate(divide="ignore"):
        ends = np.minimum(np.sqrt(NEGLIGIBLE / squared) / step + 1, modes).astype(np.int64)
    factors = np.zeros((len(sigmas), modes))
    norms = math.sqrt(2 / math.pi) * cell / sigmas.min() ** 2 * sigmas / n
    for of_sigma, a, end, norm in zip(factors, squared, ends, norms, strict=True):
        of_sigma[:end] = norm * np.exp(-a * (step * np.arange(end)) ** 2)
    factors[:, 1 : (n + 1) // 2] *= 2  # modes that stand for two
    return factors, ends


@compiled()
def _spread(values: FloatArray, low: float, cell: float, n: int) -> FloatArray:
    """Sum of a Gaussian about every value, exp(-(distance / narrowest sigma)^2): (n,), from `low` - REACH cells on."""
    grid = np.zeros(n)
    for value in values:
        place = (value - low) / cell + REACH
        nearest = int(place + 0.5)
        offset = (place - nearest) * SPACING
        # exp(-(d - k)^2) = exp(-d^2) exp(2 d)^k exp(-k^2): two exponentials for all cells
        step = math.exp(2 * offset * SPACING)
        above = below = math.exp(-offset * offset)
        grid[nearest] += above
        back = 1 / step
        for k in range(1, REACH + 1):
            above *= step
            below *= back
            grid[nearest + k] += above * SQUARES[k]
            grid[nearest - k] += below * SQUARES[k]
    return grid


@compiled()
def _products(x: FloatArray, y: FloatArray, factors: FloatArray, ends: IntArray) -> FloatArray:
    """Sums over modes of x with x, x with y and y with y: (s, 3)."""
    sums = np.zeros((len(ends), 3))
    for s in range(len(ends)):
        xx = xy = yy = 0.0
        for k in range(ends[s]):
            factor, u, v = factors[s, k], x[k], y[k]
            xx += factor * (u.real * u.real + u.imag * u.imag)
            xy += factor * (u.real * v.real + u.imag * v.imag)
            yy += factor * (v.real * v.real + v.imag * v.imag)
        sums[s, 0], sums[s, 1], sums[s, 2] = xx, xy, yy
    return sums
