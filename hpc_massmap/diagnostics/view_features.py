"""What the views of a map look like, in a few numbers that need no network.

All is relative to the mean profile of the maps that a network was made from, and in logarithms with a floor, so that a
view that is empty, as stars of a small halo are, is no further off than it has to be.
"""

import numpy as np
import numpy.typing as npt

from hpc_massmap.apertures import N_RINGS, RADII, means_in_rings, ring_of_pixels
from hpc_massmap.arrays import FloatArray, IntArray

FLOOR = 0.1  # of the mean profile, below which nothing is told apart
LEAST = 1e-6  # of a mean profile's maximum: rings in which no map has anything
INSIDE = ring_of_pixels().ravel() < len(RADII)
ANNULI: IntArray = np.searchsorted([3, len(RADII)], ring_of_pixels().ravel(), side="right")  # to 0.3 R200, R200, beyond
N_ANNULI = 3
PIXELS_IN_ANNULI = np.bincount(ANNULI, minlength=N_ANNULI)
SMOOTHEST = 3e-3  # in dex: less roughness than that is none
CLOSEST = 0.99  # correlation, as which two views that are the same count


def mean_profiles(rings: FloatArray) -> FloatArray:
    """The mean profile of some maps by their means in rings, (n, views, 11), and positive everywhere: (views, 11)."""
    means = rings.mean(axis=0)
    largest = means.max(axis=-1, keepdims=True)
    return np.asarray(np.maximum(means, np.where(largest > 0, LEAST * largest, 1.0)))


def features(maps: FloatArray, profiles: FloatArray) -> FloatArray:
    """Of each map: brightness of each view in rings, its roughness, and how the views go together.

    Parameters
    ----------
    maps : (n, views, 80, 80), in any units
    profiles : (views, 11), of `mean_profiles`

    Returns
    -------
    (n, f), whose columns the functions below tell
    """
    return np.array([_of_one(one.astype(np.float64), profiles) for one in maps]).reshape(len(maps), -1)


def brightness_columns(n_views: int) -> slice:
    """log10 of the mean in each of 11 rings over the mean profile, view by view."""
    return slice(0, n_views * N_RINGS)


def roughness_columns(n_views: int) -> slice:
    """log10 of the mean second difference of log10 of the pixels in three annuli, view by view."""
    start = brightness_columns(n_views).stop
    return slice(start, start + n_views * N_ANNULI)


def together_columns(n_views: int) -> slice:
    """How far the pixels of each pair of views go together inside R200, apart from their profiles (Fisher's z)."""
    start = roughness_columns(n_views).stop
    return slice(start, start + n_views * (n_views - 1) // 2)


def _of_one(maps: FloatArray, profiles: FloatArray) -> FloatArray:
    ring, bright = ring_of_pixels().ravel(), np.maximum(maps, 0)
    brightness = np.log10(means_in_rings(bright) / profiles + FLOOR)
    logs = np.log10(bright / profiles[:, ring].reshape(bright.shape) + FLOOR)
    rough = np.zeros(logs.shape)
    inner = logs[:, 1:-1, 1:-1]
    neighbours = logs[:, 2:, 1:-1] + logs[:, :-2, 1:-1] + logs[:, 1:-1, 2:] + logs[:, 1:-1, :-2]
    rough[:, 1:-1, 1:-1] = np.abs(neighbours - 4 * inner)
    sums = np.array([np.bincount(ANNULI, one.ravel(), N_ANNULI) for one in rough])
    roughness = np.log10(sums / PIXELS_IN_ANNULI + SMOOTHEST)
    residuals = (logs.reshape(len(logs), -1) - means_in_rings(logs)[:, ring])[:, INSIDE]
    pairs = [_correlation(residuals[i], residuals[j]) for i in range(len(maps)) for j in range(i)]
    return np.concatenate([brightness.ravel(), roughness.ravel(), np.arctanh(CLOSEST * np.array(pairs))])


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    norm = np.sqrt((a * a).sum() * (b * b).sum())
    return float(np.clip((a * b).sum() / norm, -1, 1)) if norm > 0 else 0.0
