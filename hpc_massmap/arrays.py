"""What every stage calls its arrays, and the size of a map."""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]

PIXELS = 80  # along a side
