"""One file of a snapshot in GADGET's HDF5 layout: GADGET-2/3/4, GIZMO, Arepo.

Blocks keep their code units; `snapshot.py` converts them. A metallicity of several columns, as GIZMO's eleven, has the
total in the first.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError

KINDS = 6  # of particles; some codes count fewer
OTHER_NAMES = {"Metallicity": ("GFM_Metallicity",), "SmoothingLength": ("KernelMaxRadius",)}


class Hdf5File:
    """A source of blocks: `header`, `counts`, `has`, `label` and `read`, as `BinaryFile` has them.

    Attributes
    ----------
    header : what Header and Parameters hold; GADGET-4 keeps the cosmology and the units under Parameters
    counts : particles of each type in this file
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = h5py.File(path, "r")
        try:
            self.header = self._read_header()
            self.counts = [int(n) for n in self.header["NumPart_ThisFile"]]
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> Mapping[str, Any]:
        if "Header" not in self._file:
            raise InputError(f"{self.path}: has no Header; expected a snapshot in GADGET's HDF5 layout")
        parameters = self._file["Parameters"].attrs if "Parameters" in self._file else {}
        header = {**parameters, **self._file["Header"].attrs}
        for name, number in (("NumPart_ThisFile", int), ("MassTable", float)):
            if name not in header:
                raise InputError(f"{self.path}: Header has no {name}")
            header[name] = np.resize([*np.asarray(header[name], number).reshape(-1), *[0] * KINDS], KINDS)
        return header

    def has(self, kind: int, name: str) -> bool:
        return self.label(kind, name) in self._file

    def label(self, kind: int, name: str) -> str:
        """What the file calls a block."""
        for other in OTHER_NAMES.get(name, ()):
            if f"PartType{kind}/{other}" in self._file:
                return f"PartType{kind}/{other}"
        return f"PartType{kind}/{name}"

    def read(self, kind: int, name: str, rows: slice) -> FloatArray:
        """Rows of a block, (n,) or for Coordinates (n, 3), in the file's precision."""
        label = self.label(kind, name)
        block = self._file.get(label)
        if not isinstance(block, h5py.Dataset):
            raise InputError(f"{self.path}: has no {label}")
        shape = (self.counts[kind], 3) if name == "Coordinates" else (self.counts[kind],)
        if name == "Metallicity" and block.ndim == 2 and len(block) == shape[0]:
            values: npt.NDArray[Any] = block[rows, 0]
        elif block.shape != shape:
            raise InputError(f"{self.path}: {label} is {block.shape}, but the Header counts {shape}")
        else:
            values = block[rows]
        return np.asarray(values)

    def close(self) -> None:
        self._file.close()
