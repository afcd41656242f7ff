"""Types of arrays, the size of a map, and checksums of maps."""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]

PIXELS = 80  # along a side


def checksums_of(maps: FloatArray) -> npt.NDArray[np.uint32]:
    """CRC-32 of each of some maps, (n, 80, 80): (n,)."""
    return np.array([zlib.crc32(np.ascontiguousarray(one).data) for one in maps], np.uint32)
