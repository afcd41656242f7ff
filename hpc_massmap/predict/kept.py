"""What a file of predictions keeps of a distribution, and how samples are stored: half as large as they are computed.

A stored sample is float16, in units of the mean absolute value of all samples of its map: 11 bits of each pixel, so
that it is off by at most 2^-11 (0.05 %) of itself, or by 3e-8 of that mean where it is less than 6e-5 of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.posterior.distribution import MapDistribution


@dataclass(frozen=True)
class Kept:
    """Of n maps; axes for targets, levels and samples follow that of the maps.

    Attributes
    ----------
    mean : (n, targets, 80, 80)
    quantiles : (n, targets, levels, 80, 80); no levels, where none are kept
    samples, scales : (n, targets, samples, 80, 80) and (n, targets), of which a sample is the product
    """

    mean: npt.NDArray[np.float32]
    quantiles: npt.NDArray[np.float32]
    samples: npt.NDArray[np.float16]
    scales: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.mean)


def kept(says: MapDistribution, levels: Sequence[float], samples: int, seed: int) -> Kept:
    """The mean of a distribution, its quantiles at some levels, which may be none, and so many samples.

    Where the mean is known by samples alone, it is that of these.
    """
    drawn = np.stack(list(says.samples(samples, seed)), axis=2) if samples else None
    mean = drawn.mean(2, np.float64) if drawn is not None and says.by_samples else says.mean()
    shape = (*mean.shape[:2], 0, *mean.shape[2:])
    quantiles = np.moveaxis(says.quantiles(levels), 0, 2) if levels else np.empty(shape)
    stored, scales = compressed(drawn if drawn is not None else np.empty(shape))
    return Kept(mean.astype(np.float32), quantiles.astype(np.float32), stored, scales)


def compressed(samples: FloatArray) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
    """Samples as they are stored and the scale of each map.

    Parameters
    ----------
    samples : (..., samples, 80, 80)

    Returns
    -------
    stored, scales : (..., samples, 80, 80) and (...), 1 where all pixels are 0
    """
    if not samples.shape[-3]:
        return samples.astype(np.float16), np.ones(samples.shape[:-3], np.float32)
    scales = np.abs(samples).mean((-3, -2, -1), dtype=np.float64).astype(np.float32)
    scales[scales == 0] = 1
    return (samples / scales[..., None, None, None]).astype(np.float16), scales
