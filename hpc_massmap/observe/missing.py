"""What a telescope did not see: pixels, or all that one telescope would have."""

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from hpc_massmap.arrays import FloatArray


def without_pixels(maps: FloatArray, share: float, chance: list[Generator]) -> FloatArray:
    """Maps (n, 80, 80) of which each pixel is 0 with a chance of `share`: (n, 80, 80), in their unit."""
    kept = np.stack([one.random(maps.shape[1:]) >= share for one in chance])
    return np.where(kept, maps, 0.0)


def views_there(views: int, share: float, chance: list[Generator]) -> npt.NDArray[np.bool_]:
    """Which views of each map are there, (n, views): each is away with a chance of `share`, but never all of them."""
    drawn = np.stack([one.random(views) for one in chance])
    return np.asarray((drawn >= share) | (drawn == drawn.max(axis=1, keepdims=True)))
