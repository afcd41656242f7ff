"""A toy whose posterior is known: a random number of each region and map, seen with noise; and posteriors that lie.

y ~ N(0, 1) is observed as d = y + noise of variance 1, so that y given d is N(d/2, 1/2).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray

SIGMA = float(np.sqrt(0.5))
Posterior = Callable[[FloatArray], tuple[FloatArray, FloatArray]]  # data -> mean and sigma


@dataclass(frozen=True)
class Toy:
    """Truths (n, k), data (n, k), the region of each of n maps."""

    truth: FloatArray
    data: FloatArray
    region: IntArray

    def samples(self, posterior: Posterior, s: int, seed: int = 1) -> FloatArray:
        """(s, n, k), of what a posterior says of the data."""
        mean, sigma = posterior(self.data)
        return np.asarray(mean + sigma * np.random.default_rng(seed).standard_normal((s, *self.data.shape)))


def toy(regions: int = 200, maps: int = 5, k: int = 1, seed: int = 0) -> Toy:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((regions * maps, k))
    return Toy(truth, truth + rng.standard_normal(truth.shape), np.repeat(np.arange(regions), maps))


def right(data: FloatArray) -> tuple[FloatArray, FloatArray]:
    return data / 2, np.full(data.shape, SIGMA)


def too_narrow(data: FloatArray) -> tuple[FloatArray, FloatArray]:
    return data / 2, np.full(data.shape, 0.8 * SIGMA)


def shifted(data: FloatArray) -> tuple[FloatArray, FloatArray]:
    return data / 2 + 0.5 * SIGMA, np.full(data.shape, SIGMA)


def ignores_the_data(data: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The prior: right over all maps, and of no use for any."""
    return np.zeros(data.shape), np.ones(data.shape)
