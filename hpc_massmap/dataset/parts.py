"""Part files: the finished maps of one region at one time, each whole or not there.

One a region and not one a rank: what a part holds then depends on nothing but its halos and the settings, so that any
number of ranks makes the same files, and a job that was killed has lost the regions it was in and no other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.dataset.global_heaps import has_sound_heaps
from hpc_massmap.dataset.mapfile import halo_digest
from hpc_massmap.errors import OF_A_DAMAGED_FILE
from hpc_massmap.hdf5 import new_hdf5


def parts_folder(path: Path) -> Path:
    """Where the parts of a map file are."""
    return path.with_name(f"{path.name}.parts")


def write_part(path: Path, key: str, stacks: Sequence[Mapping[str, FloatArray]]) -> None:
    """Write the maps of some halos.

    Parameters
    ----------
    key : of all that they depend on
    stacks : for each halo, name -> (p, 80, 80)
    """
    pixels = [{name: np.asarray(maps, np.float32) for name, maps in stack.items()} for stack in stacks]
    with new_hdf5(path) as file:
        for name in pixels[0]:
            file[f"maps/{name}"] = np.concatenate([stack[name] for stack in pixels])
        file.create_dataset("digests", data=[halo_digest(stack) for stack in pixels], dtype=h5py.string_dtype())
        file.attrs["key"] = key


def digests_of_part(path: Path, key: str) -> list[str] | None:
    """The digests of its halos, (n,); None if the part is missing, cannot be read, or is not the one of this key."""
    try:
        with h5py.File(path, "r") as file:
            if not has_sound_heaps(path, file):
                return None
            found: Any = file["digests"].asstr()[:].tolist()
            return list(found) if file.attrs["key"] == key else None
    except OF_A_DAMAGED_FILE:
        return None
