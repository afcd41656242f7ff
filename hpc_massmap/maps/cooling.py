"""Tables of the cooling function Lambda(T, Z), which massmap cooling_table makes.

Lambda is the emissivity over n_e n_H, in erg cm^3/s, of all photons or of a band. log10 Lambda is interpolated
linearly in log10 T and in the metallicity in solar units. Beyond the table's edges the value at the edge holds.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from scipy.interpolate import RegularGridInterpolator

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import attribute_of, attributes_of, dataset_of, new_hdf5, opened, values_of

FORMAT = "hpc_massmap cooling table, version 1"
UNIT = "erg cm^3 / s"
DATASETS = ("log_temperature", "metallicity", "cooling")
ATTRIBUTES = ("abundances", "solar_metallicity", "provenance")


@dataclass(frozen=True)
class CoolingTable:
    """The cooling function on a grid.

    Attributes
    ----------
    log_temperature : (t,), log10 K, increasing
    metallicity : (z,), in solar units, increasing
    cooling : (t, z), erg cm^3/s: emissivity over n_e n_H
    abundances : name of the solar abundances
    solar_metallicity : the mass fraction of what is heavier than helium that these give the Sun
    provenance : program, versions and options that made it
    """

    log_temperature: FloatArray
    metallicity: FloatArray
    cooling: FloatArray
    abundances: str
    solar_metallicity: float
    provenance: str

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers."""
        numbers = self.log_temperature, self.metallicity, self.cooling, np.array(self.solar_metallicity)
        return hashlib.sha256(b"".join(values.tobytes() for values in numbers)).hexdigest()

    def __call__(self, temperature: FloatArray, metallicity: FloatArray) -> FloatArray:
        """Lambda in erg cm^3/s, (n,), at temperatures in K and metallicities in solar units, clamped to the table."""
        axes = self.log_temperature, self.metallicity
        points = np.log10(temperature), np.asarray(metallicity)
        inside = [np.clip(point, axis[0], axis[-1]) for point, axis in zip(points, axes, strict=True)]
        return np.asarray(10 ** RegularGridInterpolator(axes, np.log10(self.cooling))(np.column_stack(inside)))


def write_cooling_table(path: Path, table: CoolingTable) -> None:
    """Write the HDF5 file, whole or not at all."""
    with new_hdf5(path) as file:
        for name in DATASETS:
            file[name] = getattr(table, name)
        file["cooling"].attrs["unit"] = UNIT
        file.attrs["format"] = FORMAT
        for name in ATTRIBUTES:
            file.attrs[name] = getattr(table, name)


def read_cooling_table(path: Path) -> CoolingTable:
    """Read and check a table.

    Raises
    ------
    InputError
        If the file is missing, damaged or none of ours.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such cooling table; make one with massmap cooling_table")
    with opened(path, f"{path}: damaged cooling table; make it again with massmap cooling_table") as file:
        said = attributes_of(file)
        if said.get("format") != FORMAT or attributes_of(dataset_of(file, "cooling")).get("unit") != UNIT:
            raise InputError(f"{path}: not a {FORMAT!r}; make one with massmap cooling_table")
        log_temperature, metallicity, cooling = (_numbers(path, dataset_of(file, name)) for name in DATASETS)
        abundances, solar, provenance = (attribute_of(file, name) for name in ATTRIBUTES)
    if not isinstance(solar, float):
        raise InputError(f"{path}: solar_metallicity is no number; make the table again with massmap cooling_table")
    table = CoolingTable(log_temperature, metallicity, cooling, str(abundances), float(solar), str(provenance))
    fault = _fault(table)
    if fault:
        raise InputError(f"{path}: {fault}; make the table again with massmap cooling_table")
    return table


def read_cooling_tables(config: Maps) -> dict[str, CoolingTable]:
    """The tables that a config names, by the map they are for; raises what `read_cooling_table` does."""
    paths = {"xray": config.cooling_table} | {name: band.cooling_table for name, band in config.bands.items()}
    return {name: read_cooling_table(path) for name, path in paths.items() if path}


def _numbers(path: Path, dataset: h5py.Dataset) -> FloatArray:
    if dataset.dtype.kind not in "fiu":
        raise InputError(f"{path}: {dataset.name} is {dataset.dtype}, not numbers")
    return values_of(dataset).astype(float)


def _fault(table: CoolingTable) -> str | None:
    for name in ("log_temperature", "metallicity"):
        axis = getattr(table, name)
        if axis.ndim != 1 or len(axis) < 2 or not np.all(np.isfinite(axis)) or np.any(np.diff(axis) <= 0):
            return f"{name} is not an increasing sequence of two values or more"
    shape = len(table.log_temperature), len(table.metallicity)
    if table.cooling.shape != shape:
        return f"cooling has the shape {table.cooling.shape}, its axes {shape}"
    if not np.all(np.isfinite(table.cooling) & (table.cooling > 0)):
        return "cooling is not positive everywhere"
    if not 0 < table.solar_metallicity < 1:
        return f"solar_metallicity = {table.solar_metallicity} is not a mass fraction"
    return None
