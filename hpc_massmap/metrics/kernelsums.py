"""Sums of a kernel over all pairs of two sorted samples of numbers, without visiting the pairs.

Gaussian: a fast Gauss transform in one dimension. The axis is cut into boxes; exp(-(u - v)^2) for u in one box and v
in another is a Taylor series about the distance of their centres, so a box enters through the moments of its members
alone. The series ends after `TERMS` terms and boxes further apart than `REACH` are left out: both neglect less than
1e-14 a pair, and with rounding the sum is good to 1e-12 times the number of pairs. Boxes with few members are summed
pair by pair.

Exponential: `exp(-|u - v|)` of sorted samples is an exact recursion along the axis.
"""

import math

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.compiled import compiled

WIDTH = 0.5  # of a box, in units of sqrt(2) sigma; a power of 2, so that centres of far boxes are not rounded away
TERMS = 24  # the first neglected one is below WIDTH^24 2^12 / sqrt(24!) = 3e-16
REACH = math.ceil(6 / WIDTH) + 1  # boxes; exp(-6^2) = 2e-16
FEW = 12  # pairs that are faster one by one than through moments

SIGNS = (-1.0) ** np.arange(TERMS)


def _derivatives() -> FloatArray:
    """Derivatives of exp(-a^2) at the distances of boxes: (2 REACH + 1, TERMS), by the recursion of Hermite's."""
    distance = np.arange(-REACH, REACH + 1) * WIDTH
    hermite = np.empty((TERMS, len(distance)))
    hermite[0], hermite[1] = 1.0, 2 * distance
    for n in range(1, TERMS - 1):
        hermite[n + 1] = 2 * distance * hermite[n] - 2 * n * hermite[n - 1]
    return np.ascontiguousarray((SIGNS[:, None] * hermite * np.exp(-(distance**2))).T)


DERIVATIVES = _derivatives()
INVERSES = 1 / np.arange(1.0, TERMS + 1)


class Boxes:
    """A sorted sample cut into boxes, for the Gaussian kernel.

    Parameters
    ----------
    ordered : (m,), sorted
    sigma : of the kernel, in the sample's unit

    Attributes
    ----------
    scaled : (m,), sample over sqrt(2) sigma
    place : (b,), which box of the endless row of boxes
    start : (b + 1,), its members are scaled[start[i] : start[i + 1]]
    moments : (b, TERMS), sum of (distance from the centre)^n / n!
    """

    def __init__(self, ordered: FloatArray, sigma: float) -> None:
        self.scaled = ordered / (math.sqrt(2) * sigma)
        places = np.floor(self.scaled / WIDTH)
        first = np.flatnonzero(np.diff(places, prepend=-np.inf))
        self.place = places[first]
        self.start = np.append(first, len(places))
        self.moments = _moments(self.scaled, self.place, self.start)


def gaussian_sum(x: Boxes, y: Boxes) -> float:
    """Sum of exp(-(x_i - y_j)^2 / (2 sigma^2)) over all i and j, within 1e-12 times the number of pairs."""
    signed, same = y.moments * SIGNS, x is y
    return float(
        _sum_of_boxes(x.scaled, x.place, x.start, x.moments, y.scaled, y.place, y.start, signed, DERIVATIVES, same)
    )


def exponential_sum(x: FloatArray, y: FloatArray, length: float) -> float:
    """Sum of `exp(-|x_i - y_j| / length)` over all i and j of two sorted samples, (n,) and (m,)."""
    return float(_decaying_sum(x / length, y / length))


@compiled()
def _moments(scaled: FloatArray, place: FloatArray, start: FloatArray) -> FloatArray:
    moments = np.zeros((len(place), TERMS))
    for box in range(len(place)):
        centre = (place[box] + 0.5) * WIDTH
        for i in range(start[box], start[box + 1]):
            offset = scaled[i] - centre
            term = 1.0
            for n in range(TERMS):
                moments[box, n] += term
                term *= offset * INVERSES[n]
    return moments


@compiled(fastmath={"reassoc", "contract"})
def _sum_of_boxes(
    u: FloatArray,
    u_place: FloatArray,
    u_start: FloatArray,
    u_moments: FloatArray,
    v: FloatArray,
    v_place: FloatArray,
    v_start: FloatArray,
    v_moments: FloatArray,
    derivatives: FloatArray,
    same: bool,
) -> float:
    total = 0.0
    first = 0
    for a in range(len(u_place)):
        while first < len(v_place) and u_place[a] - v_place[first] > REACH:
            first += 1
        b = a if same else first  # of a sample with itself, each pair of boxes once and counted twice
        while b < len(v_place) and v_place[b] - u_place[a] <= REACH:
            weight = 2.0 if same and b > a else 1.0
            if (u_start[a + 1] - u_start[a]) * (v_start[b + 1] - v_start[b]) <= FEW:
                for i in range(u_start[a], u_start[a + 1]):
                    for j in range(v_start[b], v_start[b + 1]):
                        total += weight * math.exp(-((u[i] - v[j]) ** 2))
            else:
                derivative = derivatives[REACH + int(u_place[a] - v_place[b])]
                for n in range(TERMS):
                    inner = 0.0
                    for k in range(TERMS - n):
                        inner += derivative[n + k] * v_moments[b, k]
                    total += weight * u_moments[a, n] * inner
            b += 1
    return total


@compiled()
def _decaying_sum(u: FloatArray, v: FloatArray) -> float:
    total = 0.0
    below, j = 0.0, 0  # sum of exp(v_j - u_i) over the v_j <= u_i
    for i in range(len(u)):
        below *= math.exp(u[i - 1] - u[i]) if i else 0.0
        while j < len(v) and v[j] <= u[i]:
            below += math.exp(v[j] - u[i])
            j += 1
        total += below
    above, j = 0.0, len(v) - 1  # sum of exp(u_i - v_j) over the v_j > u_i
    for i in range(len(u) - 1, -1, -1):
        above *= math.exp(u[i] - u[i + 1]) if i < len(u) - 1 else 0.0
        while j >= 0 and v[j] > u[i]:
            above += math.exp(u[i] - v[j])
            j -= 1
        total += above
    return total
