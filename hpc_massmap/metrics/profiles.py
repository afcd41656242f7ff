"""Cylindrical mass profiles of surface-density maps (section 4.2, eq. 9 and 10).

A pixel belongs to an aperture if its centre does: no sub-pixel weights, as in the paper.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.grid import pixel_area, squared_radii
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.relative import relative_difference
from hpc_massmap.metrics.sample import Sample, by_simulation, in_intervals, interval_labels

RADII = np.arange(1, 11) / 10  # in R200


def enclosed_mass(surface_density: FloatArray, r200: FloatArray) -> FloatArray:
    """Mass inside cylinders of radius R200/10, 2 R200/10, ..., R200 (eq. 9).

    Parameters
    ----------
    surface_density : (n, 80, 80), Msun/h per kpc^2
    r200 : (n,), kpc

    Returns
    -------
    (n, 10), Msun/h
    """
    ring = np.searchsorted(RADII, np.sqrt(squared_radii())).ravel()
    area = pixel_area(r200)
    masses = np.empty((len(surface_density), len(RADII)))
    for n, pixels in enumerate(surface_density):  # one by one, so that no result depends on its neighbours
        masses[n] = np.cumsum(np.bincount(ring, pixels.ravel())[: len(RADII)]) * area[n]
    return masses


@dataclass(frozen=True)
class Profiles(MapMetric):
    """Enclosed masses of n maps.

    Attributes
    ----------
    radii : (10,), in R200
    mass_true, mass_predicted : (n, 10), unit of the map times kpc^2: Msun/h for `mass` and `star`
    bias : (n, 10), eq. 10; NaN where only the true mass is 0
    """

    name: ClassVar[str] = "profiles"

    radii: FloatArray
    mass_true: FloatArray
    mass_predicted: FloatArray
    bias: FloatArray

    @classmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        masses = {"mass_true": block.true, "mass_predicted": block.predicted}
        return {name: enclosed_mass(maps, block.r200) for name, maps in masses.items()}

    @classmethod
    def of(cls, rows: Rows, settings: Evaluate) -> Self:
        return cls(RADII, **rows, bias=relative_difference(rows["mass_predicted"], rows["mass_true"]))

    @property
    def b200(self) -> FloatArray:
        """Bias inside R200: (n,)."""
        return self.bias[:, -1]

    def headline(self, sample: Sample) -> list[str]:
        parts = dict(zip(interval_labels(sample), in_intervals(sample), strict=True))
        simulations = by_simulation(sample)
        parts |= simulations if len(simulations) > 1 else {}
        found = {label: (sample.spread_of(self.b200, chosen), chosen.sum()) for label, chosen in parts.items()}
        return [f"  b200, {label}: {b200.text()}  ({maps} maps)" for label, (b200, maps) in found.items()]
