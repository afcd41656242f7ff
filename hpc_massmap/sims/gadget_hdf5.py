"""One file of a snapshot in GADGET's HDF5 layout: GADGET-2/3/4, GIZMO, Arepo.

Blocks keep their code units; `snapshot.py` converts them. A metallicity of several columns, as GIZMO's eleven, has the
total in the first and helium in the second; Arepo has helium in the second of GFM_Metals.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.hdf5 import Unreadable, attributes_of, check_sources, dataset_of, group_of, names_in, open_file, told
from hpc_massmap.sims.particles import GAS

KINDS = 6  # of particles; some codes count fewer
MOST = 2.0**53  # particles, which a double counts exactly
KNOWN = {  # of gas: what is read, and what is of no concern
    *("Coordinates", "Masses", "Density", "InternalEnergy", "ElectronAbundance", "StarFormationRate", "DelayTime"),
    *(
        "Metallicity",
        "GFM_Metallicity",
        "GFM_Metals",
        "SmoothingLength",
        "KernelMaxRadius",
        "Velocities",
        "ParticleIDs",
    ),
    *("ParticleChildIDsNumber", "ParticleIDGenerationNumber", "NeutralHydrogenAbundance", "Potential", "Acceleration"),
}
OTHER_NAMES = {
    "Metallicity": ("GFM_Metallicity",),
    "SmoothingLength": ("KernelMaxRadius",),
    "HeliumFraction": ("GFM_Metals", "Metallicity"),
}
COLUMN = {"Metallicity": 0, "HeliumFraction": 1}  # of several


class Hdf5File:
    """A source of blocks: `header`, `counts`, `has`, `label` and `read`, as `BinaryFile` has them.

    Attributes
    ----------
    header : what Header and Parameters hold; GADGET-4 keeps the cosmology and the units under Parameters
    counts : particles of each type in this file
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blocks: dict[int, list[str]] = {}
        self._sound = set[str]()  # blocks whose values are somewhere
        with told(path, f"{path}: not a readable HDF5 snapshot, or truncated"):
            self._file = open_file(path)
            try:
                self.header = self._read_header()
                self.counts = self._counted()
            except BaseException:
                self.close()
                raise

    def _read_header(self) -> Mapping[str, Any]:
        groups = names_in(self._file)
        if "Header" not in groups:
            raise InputError(f"{self.path}: has no Header; expected a snapshot in GADGET's HDF5 layout")
        parameters = attributes_of(group_of(self._file, "Parameters")) if "Parameters" in groups else {}
        header = {**parameters, **attributes_of(group_of(self._file, "Header"))}
        if "Cosmology" in groups and "HubbleParam" not in header:
            raise InputError(
                f"{self.path}: is in SWIFT's layout (it has a group Cosmology), whose lengths and masses have no h; "
                "write it in GADGET's: kpc/h and 1e10 Msun/h, with GADGET's names of datasets and attributes"
            )
        if "NumPart_ThisFile" not in header:
            raise InputError(f"{self.path}: Header has no NumPart_ThisFile")
        header.setdefault("MassTable", [])  # then every type needs its Masses
        for name in ("NumPart_ThisFile", "MassTable"):
            try:
                values = np.asarray(header[name], np.float64).reshape(-1)
            except (TypeError, ValueError):
                raise Unreadable(f"{name} in the Header has no numbers") from None
            header[name] = np.resize([*values, *[0] * KINDS], KINDS)
        return header

    def _counted(self) -> list[int]:
        """Particles of each type by the Header, none of which are nowhere else."""
        counts = self.header["NumPart_ThisFile"]
        if not np.all((counts >= 0) & (counts < MOST) & (counts == np.floor(counts))):
            raise InputError(f"{self.path}: NumPart_ThisFile = {counts.tolist()} in the Header; is it damaged?")
        for kind in np.flatnonzero(counts == 0).tolist():
            label = f"PartType{kind}/Coordinates"
            if "Coordinates" in self._names(kind) and (there := dataset_of(self._file, label, False)).size:
                raise InputError(f"{self.path}: {label} is {there.shape}, but the Header counts none")
        return [int(n) for n in counts]

    def _names(self, kind: int) -> list[str]:
        """What is there of a type, also links that lead nowhere."""
        if kind not in self._blocks:
            with told(self.path, f"{self.path}: PartType{kind} cannot be read; is it truncated?"):
                there = f"PartType{kind}" in names_in(self._file)
                self._blocks[kind] = names_in(self._file, f"PartType{kind}") if there else []
        return self._blocks[kind]

    def has(self, kind: int, name: str) -> bool:
        """Whether a block is there, also if it is a link that leads nowhere, which `read` refuses."""
        label = self._name(kind, name)
        if name == "HeliumFraction" and label in self._names(kind):
            with in_one_line(f"{self.path}: {label} cannot be read; is it truncated?", LookupError, TypeError):
                block = self._file.get(f"PartType{kind}/{label}")
                return isinstance(block, h5py.Dataset) and block.ndim == 2 and block.shape[1] > COLUMN[name]
        return label in self._names(kind)

    def others(self) -> list[str]:
        """Blocks of gas that are not understood."""
        return sorted(set(self._names(GAS)) - KNOWN)

    def label(self, kind: int, name: str) -> str:
        """What the file calls a block."""
        return f"PartType{kind}/{self._name(kind, name)}"

    def _name(self, kind: int, name: str) -> str:
        return next((other for other in OTHER_NAMES.get(name, ()) if other in self._names(kind)), name)

    def read(self, kind: int, name: str, rows: slice) -> FloatArray:
        """Rows of a block, (n,) or for Coordinates (n, 3), in the file's precision."""
        label = self.label(kind, name)
        if not self.has(kind, name):
            raise InputError(f"{self.path}: has no {label}")
        with in_one_line(f"{self.path}: {label} cannot be read; is it truncated?", LookupError, TypeError):
            block = self._file.get(label)
            numeric = isinstance(block, h5py.Dataset) and block.dtype.kind in "iuf"
            if isinstance(block, h5py.Dataset) and label not in self._sound:
                check_sources(block)
                self._sound.add(label)
        if block is None:
            raise InputError(f"{self.path}: {label} is a link that leads nowhere; put back the file that it names")
        if not isinstance(block, h5py.Dataset):
            raise InputError(f"{self.path}: has no {label}")
        if not numeric:
            raise InputError(f"{self.path}: {label} has no numbers; is it damaged?")
        shape = (self.counts[kind], 3) if name == "Coordinates" else (self.counts[kind],)
        of_several = name in COLUMN and block.ndim == 2 and len(block) == shape[0]
        if not of_several and block.shape != shape:
            raise InputError(f"{self.path}: {label} is {block.shape}, but the Header counts {shape}")
        with in_one_line(f"{self.path}: {label} cannot be read; is it truncated?"):
            return np.asarray(block[rows, COLUMN[name]] if of_several else block[rows])

    def close(self) -> None:
        self._file.close()
