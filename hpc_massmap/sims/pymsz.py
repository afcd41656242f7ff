"""PyMSZ's rules of gas (Cui et al. 2018), for `maps.gas_rules: pymsz`: how much hydrogen it has, and what is no plasma.

The hydrogen fraction is that of each particle, X = 1 - Y - Z, with Y = 0.24 where the snapshot has no helium. Left out
is gas of which a tenth or more is cold, where the snapshot says so (MHI, neutral hydrogen of GADGET-X), and else gas
that forms 0.1 Msun/yr or more.
"""

from typing import Protocol

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.progress import say_once
from hpc_massmap.sims.particles import HELIUM_FRACTION, BoolArray

COLD_FRACTION = 0.1
STAR_FORMATION_RATE = 0.1  # Msun/yr, which is what GADGET, GIZMO and Arepo write


class Blocks(Protocol):
    """The gas of a snapshot, block by block."""

    number: int

    def has(self, name: str) -> bool: ...
    def where(self) -> str: ...
    def block(self, name: str) -> FloatArray: ...


def hydrogen_fraction(gas: Blocks) -> FloatArray:
    """X = 1 - Y - Z, (n,).

    Raises
    ------
    InputError
        If the snapshot has no metallicity, or so much of it that no hydrogen is left.
    """
    if not gas.number:
        return np.zeros(0)
    if not gas.has("Metallicity"):
        raise InputError(
            f"{gas.where()}: its gas has no Metallicity, of which maps.gas_rules = pymsz makes the hydrogen fraction; "
            "take gas_rules: primordial"
        )
    helium: FloatArray | float = HELIUM_FRACTION
    if gas.has("HeliumFraction"):
        helium = gas.block("HeliumFraction")
    else:
        say_once(f"helium is not in the snapshots, so that of all gas is {HELIUM_FRACTION}")
    hydrogen = np.asarray(1 - helium - gas.block("Metallicity"))
    if not np.all((hydrogen > 0) & (hydrogen <= 1)):
        raise InputError(
            f"{gas.where()}: metals and helium leave gas with hydrogen fractions of {hydrogen.min():.3g} to "
            f"{hydrogen.max():.3g}; are they fractions of its mass?"
        )
    return hydrogen


def multiphase(gas: Blocks, star_formation_rate: FloatArray) -> BoolArray:
    """What is left out, (n,).

    Parameters
    ----------
    star_formation_rate : (n,), Msun/yr
    """
    if gas.has("ColdFraction"):
        return np.asarray(gas.block("ColdFraction") >= COLD_FRACTION)
    return np.asarray(star_formation_rate >= STAR_FORMATION_RATE)
