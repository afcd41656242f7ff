"""Which block is which in a file of format 1, where they have no names.

GADGET-2 and GADGET-4 differ in their order, and both leave out what a run does not have or was told not to write. The
flags of the header should say so, but codes leave them at 0 or write something else in their place. So every order that
the two codes can write is held against the sizes of the records, and against their values: a smoothing length against
density and mass, fractions and abundances against what they can be. The flags decide where several are left.
"""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.sims.particles import GAS, STARS

GADGET_2 = ("U", "RHO", "NE", "NH", "HSML", "SFR", "AGE", "Z")
GADGET_4 = ("U", "RHO", "HSML", "SFR", "AGE", "Z", "NE")
FLAGS = {"NE": "Flag_Cooling", "NH": "Flag_Cooling", "SFR": "Flag_Sfr", "AGE": "Flag_StellarAge", "Z": "Flag_Metals"}
NEIGHBOURS = (4.0, 3000.0)  # inside a kernel, in the median: of any code, with the radius or half of it as its length

Sample = Callable[[int], FloatArray]


def order_of(
    sizes: list[int], counts: list[int], flags: dict[str, bool], sample: Sample, masses: FloatArray
) -> list[str]:
    """The blocks that records hold, in their order; fewer than records where those at the end are of no concern.

    Parameters
    ----------
    sizes : bytes of each record after positions, velocities, ids and masses
    counts : particles of each type in this file
    flags : what the header says is there, by the names of `FLAGS`
    sample : place of a record -> its first values
    masses : (n,), of the first gas particles

    Returns
    -------
    Empty if no order fits, or several do and the flags name none of them.
    """
    orders = [order for order in _orders(counts) if _fits(order, sizes, counts)]
    named = announced(counts, flags)
    for left in sorted({len(sizes) - len(order) for order in orders}):
        fitting = [
            order
            for order in orders
            if len(sizes) - len(order) == left
            and _can_be(dict(zip(order, map(sample, range(len(order))), strict=True)), masses)
        ]
        if named in fitting or len(fitting) == 1:
            return named if named in fitting else fitting[0]
        if fitting:
            return []
    return []


def announced(counts: list[int], flags: dict[str, bool]) -> list[str]:
    """GADGET-2's blocks by the header alone."""
    return [name for name in GADGET_2 if flags.get(name, True) and _number(name, counts)]


def _orders(counts: list[int]) -> Iterator[list[str]]:
    """All that the two codes can write."""
    seen = []
    for code in (GADGET_2, GADGET_4):
        for wanted in product((True, False), repeat=len(code) - 2):
            chosen = dict(zip(code[2:], wanted, strict=True))
            order = [name for name in code if chosen.get(name, True) and _number(name, counts)]
            if chosen["NE"] == chosen.get("NH", chosen["NE"]) and order not in seen:
                seen.append(order)
                yield order


def _number(name: str, counts: list[int]) -> int:
    """Of particles that a block is of."""
    return {"AGE": counts[STARS], "Z": counts[GAS] + counts[STARS]}.get(name, counts[GAS])


def _fits(order: list[str], sizes: list[int], counts: list[int]) -> bool:
    """Whether the records have the sizes of these blocks, and those that are left over those of all particles."""
    if len(order) > len(sizes):
        return False
    for name, size in zip(order, sizes, strict=False):
        each, rest = divmod(size, _number(name, counts))
        if rest or (each % 4 if name == "Z" else each not in (4, 8)):
            return False
    everything = sum(counts)
    gas_alone = everything == counts[GAS]
    return all(size in [everything * n for n in (4, 8, 12, 24)] and not gas_alone for size in sizes[len(order) :])


def _can_be(blocks: dict[str, FloatArray], masses: FloatArray) -> bool:
    """Whether values are those of what they are taken for."""
    if not all(np.isfinite(values).all() for values in blocks.values()):
        return False
    if any(not (blocks[name] > 0).all() for name in ("U", "RHO", "HSML") if name in blocks):
        return False
    ranges = {"NE": (0.0, 1.5), "NH": (0.0, 1.01), "SFR": (0.0, np.inf), "AGE": (0.0, 1.001), "Z": (0.0, 1.0)}
    for name, (low, high) in ranges.items():
        if name in blocks and not ((blocks[name] >= low) & (blocks[name] <= high)).all():
            return False
    if "NE" in blocks and blocks["NE"].max() < 0.5:
        return False  # some gas is ionised
    if "SFR" in blocks and blocks["SFR"].min() > 0.9 and blocks["SFR"].max() < 1.4:
        return False  # an electron abundance
    if "HSML" not in blocks:
        return True
    with np.errstate(all="ignore"):  # damaged masses, too, are NaN here
        number = 4 / 3 * np.pi * blocks["HSML"].astype(np.float64) ** 3 * blocks["RHO"] / masses
    return bool(NEIGHBOURS[0] < np.median(number) < NEIGHBOURS[1])
