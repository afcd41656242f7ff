"""HDF5 files: whole or not there as they are written, told in one line as they are read.

The HDF5 library brings the whole process down when a write fails, so it is not told: what the disk does not take is
thrown away, and so is the file in the end, with the error that the disk gave first.

Files that are only read are not locked, since many NFS and Lustre mounts know no locks. What HDF5 would make up, the
fill values in place of data that are nowhere, is refused.
"""

import errno
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.errors import OF_A_LIBRARY, InputError, first_line
from hpc_massmap.storage import replacing

SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def new_hdf5(target: Path, **how: Any) -> Iterator[h5py.File]:
    """Write an HDF5 file that becomes `target` when the block ends well; raises what `replacing` does.

    Parameters
    ----------
    how : what h5py.File takes besides a name and a mode
    """
    with replacing(target) as temporary, _Uncomplaining(temporary, "w+b") as raw:
        with h5py.File(raw, "w", **how) as file:
            yield file
        if raw.error is not None:
            raise raw.error


class Unreadable(OSError):
    """What the library cannot give of a file that is open; `opened` tells which."""


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does; h5py's own answer is no where a file is locked."""
    with path.open("rb") as file:
        for start in (0, *(512 << n for n in range(12))):  # after what another program may have put before it
            file.seek(start)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
    return False


def open_file(path: Path) -> h5py.File:
    """Open a file to read it, without a lock.

    Raises
    ------
    InputError
        If HDF5 is made to lock it and cannot, or another program writes it.
    Unreadable
        What else h5py cannot open.
    """
    try:
        with _library():
            return h5py.File(path, "r", locking=False)
    except Unreadable as error:
        number = getattr(error.__cause__, "errno", None)
        if "unable to lock file" in str(error):
            raise InputError(
                f"{path}: HDF5 cannot lock it ({os.strerror(number or errno.EAGAIN)}): another program writes it, "
                "or its file system knows no locks; unset HDF5_USE_FILE_LOCKING, without which we lock nothing to read"
            ) from error
        if "already open for write" in str(error):
            raise InputError(
                f"{path}: another program has it open for writing; close it there (if that was killed: h5clear -s)"
            ) from error
        raise


@contextmanager
def opened(path: Path, complaint: str, missing: str | None = None) -> Iterator[h5py.File]:
    """Read an HDF5 file; what the functions below find damaged ends the block; parameters and errors of `told`."""
    with told(path, complaint, missing), open_file(path) as file:
        yield file


@contextmanager
def told(path: Path, complaint: str, missing: str | None = None) -> Iterator[None]:
    """Around the functions of this module, with a file that is open or being opened.

    Parameters
    ----------
    complaint : of a damaged file, names it; the reason is added
    missing : what to say where there is no file

    Raises
    ------
    InputError
        One line: the complaint, or that it is missing, locked, being written, or refused by the system.
    """
    try:
        yield
    except Unreadable as error:
        reason, number = str(error), getattr(error.__cause__, "errno", None)
        if number == errno.EMFILE:  # no fault of this file
            raise OSError(number, os.strerror(number), str(path)) from None
        if number == errno.ENOENT:
            raise InputError(missing or f"{path}: no such file") from None
        if number:
            raise InputError(f"{path}: cannot be read ({os.strerror(number)})") from error.__cause__
        raise InputError(f"{complaint} ({reason})") from None


@contextmanager
def _library(*also: type[Exception]) -> Iterator[None]:
    """Around calls of h5py alone."""
    try:
        yield
    except OF_A_LIBRARY + also as error:
        raise Unreadable(first_line(error)) from error


def dataset_of(group: h5py.Group, name: str, with_sources: bool = True) -> h5py.Dataset:
    """A dataset inside, whose kind and shape can be read; `with_sources`: and all of whose values are somewhere."""
    found = _member(group, name)
    if not isinstance(found, h5py.Dataset):
        raise Unreadable(f"{name} is no dataset")
    with _library(TypeError):
        _ = found.shape, found.dtype, found.is_virtual
    with _library():
        if with_sources:
            check_sources(found)
    return found


def place_of(dataset: h5py.Dataset) -> tuple[int | None, int]:
    """Where in the file its values begin, and how many bytes they are; None if they are not in one piece."""
    with _library():
        return dataset.id.get_offset(), dataset.id.get_storage_size()


def group_of(group: h5py.Group, name: str) -> h5py.Group:
    """A group inside."""
    found = _member(group, name)
    if not isinstance(found, h5py.Group):
        raise Unreadable(f"{name} is no group")
    return found


def names_in(group: h5py.Group, name: str = ".") -> list[str]:
    """The names of what a group, or one inside, holds."""
    found = group if name == "." else group_of(group, name)
    with _library(LookupError, TypeError):
        return list(found)


def _member(group: h5py.Group, name: str) -> Any:
    with _library(LookupError, TypeError):
        if name not in group:
            raise Unreadable(f"{name} is missing")
        return group[name]


def values_of(dataset: h5py.Dataset, rows: Any = ()) -> npt.NDArray[Any]:
    """Numbers or texts of a dataset, all of them or some rows; any shape."""
    with _library(TypeError):
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        return np.asarray(dataset.asstr()[rows] if is_text else dataset[rows])


def attribute_of(owner: h5py.File | h5py.Group | h5py.Dataset, name: str) -> Any:
    """An attribute; `attributes_of` gives all."""
    with _library(LookupError, TypeError):
        if name not in owner.attrs:
            raise Unreadable(f"its attribute {name} is missing")
        return owner.attrs[name]


def attributes_of(owner: h5py.File | h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """All attributes by name."""
    with _library(LookupError, TypeError):
        return dict(owner.attrs)


def check_sources(dataset: h5py.Dataset) -> None:
    """Refuse a dataset with values that are in no file, which HDF5 reads as zeros or another fill value.

    They are those of a virtual dataset or of external storage whose files are gone or cut off, those that a virtual
    dataset takes from nowhere, and those that were never written.

    Raises
    ------
    InputError
        One line that names the dataset and the file that is gone.
    """
    name = f"{dataset.file.filename}: {dataset.name}"
    if dataset.is_virtual:  # also an empty one: without an end, it is as long as its sources that are there
        _check_virtual(name, dataset)
    elif dataset.external:
        _check_external(name, dataset)
    elif dataset.size and dataset.id.get_space_status() != h5py.h5d.SPACE_STATUS_ALLOCATED:
        raise InputError(f"{name} was not written to its end, and HDF5 would read zeros; make the file again")


def _check_virtual(name: str, dataset: h5py.Dataset) -> None:
    mapped, main = 0, Path(dataset.file.filename)
    prefix = os.environ.get("HDF5_VDS_PREFIX", "")
    for source in dataset.virtual_sources():
        try:
            mapped += source.vspace.get_select_npoints()
        except RuntimeError:  # without an end: as much as there is
            mapped = dataset.size
        if source.file_name == ".":
            _check_source(name, dataset.file, source)
            continue
        if re.search(r"%\d*b", source.file_name + source.dset_name):
            raise InputError(f"{name} takes values from numbered files, which may lack one; make it one file")
        path = _found(source.file_name.replace("%%", "%"), prefix, main)
        if path is None:
            raise InputError(f"{name} takes values from {source.file_name}, which is not there; put it back")
        try:
            file = open_file(path)
        except OSError as error:
            reason = first_line(error)
            raise InputError(f"{name} takes values from {path}, which is not readable HDF5 ({reason})") from None
        with file:
            _check_source(name, file, source)
    if mapped < dataset.size:
        raise InputError(f"{name} has {dataset.size - mapped} values of no file, where HDF5 would read zeros")


def _check_source(name: str, file: h5py.File, source: Any) -> None:
    found = file.get(source.dset_name)
    if not isinstance(found, h5py.Dataset) or not _reaches(found, source):
        raise InputError(
            f"{name} takes values from {file.filename}, which lacks {source.dset_name}; put back the right one"
        )
    check_sources(found)


def _reaches(found: h5py.Dataset, source: Any) -> bool:
    """Whether a dataset is as large as what is taken from it."""
    try:
        if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
            return bool(found.size >= source.vspace.get_select_npoints())
        last = source.src_space.get_select_bounds()[1]
    except RuntimeError:  # without an end
        return True
    return len(last) == found.ndim and all(n < size for n, size in zip(last, found.shape, strict=True))


def _check_external(name: str, dataset: h5py.Dataset) -> None:
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    folder = prefix.replace("${ORIGIN}", str(Path(dataset.file.filename).parent))
    left = dataset.nbytes
    for file_name, start, size in dataset.external:
        path, here = Path(folder, file_name), min(size, left)
        if not path.is_file() or path.stat().st_size < start + here:
            raise InputError(f"{name} takes values from {path}, which is not there or cut off; put it back")
        left -= here


def _found(name: str, prefix: str, main: Path) -> Path | None:
    """The file that HDF5 takes for a source of `main`: it looks in these places, in this order."""
    folders = [Path(prefix.replace("${ORIGIN}", str(main.parent)))] if prefix else []
    places = [
        folder / Path(name).name if name.startswith("/") else folder / name
        for folder in (*folders, main.parent, Path(), main.resolve().parent)
    ]
    candidates = [Path(name), *places] if name.startswith("/") else places
    return next((path for path in candidates if path.is_file()), None)


class _Uncomplaining(io.FileIO):
    """A file that keeps the first error of a write to itself."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left and self.error is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return size

    def readinto(self, buffer: Any) -> int:
        found = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        view[found:] = bytes(len(view) - found)  # what was never written
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def flush(self) -> None:
        """Nothing is held back."""
