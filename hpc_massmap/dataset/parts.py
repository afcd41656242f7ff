"""Part files: the finished maps of one region at one time, each whole or not there.

One a region and not one a rank: what a part holds then depends on nothing but its halos and the settings, so that any
number of ranks makes the same files, and a job that was killed has lost the regions it was in and no other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.dataset.global_heaps import has_sound_heaps
from hpc_massmap.dataset.mapfile import halo_digest
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import attribute_of, dataset_of, new_hdf5, opened, values_of


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
    if not path.is_file():
        return None
    try:
        with opened(path, f"{path}: not a readable part") as file:
            if not has_sound_heaps(path, file) or attribute_of(file, "key") != key:
                return None
            return [str(digest) for digest in values_of(dataset_of(file, "digests")).tolist()]
    except InputError:
        return None
