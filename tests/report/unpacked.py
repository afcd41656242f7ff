"""The images of the page as arrays."""

import base64
import zlib
from typing import Any

import numpy as np

from hpc_massmap.arrays import PIXELS


def unpacked(text: str) -> Any:
    """What `unpack` of page.js does."""
    image = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.cumsum(image, dtype=np.uint8).reshape(PIXELS, PIXELS)[::-1].T
