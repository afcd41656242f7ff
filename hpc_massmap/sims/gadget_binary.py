"""One file of a snapshot in GADGET-2's binary format, 1 or 2, as GADGET-2/3 and GADGET-X write it.

A file is a row of records, each between two copies of its length in bytes. In format 2 a record of eight bytes names
the block that follows, so blocks come in any order and unknown ones are skipped. In format 1 they have no names: POS,
VEL, ID and MASS of the types without a mass in the header's table come first, and gadget_order.py finds out the rest.

Byte order follows from the first record's length, precision from each block's size. Only the rows asked for are read.

Metals: "Z" of one column is the mass fraction itself; of several columns, the first is the total and the second
helium, as GIZMO has it. "Zs", as GADGET-X's stellar evolution writes it, holds masses of helium and then of metals,
whose sum over the particle's mass is the fraction. "MHI" is the mass of neutral hydrogen: of what is cold, 0.76.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.progress import say_once
from hpc_massmap.sims.gadget_order import FLAGS, Sample, announced, order_of
from hpc_massmap.sims.particles import GAS, HYDROGEN_FRACTION, STARS

HEADER_BYTES = 256
TYPES = range(6)
SAMPLED = 100_000  # particles
LARGEST_FLAG = 1000  # some codes count their metals in it
UNUSED = {"HEAD", "VEL", "ID", "AGE", "NH", "POT", "ACCE", "TSTP", "ENDT", "Zs"}
NAMES = {
    "Coordinates": "POS",
    "Masses": "MASS",
    "InternalEnergy": "U",
    "Density": "RHO",
    "ElectronAbundance": "NE",
    "SmoothingLength": "HSML",
    "StarFormationRate": "SFR",
    "DelayTime": "DETI",
    "Metallicity": "Z",
    "ColdFraction": "MHI",
}
HEADER = np.dtype(
    [
        ("NumPart_ThisFile", "u4", 6),
        ("MassTable", "f8", 6),
        ("Time", "f8"),
        ("Redshift", "f8"),
        ("Flag_Sfr", "i4"),
        ("Flag_Feedback", "i4"),
        ("NumPart_Total", "u4", 6),
        ("Flag_Cooling", "i4"),
        ("NumFilesPerSnapshot", "i4"),
        ("BoxSize", "f8"),
        ("Omega0", "f8"),
        ("OmegaLambda", "f8"),
        ("HubbleParam", "f8"),
        ("Flag_StellarAge", "i4"),
        ("Flag_Metals", "i4"),
        ("NumPart_Total_HighWord", "u4", 6),
    ]
)


@dataclass(frozen=True)
class Block:
    """Where a block's data lie in the file, and how many bytes they have."""

    start: int
    size: int


def byte_order(first: bytes) -> str | None:
    """The byte order of a file that begins with these four bytes; None if it is no GADGET-2 binary."""
    for order in "<>":
        if len(first) >= 4 and int(np.frombuffer(first, order + "u4", 1)[0]) in (8, HEADER_BYTES):
            return order
    return None


class BinaryFile:
    """A source of blocks: `header`, `counts`, `has`, `label` and `read`, as `Hdf5File` has them.

    Attributes
    ----------
    header : the file's header under the names that HDF5 snapshots use
    counts : particles of each type in this file
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        try:
            self._bytes = os.fstat(self._file.fileno()).st_size
            self._order = byte_order(self._file.read(4)) or "<"
            self._named = self._length(0, "HEAD") == 8
            self.header, after = self._read_header()
            self.counts = [int(n) for n in self.header["NumPart_ThisFile"]]
            self._blocks = self._named_blocks(after) if self._named else self._ordered_blocks(after)
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> tuple[Mapping[str, Any], int]:
        if self._named:
            name, after = self._name(0)
            if name != "HEAD":
                raise InputError(f"{self.path}: begins with block {name!r} instead of HEAD")
        else:
            after = 0
        block, after = self._record(after, "HEAD")
        if block.size != HEADER_BYTES:
            raise InputError(
                f"{self.path}: block HEAD has {block.size} bytes instead of {HEADER_BYTES}; is it damaged?"
            )
        fields = self._items(block.start, HEADER.newbyteorder(self._order), 1)[0]  # type: ignore[arg-type]
        return {name: fields[name] for name in HEADER.names or ()}, after

    def _named_blocks(self, place: int) -> dict[str, Block]:
        blocks = {}
        while place < self._bytes:
            name, place = self._name(place)
            blocks[name], place = self._record(place, name)
        return blocks

    def _ordered_blocks(self, place: int) -> dict[str, Block]:
        flags = {name: bool(self.header[flag]) for name, flag in FLAGS.items()}
        expected = [*self._first_blocks(), *announced(self.counts, flags)]
        records: list[Block] = []
        while place < self._bytes:
            name = expected[len(records)] if len(records) < len(expected) else str(len(records) + 1)
            record, place = self._record(place, name)
            records.append(record)
        first = self._first_blocks()
        if len(records) < len(first):
            self._refuse_end(expected[len(records)])
        blocks, rest = dict(zip(first, records, strict=False)), records[len(first) :]
        if not rest and len(expected) == len(first):
            return blocks
        order = order_of([r.size for r in rest], self.counts, flags, *self._samples(blocks, rest))
        cut_off = len(records) < len(expected) and self._has_flags()
        if cut_off and (not order or expected[: len(records)] == [*first, *order]):
            self._refuse_end(expected[len(records)])
        if not order:
            raise InputError(
                f"{self.path}: its blocks after {first[-1]} are not those that GADGET-2 or GADGET-4 writes, by their "
                "sizes and values; write format 2 or HDF5, which name them"
            )
        if len(order) < len(rest):
            say_once(f"blocks after {order[-1]} in binary files of format 1 are not understood, and not read")
        return blocks | dict(zip(order, rest, strict=False))

    def _has_flags(self) -> bool:
        """GADGET-4 has another number where the flags of stellar ages and metals are."""
        return all(0 <= self.header[flag] < LARGEST_FLAG for flag in FLAGS.values())

    def _refuse_end(self, name: str) -> NoReturn:
        raise InputError(f"{self.path}: ends before block {name}, which its header announces; is it truncated?")

    def _first_blocks(self) -> list[str]:
        return ["POS", "VEL", "ID", *(["MASS"] if self._kinds("MASS") else [])]

    def _samples(self, blocks: dict[str, Block], rest: list[Block]) -> tuple[Sample, FloatArray]:
        """The first values of each record, and of the gas' masses, in the precision of the positions."""
        everything = sum(self.counts)
        wide = self._layout(blocks["POS"], "POS", everything)[1]

        def values(block: Block, number: int) -> FloatArray:
            itemsize = wide if block.size % wide == 0 else 4
            return self._items(block.start, np.dtype(f"{self._order}f{itemsize}"), min(number, block.size // itemsize))

        number = min(self.counts[GAS], SAMPLED)
        table = float(self.header["MassTable"][GAS])
        masses = np.full(number, table) if table > 0 or "MASS" not in blocks else values(blocks["MASS"], number)
        return lambda place: values(rest[place], number or SAMPLED), masses

    def _name(self, place: int) -> tuple[str, int]:
        block, after = self._record(place, "name")
        if block.size != 8:
            raise InputError(f"{self.path}: a block's name has {block.size} bytes instead of 8; is the file damaged?")
        return bytes(self._items(block.start, np.dtype("u1"), 4)).decode("latin-1").strip(), after

    def _record(self, place: int, name: str) -> tuple[Block, int]:
        """The record that begins at a place, its two lengths checked, and where the next begins."""
        size = self._length(place, name)
        end = place + 4 + size
        if end + 4 > self._bytes:
            raise InputError(f"{self.path}: truncated in block {name}: {end + 4 - self._bytes} bytes are missing")
        closing = self._length(end, name)
        if closing != size:
            raise InputError(f"{self.path}: block {name} begins as {size} bytes and ends as {closing}; is it damaged?")
        return Block(place + 4, size), end + 4

    def _length(self, place: int, name: str) -> int:
        if place + 4 > self._bytes:
            raise InputError(f"{self.path}: truncated in block {name}")
        return int(self._items(place, np.dtype(self._order + "u4"), 1)[0])

    def _items(self, place: int, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
        with in_one_line(f"{self.path}: cannot be read at byte {place}; is its disk in order?"):
            self._file.seek(place)
            values = np.fromfile(self._file, dtype, count)
        if len(values) < count:
            raise InputError(f"{self.path}: truncated: {count - len(values)} values at byte {place} are missing")
        return values

    def _kinds(self, name: str) -> list[int]:
        """The types that a block holds, in their order in it."""
        if name == "MASS":
            return [kind for kind in TYPES if self.counts[kind] and self.header["MassTable"][kind] == 0]
        if name in ("Z", "Zs"):
            return [GAS, STARS]
        return list(TYPES) if name == "POS" else [GAS]

    def has(self, kind: int, name: str) -> bool:
        label = self.label(kind, name)
        there = label in self._blocks and kind in self._kinds(label)
        if name == "HeliumFraction" and there and label == "Z":
            return self._layout(self._blocks[label], label, sum(self.counts[k] for k in self._kinds(label)))[0] > 1
        return there

    def others(self) -> list[str]:
        """Blocks that are not understood."""
        return sorted(set(self._blocks) - set(NAMES.values()) - UNUSED)

    def label(self, kind: int, name: str) -> str:
        """What the file calls a block."""
        if name == "HeliumFraction":
            return "Zs" if "Zs" in self._blocks else "Z"
        if name == "Metallicity" and "Zs" in self._blocks and "Z" not in self._blocks:
            return "Zs"
        return NAMES.get(name, name)  # binary files have no wind among their stars

    def read(self, kind: int, name: str, rows: slice) -> FloatArray:
        """Rows of a block, (n,) or for Coordinates (n, 3), in the file's precision."""
        label = self.label(kind, name)
        if not self.has(kind, name):
            raise InputError(f"{self.path}: has no block {label} for particles of type {kind}")
        values = self._rows(kind, label, rows)
        if name == "Coordinates":
            return values
        if label not in ("Zs", "MHI"):
            return values[:, 1 if name == "HeliumFraction" else 0]
        table = float(self.header["MassTable"][kind])
        masses = table if table > 0 else self._rows(kind, "MASS", rows)[:, 0]
        if name == "ColdFraction":
            return np.asarray(values[:, 0] / HYDROGEN_FRACTION / masses)
        of_metals = values[:, 1:].sum(axis=1, dtype=np.float64)
        return np.asarray((values[:, 0] if name == "HeliumFraction" else of_metals) / masses)

    def _rows(self, kind: int, label: str, rows: slice) -> FloatArray:
        block, kinds = self._blocks[label], self._kinds(label)
        number = sum(self.counts[k] for k in kinds)
        columns, itemsize = self._layout(block, label, number)
        before = sum(self.counts[k] for k in kinds if k < kind) + rows.start
        place = block.start + before * columns * itemsize
        count = (rows.stop - rows.start) * columns
        values = self._items(place, np.dtype(f"{self._order}f{itemsize}"), count)
        return values.reshape(-1, columns)

    def _layout(self, block: Block, label: str, number: int) -> tuple[int, int]:
        """Columns, and bytes of each number: 8 where all of the block's sizes fit it, else 4."""
        each, rest = divmod(block.size, max(number, 1))
        columns = 3 if label == "POS" else 1
        if label in ("Z", "Zs") and rest == 0 and each > 8:
            double = self._layout(self._blocks["POS"], "POS", sum(self.counts))[1] == 8 and each % 8 == 0
            return (each // 8, 8) if double else (each // 4, 4)
        if rest or each not in (4 * columns, 8 * columns):
            raise InputError(f"{self.path}: block {label} has {block.size} bytes, which do not fit {number} particles")
        return columns, each // columns

    def close(self) -> None:
        self._file.close()
