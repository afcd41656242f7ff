"""Power spectra of maps (section 4.3, eq. 11 to 13), as Pylians' `Pk_library.Pk_plane` without mass-assignment window.

Each pair of modes k and -k counts once and the bins are one fundamental mode wide, so the first ones hold few modes.
"""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Self

import numpy as np
import scipy.fft

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.config import Evaluate
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.relative import relative_difference
from hpc_massmap.metrics.sample import Sample

N_BINS = int(np.hypot(PIXELS // 2, PIXELS // 2))  # 56: up to the corner of the plane; the constant has no bin
ROUNDING = np.finfo(np.float64).eps


@cache
def _modes() -> tuple[IntArray, FloatArray]:
    """Bin of every mode of `rfft2` (those that are the mirror of another in bin 0), and the mean |k| of every bin."""
    nyquist = PIXELS // 2
    kx = np.arange(PIXELS)
    kx = np.where(kx > nyquist, kx - PIXELS, kx)[:, None]
    ky = np.arange(nyquist + 1)[None, :]
    k = np.sqrt(kx**2 + ky**2)
    mirrored = ((ky == 0) | (ky == nyquist)) & (kx < 0)
    bins = np.where(mirrored, 0, k.astype(np.int64)).ravel()
    return bins, np.bincount(bins, k.ravel())[1:] / np.bincount(bins)[1:]


def wavelengths() -> FloatArray:
    """2 pi over the mean wave number of every bin (eq. 13): (56,), in R200."""
    return 2 / _modes()[1]


def power_spectrum(maps: FloatArray, r200: FloatArray) -> FloatArray:
    """Mean `|FFT|^2 (2 R200/80^2)^2` over the independent modes of every bin (eq. 11, 12).

    A mode that is not above the rounding of the map's strongest one is 0, as all of a constant map are.

    Parameters
    ----------
    maps : (n, 80, 80)
    r200 : (n,), kpc

    Returns
    -------
    (n, 56), unit of the map squared times kpc^2
    """
    bins, _ = _modes()
    modes = np.bincount(bins)[1:]
    spectra = np.empty((len(maps), N_BINS))
    for n, pixels in enumerate(maps):  # one by one: a batched FFT rounds a map differently from one place to another
        amplitude = scipy.fft.rfft2(pixels)
        power = (amplitude.real**2 + amplitude.imag**2).ravel()
        power[power < ROUNDING**2 * power.max()] = 0
        spectra[n] = np.bincount(bins, power)[1:] / modes * (2 * r200[n] / PIXELS**2) ** 2
    return spectra


@dataclass(frozen=True)
class Power(MapMetric):
    """Power spectra of n maps.

    Attributes
    ----------
    wavelength : (56,), in R200, falling
    true, predicted : (n, 56), unit of the map squared times kpc^2
    difference : (n, 56), relative; NaN where only the true power is 0
    """

    name: ClassVar[str] = "power"

    wavelength: FloatArray
    true: FloatArray
    predicted: FloatArray
    difference: FloatArray

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        spectra = {"true": block.true, "predicted": block.predicted}
        return {name: power_spectrum(maps, block.r200) for name, maps in spectra.items()}

    @classmethod
    def of(cls, rows: Rows, settings: Evaluate) -> Self:
        return cls(wavelengths(), **rows, difference=relative_difference(rows["predicted"], rows["true"]))

    def headline(self, sample: Sample) -> list[str]:
        return []
