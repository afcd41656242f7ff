"""Maps of a file as memory maps; those that lie in several files as if they were one array.

A memory map keeps its file open, so a file is mapped once for all its stacks, and a process that opens thousands of
parts raises its own limit of open files, which is mostly 1024 although the system would allow far more.
"""

import errno
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import PIXELS
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.hdf5 import dataset_of, opened, place_of

MOST_OPEN_FILES = 65_536  # as many memory maps Linux gives to a process

Maps = npt.NDArray[np.float32]


class Stack(Protocol):
    """Maps of one kind, (n_maps, 80, 80) float32, read when they are indexed by a row, a slice or an array of rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class PartedStack:
    """A stack whose rows lie one after the other in several memory maps.

    Parameters
    ----------
    parts : each (k, 80, 80); the first has the first rows
    """

    def __init__(self, parts: list[Maps]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: Any, /) -> Maps:
        """A copy of some maps: (80, 80) of one row, (k, 80, 80) of a slice or of k rows in any order."""
        asked = np.arange(len(self))[rows]
        wanted = np.atleast_1d(asked)
        found = np.empty((len(wanted), *self.shape[1:]), np.float32)
        holder = np.searchsorted(self._starts, wanted, side="right") - 1
        for part in np.unique(holder):
            here = holder == part
            found[here] = self._parts[part][wanted[here] - self._starts[part]]
        return found.reshape(*np.shape(asked), *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)


def check_in_one_piece(path: Path, dataset: h5py.Dataset) -> None:
    """Raise an InputError if pixels can neither be mapped nor lie in parts that can."""
    is_ours = Path(dataset.file.filename) == path  # a link's offset is one in another file
    if not is_ours or (place_of(dataset)[0] is None and not dataset.is_virtual):
        raise InputError(f"{path}: {dataset.name} is not contiguous and uncompressed; repack the file")


def memory_maps(path: Path, datasets: Mapping[str, h5py.Dataset]) -> dict[str, Maps]:
    """Some stacks of an open HDF5 file, name -> (n_maps, 80, 80); nothing is read until they are indexed.

    Raises
    ------
    InputError
        If one is not in one piece, or the file ends before it.
    """
    places = {name: place_of(dataset) for name, dataset in datasets.items()}
    for name, (start, size) in places.items():
        if start is None or size != datasets[name].nbytes:
            raise InputError(f"{path}: {datasets[name].name} is not contiguous and uncompressed; repack the file")
        if path.stat().st_size < start + size:
            raise InputError(f"{path}: ends before {datasets[name].name}; make it again")
    whole = np.memmap(path, np.uint8, "r")
    pixels = {name: whole[start:][:size] for name, (start, size) in places.items()}
    return {name: pixels[name].view(np.float32).reshape(dataset.shape) for name, dataset in datasets.items()}


def parted_stacks(path: Path, datasets: Mapping[str, h5py.Dataset]) -> dict[str, PartedStack]:
    """Some virtual stacks of an open map file, by name.

    Raises
    ------
    InputError
        If a part is missing or damaged, they are not the parts of this file, or too many for one process.
    """
    parts = {name: _parts(path, dataset) for name, dataset in datasets.items()}
    files = next(iter(parts.values()))
    if any(other != files for other in parts.values()):
        raise InputError(f"{path}: its maps are not of the same parts; make it again")
    folder = next(
        (place for place in (path.parent, path.resolve().parent) if (place / files[0][0]).exists()), path.parent
    )
    _allow_many_files()
    try:
        found = [_maps_of_part(path, folder / part, n_maps, list(datasets)) for part, n_maps in files]
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        raise InputError(
            f"{path}: its {len(files)} parts are more files than a process may open here (ulimit -n); "
            "where more may be, make it one file by massmap make_maps --consolidate"
        ) from None
    return {name: PartedStack([maps[name] for maps in found]) for name in datasets}


def _parts(path: Path, dataset: h5py.Dataset) -> list[tuple[str, int]]:
    """The parts of a virtual stack in the order of its rows, each with its number of maps."""
    with in_one_line(f"{path}: {dataset.name} does not say which parts it has; make it again"):
        sources = [(source.vspace.get_select_bounds(), source.file_name) for source in dataset.virtual_sources()]
    found, stop = [], 0
    for (first, last), part in sorted(sources):
        if first != (stop, 0, 0) or last[1:] != (PIXELS - 1, PIXELS - 1):
            raise InputError(f"{path}: {dataset.name} has rows of no part, or of several; make it again")
        found.append((part, last[0] + 1 - stop))
        stop = last[0] + 1
    if not found or stop != len(dataset):
        raise InputError(f"{path}: {dataset.name} has rows of no part, or of several; make it again")
    return found


def _maps_of_part(path: Path, part: Path, n_maps: int, names: list[str]) -> dict[str, Maps]:
    if not part.is_file():
        raise InputError(f"{path}: its part {part} is missing; put it back, or make_maps --force makes all again")
    with opened(part, f"{part}: not a readable part of {path.name}; make_maps --force makes all again") as file:
        datasets = {name: dataset_of(file, f"maps/{name}", False) for name in names}
        for dataset in datasets.values():
            if dataset.shape != (n_maps, PIXELS, PIXELS) or dataset.dtype != np.dtype("<f4"):
                raise InputError(
                    f"{part}: {dataset.name} is {dataset.dtype} {dataset.shape}, not {n_maps} maps of {path.name}; "
                    "make_maps --force makes all again"
                )
        return memory_maps(part, datasets)


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        most = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
