"""HDF5 files that are either whole or not there, also on a disk that is full.

The HDF5 library brings the whole process down when a write fails, so it is not told: what the disk does not take is
thrown away, and so is the file in the end, with the error that the disk gave first.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from hpc_massmap.storage import replacing


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
