"""Which maps an evaluation is about, and parts of them: by mass, simulation and line of sight."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.bootstrap import Resampling, resample
from hpc_massmap.metrics.spread import Spread, spread

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """The test maps of an evaluation.

    Attributes
    ----------
    name : of the run
    mass_intervals : edges in log10 M200/(Msun/h)
    maps : row, halo, projection, m200 (Msun/h), r200 (kpc), redshift, simulation, region -> (n,)
    """

    name: str
    maps_digest: str
    mass_intervals: list[float]
    maps: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.maps["row"])

    @cached_property
    def draws(self) -> Resampling:
        """The draws of the bootstrap over the regions of all test maps; those of some maps are its `of`."""
        return resample(self.maps["region"])

    @property
    def log_m200(self) -> FloatArray:
        """log10 M200/(Msun/h) of every test map: (n,)."""
        return np.asarray(np.log10(self.maps["m200"]))

    @property
    def everything(self) -> BoolArray:
        """All maps, where some can be chosen: (n,)."""
        return np.ones(len(self), bool)

    def spread_of(self, values: FloatArray, chosen: BoolArray) -> Spread:
        """Percentiles, with errors, over some of the maps.

        Parameters
        ----------
        values : (n, ...), one row a test map
        chosen : (n,)
        """
        return spread(values[chosen], self.draws.of(chosen))


def in_intervals(sample: Sample, edges: Iterable[float] | None = None) -> list[BoolArray]:
    """Which maps are in each mass interval, half-open but for the last: (n,) each.

    Parameters
    ----------
    edges : in log10 M200/(Msun/h); the config's mass intervals if not given
    """
    mass = sample.log_m200
    bounds = list(pairwise(sample.mass_intervals if edges is None else edges))
    inside = [(low <= mass) & (mass < high) for low, high in bounds]
    inside[-1] |= mass == bounds[-1][1]
    return inside


def interval_labels(sample: Sample) -> list[str]:
    """The mass intervals as text."""
    bounds = list(pairwise(sample.mass_intervals))
    signs = ["<"] * (len(bounds) - 1) + ["<="]
    return [f"{low:g} <= log10 M200 {sign} {high:g}" for (low, high), sign in zip(bounds, signs, strict=True)]


def by_simulation(sample: Sample) -> dict[str, BoolArray]:
    """Which maps are of each simulation, in the order of their names: (n,) each."""
    column = sample.maps["simulation"]
    return {str(name): column == name for name in np.unique(column)}


def by_projection(sample: Sample) -> dict[int, BoolArray]:
    """Which maps are along each line of sight: (n,) each."""
    column = sample.maps["projection"]
    return {int(number): column == number for number in np.unique(column)}
