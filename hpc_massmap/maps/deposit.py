"""The projection of a halo, fast: the same as reference.py to within the error stated here.

Three things make it fast.

1. Smoothing and rebinning are one linear map, coarse = S @ fine @ S.T, with S an 80 x 640 band matrix. This is exact.
2. A kernel much larger than a fine pixel needs no fine pixels. A particle whose kernel has a radius of at least
   2^l `SAMPLES` fine pixels is deposited on a grid of 640/2^l pixels, so that its radius there is between `SAMPLES`
   and 2 `SAMPLES` pixels, whatever its size. The image of each level is prolonged to the fine one by linear
   interpolation U_l, which conserves the sum, keeps it positive, and is never carried out: it is folded into
   S_l = S @ U_l. Linear interpolation widens a kernel by a known variance, which is taken off its radius first.
3. A projected kernel is a polynomial of the distance squared, which a processor computes for many pixels at a time,
   1.5 times faster than it looks them up in a table; it is off by 4e-4 of the kernel's peak at worst.

Against the reference, on the halos and all four maps of examples/gadget4_L50: pixels are off by 0.03 to 0.14 % of a
map's total on average, 0.2 % at worst (docs/science.md has it by quantity); one pixel is wrong by 0.9 % of the peak
at worst; the total is the same to rounding. The error of coarse grids falls with the square of `SAMPLES`; from 64 on
only the polynomial's is left.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.compiled import compiled
from hpc_massmap.maps.kernels import projected_kernel
from hpc_massmap.maps.reference import BLOCK, FINE_PIXELS, SIGMA, TRUNCATE

SAMPLES = {"fast": 8.0, "fine": 64.0}  # least kernel radius on a coarser grid, in its pixels; by maps.accuracy
LEVELS = 6  # grids of 640, 320, ... 20 pixels
FASTMATH = {"reassoc", "contract"}  # sums in any order, so that they are vectorised


class Pyramid(NamedTuple):
    """The grids, from fine to coarse, as numba reads them.

    Attributes
    ----------
    pixels : (LEVELS,), along a side
    start : (LEVELS + 1,), where each grid begins in the flat array of all
    widening : (LEVELS,), variance that prolongation adds, in pixels of the level squared
    smoothing : (LEVELS, 80, 640), S_l, in its first `pixels` columns
    first, last : (LEVELS, 80), the band of S_l
    """

    pixels: IntArray
    start: IntArray
    widening: FloatArray
    smoothing: FloatArray
    first: IntArray
    last: IntArray


def smoothing_matrix() -> FloatArray:
    """S, (80, 640): a Gaussian with reflecting edges, then sums over blocks of 8. Its columns sum to 1."""
    gaussian = gaussian_filter1d(np.eye(FINE_PIXELS), SIGMA, axis=0, mode="reflect", truncate=TRUNCATE)
    return np.asarray(gaussian.reshape(PIXELS, BLOCK, FINE_PIXELS).sum(axis=1))


def prolongation(level: int) -> FloatArray:
    """U_l, (640, 640/2^l): linear interpolation between pixel centres, constant beyond the outermost.

    Its columns sum to 1: what a pixel holds is shared out.
    """
    factor = 2**level
    pixels = FINE_PIXELS // factor
    centres = (np.arange(FINE_PIXELS) + 0.5) / factor - 0.5
    columns = [np.interp(centres, np.arange(pixels), unit) for unit in np.eye(pixels)]
    return np.asarray(np.transpose(columns) / factor)


@cache
def pyramid() -> Pyramid:
    """The constants of the method."""
    pixels = np.array([FINE_PIXELS // 2**level for level in range(LEVELS)])
    smoothing = np.zeros((LEVELS, PIXELS, FINE_PIXELS))
    widening = np.zeros(LEVELS)
    fine = smoothing_matrix()
    for level in range(LEVELS):
        prolong = prolongation(level)
        smoothing[level, :, : pixels[level]] = fine @ prolong
        middle = pixels[level] // 2
        distance = (np.arange(FINE_PIXELS) + 0.5) / 2**level - 0.5 - middle
        widening[level] = prolong[:, middle] @ distance**2 if level else 0.0
    first = np.argmax(smoothing > 0, axis=2)
    last = FINE_PIXELS - np.argmax(smoothing[:, :, ::-1] > 0, axis=2)
    return Pyramid(pixels, np.concatenate([[0], np.cumsum(pixels**2)]), widening, smoothing, first, last)


def project(
    positions: FloatArray,
    radii: FloatArray,
    quantities: FloatArray,
    rotation: FloatArray,
    kernel: str,
    accuracy: str = "fast",
) -> FloatArray:
    """Project particles along one line of sight; other parameters and the result are those of `reference.project`.

    Parameters
    ----------
    accuracy : one of `SAMPLES`
    """
    projected, samples = projected_kernel(kernel), SAMPLES[accuracy]
    grids = pyramid()
    return np.asarray(
        _project(positions, radii, quantities, rotation, projected.coefficients, projected.variance, samples, grids)
    )


@compiled(nogil=True, fastmath=FASTMATH)
def _project(
    positions: FloatArray,
    radii: FloatArray,
    quantities: FloatArray,
    rotation: FloatArray,
    coefficients: tuple[float, ...],
    kernel_variance: float,
    samples: float,
    grids: Pyramid,
) -> FloatArray:
    channels = quantities.shape[0]
    levels = len(grids.pixels)
    images = np.zeros((channels, grids.start[-1]))
    used = np.zeros(levels, np.bool_)
    weights = np.empty(max(int(4 * samples) + 3, grids.pixels[-1]) ** 2)
    for n in range(len(positions)):
        p = positions[n]
        u = rotation[0, 0] * p[0] + rotation[0, 1] * p[1] + rotation[0, 2] * p[2]
        v = rotation[1, 0] * p[0] + rotation[1, 1] * p[1] + rotation[1, 2] * p[2]
        depth = rotation[2, 0] * p[0] + rotation[2, 1] * p[1] + rotation[2, 2] * p[2]
        if max(abs(u), abs(v), abs(depth)) > 1:
            continue
        level = 0
        while level + 1 < levels and radii[n] * grids.pixels[level + 1] / 2 >= samples:
            level += 1
        used[level] = True
        pixels = grids.pixels[level]
        x, y, radius = (u + 1) * pixels / 2, (v + 1) * pixels / 2, radii[n] * pixels / 2
        radius = np.sqrt(radius**2 - grids.widening[level] / kernel_variance)
        start = grids.start[level]
        if radius < 1:
            i, j = min(int(x), pixels - 1), min(int(y), pixels - 1)
            for c in range(channels):
                images[c, start + i * pixels + j] += quantities[c, n]
        else:
            _deposit(images, start, pixels, x, y, radius, quantities[:, n], coefficients, weights)
    result = np.zeros((channels, PIXELS, PIXELS))
    for c in range(channels):
        for level in range(levels):
            if used[level]:
                pixels = grids.pixels[level]
                image = images[c, grids.start[level] : grids.start[level + 1]].reshape(pixels, pixels)
                _add_smoothed(result[c], image, grids.smoothing[level], grids.first[level], grids.last[level])
    return result


@compiled(nogil=True, fastmath=FASTMATH)
def _deposit(
    images: FloatArray,
    start: int,
    pixels: int,
    x: float,
    y: float,
    radius: float,
    quantities: FloatArray,
    coefficients: tuple[float, ...],
    weights: FloatArray,
) -> None:
    """Share one particle out among the pixels of one grid; everything in pixels of that grid."""
    scale = 1 / radius**2
    c0, c1, c2, c3, c4, c5, c6, c7, c8 = coefficients
    i0, i1 = max(int(x - radius), 0), min(int(x + radius) + 1, pixels)
    j0, j1 = max(int(y - radius), 0), min(int(y + radius) + 1, pixels)
    width = j1 - j0
    total = 0.0
    for i in range(i0, i1):
        row = weights[(i - i0) * width : (i - i0 + 1) * width]
        dx2 = (i + 0.5 - x) ** 2 * scale
        for j in range(width):
            dy = j + (j0 + 0.5 - y)
            t = max(1 - dx2 - dy * dy * scale, 0.0)
            high = (((c8 * t + c7) * t + c6) * t + c5) * t + c4
            row[j] = max(((((high * t + c3) * t + c2) * t + c1) * t + c0) * t * t * t, 0.0)
            total += row[j]
    for c in range(len(quantities)):
        factor = quantities[c] / total
        if factor == 0.0:
            continue
        for i in range(i0, i1):
            row = weights[(i - i0) * width : (i - i0 + 1) * width]
            image_row = images[c, start + i * pixels + j0 : start + i * pixels + j1]
            for j in range(width):
                image_row[j] += factor * row[j]


@compiled(nogil=True, fastmath=FASTMATH)
def _add_smoothed(
    result: FloatArray, image: FloatArray, smoothing: FloatArray, first: IntArray, last: IntArray
) -> None:
    """Add S_l @ image @ S_l.T to the result, visiting the bands of S_l only."""
    half = np.zeros((PIXELS, image.shape[1]))
    for r in range(PIXELS):
        for k in range(first[r], last[r]):
            weight = smoothing[r, k]
            for j in range(image.shape[1]):
                half[r, j] += weight * image[k, j]
    for r in range(PIXELS):
        for s in range(PIXELS):
            total = 0.0
            for k in range(first[s], last[s]):
                total += half[r, k] * smoothing[s, k]
            result[r, s] += total
