"""Whether the texts of an HDF5 file can be read: the library never returns from a heap whose sizes do not add up.

HDF5 keeps texts of any length in global heaps (III.E of its file format specification), which carry no checksum. A bit
that changed there may keep it walking in circles, so they are walked here first.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py

from hpc_massmap.hdf5 import dataset_of, names_in, place_of

HEAP = re.compile(rb"GCOL\x01")
HEADER, SIZES = 16, struct.Struct("<8xQ")  # of a heap: signature, version, its whole size
OBJECT = struct.Struct("<H6xQ")  # index, size; index 0 is the free space at the end, whose size has this header in it


def has_sound_heaps(path: Path, file: h5py.File) -> bool:
    """Whether all global heaps of an open file are sound; pixels that stand in one piece are not looked at."""
    return all(_is_sound(part, found.start()) for part in _between_pixels(path, file) for found in HEAP.finditer(part))


def _between_pixels(path: Path, file: h5py.File) -> Iterator[bytes]:
    pixels = [place_of(dataset_of(file, f"maps/{name}", False)) for name in names_in(file, "maps")]
    end = path.stat().st_size
    with path.open("rb") as raw:
        at = 0
        for start, size in [*sorted((start, size) for start, size in pixels if start is not None), (end, 0)]:
            raw.seek(at)
            yield raw.read(max(0, start - at))
            at = start + size


def _is_sound(data: bytes, start: int) -> bool:
    if len(data) < start + HEADER:
        return False
    end = start + SIZES.unpack_from(data, start)[0]
    at = start + HEADER
    while at + OBJECT.size <= end <= len(data):
        index, size = OBJECT.unpack_from(data, at)
        if index == 0:
            return bool(at + size == end)
        at += OBJECT.size + (size + 7) // 8 * 8
    return bool(at <= end <= len(data))
