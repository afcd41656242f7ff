"""How far a prediction is off, in parts of the truth."""

import numpy as np

from hpc_massmap.arrays import FloatArray


def relative_difference(predicted: FloatArray, true: FloatArray) -> FloatArray:
    """(predicted - true)/true, also of masses and spectra (eq. 7, 10); any shape.

    Where the truth is 0 it is 0 if the prediction is 0 too, else NaN: to be dropped.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        difference = (predicted - true) / true
    return np.where(true != 0, difference, np.where(predicted == 0, 0.0, np.nan))
