"""What a snapshot holds, in the units of the maps: physical kpc without h, Msun/h.

GADGET's smoothing length is the radius at which the kernel reaches zero, and so is ours.
"""

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from hpc_massmap.arrays import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]

HYDROGEN_FRACTION = 0.76  # primordial, as in the simulations' cooling
HELIUM_FRACTION = 0.24  # of gas that has metals, where the snapshot does not say
FULLY_IONISED = 1 + (1 - HYDROGEN_FRACTION) / (2 * HYDROGEN_FRACTION)  # electrons per hydrogen nucleus, with helium
GAMMA = 5 / 3

GAS, DARK_MATTER, STARS, BLACK_HOLES = 0, 1, 4, 5
KINDS = {GAS: "gas", DARK_MATTER: "dark_matter", STARS: "stars", BLACK_HOLES: "black_holes"}  # of a Snapshot
BOUNDARY = (2, 3)  # of low resolution, about the region of a zoom-in run


@dataclass(frozen=True)
class Header:
    """The cosmology and time of a snapshot.

    Attributes
    ----------
    box : side of the periodic box, physical kpc; 0 where the snapshot does not say
    """

    redshift: float
    a: float
    h: float
    omega_m: float
    omega_lambda: float
    box: float = 0.0


@dataclass(frozen=True)
class Particles:
    """Dark matter or black holes, and what all types have.

    Attributes
    ----------
    positions : (n, 3), physical kpc
    masses : (n,), Msun/h
    """

    positions: FloatArray
    masses: FloatArray

    def __len__(self) -> int:
        return len(self.masses)

    @cached_property
    def tree(self) -> Any:
        """The k-d tree of the positions, built when first asked for."""
        return cKDTree(self.positions)


@dataclass(frozen=True)
class Gas(Particles):
    """Gas.

    Attributes
    ----------
    density : (n,), physical Msun kpc^-3
    smoothing_length : (n,), physical kpc, where the kernel reaches zero
    internal_energy : (n,), (km/s)^2
    electron_abundance : (n,), electrons per hydrogen nucleus
    star_formation_rate : (n,), in any unit: what is positive is star-forming
    metallicity : (n,), mass fraction of what is heavier than helium; None where the snapshot has none
    wind : (n,), launched by feedback and still decoupled from the gas about it (GIZMO's DelayTime > 0); None where
        the snapshot knows no such gas
    hydrogen : (n,), mass fraction; None for the primordial one
    multiphase : (n,), whose energy is that of the subgrid model; None for all that forms stars
    """

    density: FloatArray
    smoothing_length: FloatArray
    internal_energy: FloatArray
    electron_abundance: FloatArray
    star_formation_rate: FloatArray
    metallicity: FloatArray | None = None
    wind: BoolArray | None = None
    hydrogen: FloatArray | None = None
    multiphase: BoolArray | None = None

    @property
    def hydrogen_fraction(self) -> FloatArray | float:
        """Of the mass: (n,), or one for all."""
        return HYDROGEN_FRACTION if self.hydrogen is None else self.hydrogen

    @property
    def thermal(self) -> BoolArray:
        """Whether the temperature is that of a plasma, (n,): not of multiphase gas, nor of decoupled wind."""
        quiet = self.star_formation_rate <= 0 if self.multiphase is None else ~self.multiphase
        return np.asarray(quiet if self.wind is None else quiet & ~self.wind)

    def at(self, rows: IntArray) -> "Gas":
        """Some of the gas, by its rows, (m,)."""
        of_all = {of.name: getattr(self, of.name) for of in fields(self)}
        some: dict[str, Any] = {name: None if values is None else values[rows] for name, values in of_all.items()}
        return Gas(**some)


@dataclass(frozen=True)
class Stars(Particles):
    """Particles of the stars' type.

    Attributes
    ----------
    wind : (n,), gas that feedback launched and that Arepo keeps among them (GFM_StellarFormationTime <= 0); None where
        the snapshot knows no such
    """

    wind: BoolArray | None = None

    @property
    def stellar_masses(self) -> FloatArray:
        """Without the wind's, (n,) Msun/h."""
        return self.masses if self.wind is None else np.where(self.wind, 0.0, self.masses)


@dataclass(frozen=True)
class Snapshot:
    """All particles of one region at one time.

    Attributes
    ----------
    extent : (2, 3), the least and the greatest coordinate of all particles, kept or not; physical kpc
    """

    path: Path
    header: Header
    gas: Gas
    dark_matter: Particles
    stars: Stars
    black_holes: Particles
    extent: FloatArray = field(default_factory=lambda: np.array([[-np.inf] * 3, [np.inf] * 3]))
