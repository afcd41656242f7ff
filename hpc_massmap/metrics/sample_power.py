"""Power spectra of samples: whether a sample is as rough as a true map at every scale, as a mean map cannot be."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.metrics.error_bars import SAMPLES
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.power import power_spectrum, wavelengths
from hpc_massmap.metrics.relative import relative_difference


@dataclass(frozen=True)
class SamplePower(MapMetric):
    """Mean power over the samples of each of n maps.

    Attributes
    ----------
    wavelength : (56,), in R200, falling
    power : (n, 56), unit of the map squared times kpc^2
    difference : (n, 56), relative to the power of the true map; NaN where only that is 0
    """

    name: ClassVar[str] = "sample_power"

    wavelength: FloatArray
    power: FloatArray
    difference: FloatArray

    @classmethod
    def applies(cls, aspects: frozenset[str]) -> bool:
        return SAMPLES in aspects

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        samples = block.error_bars.said.samples
        found = [power_spectrum(of, np.full(len(of), r200)) for of, r200 in zip(samples, block.r200, strict=True)]
        power = np.stack([spectra.mean(axis=0) for spectra in found])
        return {"power": power, "difference": relative_difference(power, power_spectrum(block.true, block.r200))}

    @classmethod
    def of(cls, rows: Rows, settings: Evaluate) -> Self:
        return cls(wavelengths(), **rows)
