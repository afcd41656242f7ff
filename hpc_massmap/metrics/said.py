"""What predictions.h5 says of some maps, and in which kind of words."""

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.said import Said, described
from hpc_massmap.metrics.predictions import Predictions


def said_of(predictions: Predictions, target: str, part: slice, mean: FloatArray) -> Said:
    """What is said of some maps, (n, 80, 80) of which are known; raises what `Predictions.block` does."""
    empty = np.empty((len(mean), 0, *mean.shape[1:]))
    return Said(
        mean,
        predictions.of_halos("r200")[part],
        predictions.samples(target, part) if predictions.n_samples else empty,
        predictions.quantiles(target, part) if predictions.levels else empty,
        predictions.levels,
    )


def description(predictions: Predictions) -> str:
    """What a model says of every map, as its calibration has to have it."""
    return described(predictions.n_samples, predictions.levels, predictions.symmetries)
