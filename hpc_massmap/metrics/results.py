"""metrics.h5: every number of an evaluation, one row a test map, so that no later step computes any again.

/maps/{row,halo,projection,m200,r200,redshift,simulation,region}    which map each row is about
/<target>/pixels/{whole,r500,half_r500}         percentiles and density of D over all maps, histograms of each
/<target>/profiles, /<target>/power, /<target>/mmd                  the fields of Profiles, Power and Mmd
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import OF_A_DAMAGED_FILE, InputError, first_line
from hpc_massmap.hdf5 import new_hdf5
from hpc_massmap.metrics.bootstrap import Resampling, resample
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import APERTURES, PixelStatistics
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles

UNITS = {"m200": "h^-1 Msun", "r200": "kpc", "radii": "R200", "wavelength": "R200"}
T = TypeVar("T", PixelStatistics, Profiles, Power, Mmd)


@dataclass(frozen=True)
class TargetMetrics:
    """The four metrics of one predicted quantity; `pixels` by aperture."""

    pixels: dict[str, PixelStatistics]
    profiles: Profiles
    power: Power
    mmd: Mmd


@dataclass(frozen=True)
class Metrics:
    """An evaluation.

    Attributes
    ----------
    name : of the run
    mass_intervals : edges in log10 M200/(Msun/h)
    maps : row, halo, projection, m200 (Msun/h), r200 (kpc), redshift, simulation, region -> (n,)
    targets : predicted quantity -> its metrics
    """

    name: str
    maps_digest: str
    mass_intervals: list[float]
    maps: dict[str, npt.NDArray[Any]]
    targets: dict[str, TargetMetrics]

    def __len__(self) -> int:
        return len(self.maps["row"])

    @cached_property
    def draws(self) -> Resampling:
        """The draws of the bootstrap over the regions of all test maps; those of some maps are its `of`."""
        return resample(self.maps["region"])

    @property
    def n_regions(self) -> int:
        """How many regions there are to draw from."""
        return int(self.draws.weights.shape[1])

    @property
    def log_m200(self) -> FloatArray:
        """log10 M200/(Msun/h) of every test map: (n,)."""
        return np.asarray(np.log10(self.maps["m200"]))


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write metrics.h5, whole or not at all."""
    with new_hdf5(path) as file:
        file.attrs["name"] = metrics.name
        file.attrs["maps_digest"] = metrics.maps_digest
        file.attrs["mass_intervals"] = metrics.mass_intervals
        file.attrs["targets"] = list(metrics.targets)
        _write_fields(file.create_group("maps"), metrics.maps)
        for target, result in metrics.targets.items():
            for name, statistics in result.pixels.items():
                _write_fields(file.create_group(f"{target}/pixels/{name}"), asdict(statistics))
            for name in ("profiles", "power", "mmd"):
                _write_fields(file.create_group(f"{target}/{name}"), asdict(getattr(result, name)))


def read_metrics(path: Path) -> Metrics:
    """Read metrics.h5.

    Raises
    ------
    InputError
        If it is missing, truncated or not such a file.
    """
    try:
        with h5py.File(path, "r") as file:
            targets = {str(name): _read_target(file[name]) for name in file.attrs["targets"]}
            return Metrics(
                name=str(file.attrs["name"]),
                maps_digest=str(file.attrs["maps_digest"]),
                mass_intervals=[float(edge) for edge in file.attrs["mass_intervals"]],
                maps=_read_fields(file["maps"]),
                targets=targets,
            )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run jobs/evaluate.py first") from None
    except OF_A_DAMAGED_FILE as error:
        reason = first_line(error)
        raise InputError(f"{path}: not a readable file of metrics ({reason}); run jobs/evaluate.py again") from None


def _read_target(group: h5py.Group) -> TargetMetrics:
    pixels = {name: _read(PixelStatistics, group["pixels"][name]) for name in APERTURES}
    profiles, power, mmd = _read(Profiles, group["profiles"]), _read(Power, group["power"]), _read(Mmd, group["mmd"])
    return TargetMetrics(pixels, profiles, power, mmd)


def _read(kind: type[T], group: h5py.Group) -> T:
    return kind(**_read_fields(group))


def _write_fields(group: h5py.Group, fields: dict[str, Any]) -> None:
    """Arrays become datasets, single values attributes."""
    for name, value in fields.items():
        if not isinstance(value, np.ndarray):
            group.attrs[name] = value
            continue
        is_text = value.dtype.kind in "OU"
        dataset = group.create_dataset(name, data=value.astype(object) if is_text else value, dtype=_dtype(value))
        if name in UNITS:
            dataset.attrs["unit"] = UNITS[name]


def _dtype(value: npt.NDArray[Any]) -> Any:
    return h5py.string_dtype() if value.dtype.kind in "OU" else value.dtype


def _read_fields(group: h5py.Group) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: value if isinstance(value, str) else value.item() for name, value in group.attrs.items()
    }
    for name, dataset in group.items():
        fields[name] = dataset.asstr()[:] if h5py.check_string_dtype(dataset.dtype) else dataset[:]
    return fields
