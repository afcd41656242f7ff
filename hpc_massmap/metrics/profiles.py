"""Cylindrical mass profiles of surface-density maps (section 4.2, eq. 9 and 10)."""

from dataclasses import dataclass
from typing import ClassVar, Self

from hpc_massmap.apertures import RADII, enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Evaluate
from hpc_massmap.metrics.metric import Block, MapMetric, Rows
from hpc_massmap.metrics.relative import relative_difference
from hpc_massmap.metrics.sample import Sample, by_simulation, in_intervals, interval_labels


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
