"""The collaboration's finished map files: what they hold and what must be known beside it, checked before any pixel.

A file holds `SZ`, `Xray`, `star`, `total_mass` and perhaps `gas`, each (halos, views, N, N), and one value a halo of
`M_200` (log10, Msun/h), `R_200` (comoving kpc/h, as AHF's), `region`, `hid` and perhaps `R_500`, without which R500 is
that of an NFW halo of the usual concentration.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.cosmology.units as cu
import astropy.units as u
import h5py
import numpy as np
import numpy.typing as npt
from astropy.cosmology import FlatLambdaCDM

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import dataset_of, names_in, opened, values_of
from hpc_massmap.sims.catalogue import USUAL_CONCENTRATION, r500_over_r200
from hpc_massmap.views import UNITS

DATASETS = {"sz": "SZ", "xray": "Xray", "star": "star", "mass": "total_mass"}
GAS = "gas"
LOG_M200 = (10.0, 17.0)  # what a log10 of a halo's mass can be
DENSITY_ERROR = 0.1  # of 200 times the critical density inside R200
MOST_OF_A_FLOAT = 2.0**53
FIRST_LONG_ID = 10**14  # AHF's ids of 15 digits begin with the three of the snapshot


@dataclass(frozen=True)
class Assumed:
    """What the files do not say.

    Attributes
    ----------
    redshifts : snapshot -> redshift; under None that of all others
    snapshot : of all halos; None to take it from their ids
    xray_unit, density_unit : as astropy reads them; `littleh` is h
    """

    h: float
    omega_m: float
    redshifts: dict[int | None, float]
    snapshot: int | None = None
    xray_unit: str = "erg / (s kpc2)"
    density_unit: str = "Msun / (littleh kpc2)"


@dataclass(frozen=True)
class Source:
    """One file of the collaboration's, checked but for its pixels.

    Attributes
    ----------
    halos : column -> (n,), as `mapfile.HALO_COLUMNS` without the fractions
    views, pixels : maps a halo, and along a side
    has_gas : whether it holds `gas`
    """

    path: Path
    halos: dict[str, npt.NDArray[Any]]
    views: int
    pixels: int
    has_gas: bool

    def __len__(self) -> int:
        return len(self.halos["m200"])


def redshifts_of(given: list[tuple[int | None, float]]) -> dict[int | None, float]:
    """What `Assumed` takes, of pairs of a snapshot, or None for all others, and its redshift.

    Raises
    ------
    InputError
        If one is given twice or is negative.
    """
    redshifts: dict[int | None, float] = {}
    for snapshot, redshift in given:
        which = "all halos" if snapshot is None else f"snapshot {snapshot}"
        if not redshift >= 0:
            raise InputError(f"--redshift: {redshift:g} of {which} is negative")
        if snapshot in redshifts:
            raise InputError(f"--redshift: {which} cannot have both {redshifts[snapshot]:g} and {redshift:g}")
        redshifts[snapshot] = redshift
    return redshifts


def read_sources(paths: list[Path], simulations: list[str], assumed: Assumed) -> list[Source]:
    """Check the files of one import, without their pixels.

    Raises
    ------
    InputError
        One line: which file lacks what, or which value of which halo cannot be.
    """
    if len(paths) != len(simulations):
        raise InputError(f"--simulation: {len(simulations)} names for {len(paths)} files; give one a file, in order")
    for name, value in (("--h", assumed.h), ("--omega-m", assumed.omega_m)):
        if not 0 < value < 1.5:
            raise InputError(f"{name} {value:g}: must be between 0 and 1.5")
    factors_of(assumed)
    sources = [_read_source(path, name, assumed) for path, name in zip(paths, simulations, strict=True)]
    for source in sources[1:]:
        if source.views != sources[0].views:
            raise InputError(
                f"{source.path}: {source.views} projections a halo, but {sources[0].path} has {sources[0].views}; "
                "import them apart"
            )
    _check_twins(sources)
    return sources


def factors_of(assumed: Assumed) -> dict[str, float]:
    """Factors that take the pixels of each dataset to the units of `UNITS`."""
    density = _factor("--density-unit", assumed.density_unit, "Msun / (littleh kpc2)", assumed.h)
    xray = _factor("--xray-unit", assumed.xray_unit, UNITS["xray"], assumed.h)
    return {"sz": 1.0, "xray": xray, "star": density, "mass": density, GAS: density}


def _factor(option: str, unit: str, ours: str, h: float) -> float:
    try:
        with u.add_enabled_units(cu):
            hubble = cu.with_H0(100 * h * u.km / u.s / u.Mpc)
            return float(u.Unit(unit).to(u.Unit(ours), equivalencies=hubble))
    except (ValueError, TypeError, u.UnitsError):
        raise InputError(f"{option} {unit!r}: not a unit like {ours!r}, as astropy writes them") from None


def _read_source(path: Path, simulation: str, assumed: Assumed) -> Source:
    with opened(path, not_readable(path)) as file:
        names = [*DATASETS.values(), *([GAS] if GAS in names_in(file) else [])]
        shape = _common_shape(path, [_dataset(path, file, name) for name in names])
        halos = _table(path, file, shape[0], assumed)
    halos["simulation"] = np.full(len(halos["m200"]), simulation, dtype=object)
    return Source(path, halos, shape[1], shape[2], GAS in names)


def not_readable(path: Path) -> str:
    """What to say of a damaged file."""
    return f"{path}: not readable as HDF5; is it truncated?"


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    names = names_in(file)
    if name not in names:
        raise InputError(f"{path}: has no dataset {name}; it holds {', '.join(sorted(names)) or 'nothing'}")
    return dataset_of(file, name)


def _common_shape(path: Path, maps: list[h5py.Dataset]) -> tuple[int, int, int]:
    for dataset in maps:
        shape, name = dataset.shape, dataset.name.lstrip("/")
        if len(shape) != 4 or 0 in shape or shape[2] != shape[3] or dataset.dtype.kind not in "fiu":
            raise InputError(f"{path}: {name} is {dataset.dtype} {shape}, not numbers of shape (halos, views, N, N)")
        if shape != maps[0].shape:
            raise InputError(f"{path}: {name} has the shape {shape}, but {maps[0].name.lstrip('/')} {maps[0].shape}")
    halos, views, pixels, _ = maps[0].shape
    if pixels % PIXELS:
        raise InputError(f"{path}: its maps have {pixels} pixels along a side, not a multiple of {PIXELS}")
    return halos, views, pixels


def _table(path: Path, file: h5py.File, n_halos: int, assumed: Assumed) -> dict[str, npt.NDArray[Any]]:
    log_m200, r200 = (_numbers(path, file, name, n_halos) for name in ("M_200", "R_200"))
    low, high = LOG_M200
    for halo in np.flatnonzero(~((log_m200 > low) & (log_m200 < high)))[:1]:
        raise InputError(f"{path}: M_200 of halo {halo} is {log_m200[halo]:g}, which is no log10 of a mass in Msun/h")
    halo_id = _ids(path, file, n_halos)
    snapshot = _snapshots(path, halo_id, assumed.snapshot)
    redshift = np.array([_redshift(path, int(number), assumed.redshifts) for number in snapshot])
    m200, to_kpc = 10**log_m200, 1 / (assumed.h * (1 + redshift))
    _check_density(path, m200, r200, redshift, assumed)
    if "R_500" in names_in(file):
        r500 = _numbers(path, file, "R_500", n_halos)
        _refuse(path, "R_500", r500, r500 == 0)
    else:
        r500 = r200 * r500_over_r200(np.array([USUAL_CONCENTRATION]))
    return {
        "region": _regions(path, _column(path, file, "region", n_halos)),
        "snapshot": snapshot,
        "redshift": redshift,
        "halo_id": halo_id,
        "m200": m200,
        "r200": r200 * to_kpc,
        "r500": r500 * to_kpc,
    }


def _column(path: Path, file: h5py.File, name: str, n_halos: int) -> npt.NDArray[Any]:
    dataset = _dataset(path, file, name)
    if dataset.shape != (n_halos,):
        raise InputError(f"{path}: {name} has the shape {dataset.shape}, but the maps are of {n_halos} halos")
    return values_of(dataset)


def _numbers(path: Path, file: h5py.File, name: str, n_halos: int) -> npt.NDArray[Any]:
    values = _column(path, file, name, n_halos)
    if values.dtype.kind not in "fiu":
        raise InputError(f"{path}: {name} is {values.dtype}, not numbers")
    _refuse(path, name, values, ~(np.isfinite(values) & (values >= 0)))
    return values


def _refuse(path: Path, name: str, values: npt.NDArray[Any], wrong: npt.NDArray[np.bool_]) -> None:
    for halo in np.flatnonzero(wrong)[:1]:
        raise InputError(f"{path}: {name} of halo {halo} is {values[halo]}")


def _regions(path: Path, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The names of their folders; the same in all simulations, so that the split keeps counterparts together."""
    if values.dtype.kind == "f":
        _refuse(path, "region", values, ~(np.isfinite(values) & (np.floor(values) == values)))
        values = values.astype(np.int64)
    plain = [str(value) for value in values]
    return np.array([f"NewMDCLUSTER_{int(name):04d}" if name.isdecimal() else name for name in plain], dtype=object)


def _ids(path: Path, file: h5py.File, n_halos: int) -> npt.NDArray[np.uint64]:
    """As integers of 64 bits, which AHF's need; a float has them to 2^53."""
    ids = _numbers(path, file, "hid", n_halos)
    if ids.dtype.kind == "f":
        _refuse(path, "hid", ids, ids != np.floor(ids))
        for halo in np.flatnonzero(ids > MOST_OF_A_FLOAT)[:1]:
            raise InputError(
                f"{path}: hid of halo {halo} is {ids[halo]:.17g} as {ids.dtype}, which loses its last digits"
            )
    return ids.astype(np.uint64)


def _check_twins(sources: list[Source]) -> None:
    seen: dict[tuple[Any, ...], str] = {}
    for source in sources:
        names = (source.halos[column].tolist() for column in ("simulation", "region", "snapshot", "halo_id"))
        for halo, name in enumerate(zip(*names, strict=True)):
            here = f"halo {halo} of {source.path}"
            if name in seen:
                simulation, region, snapshot, hid = name
                raise InputError(
                    f"{source.path}: halo {halo} is hid {hid} of {region}, snapshot {snapshot} of {simulation}, as "
                    f"{seen[name]}; leave one"
                )
            seen[name] = here


def _snapshots(path: Path, halo_id: npt.NDArray[np.uint64], given: int | None) -> npt.NDArray[np.int64]:
    if given is not None:
        return np.full(len(halo_id), given)
    for halo in np.flatnonzero(halo_id < FIRST_LONG_ID)[:1]:
        raise InputError(f"{path}: hid of halo {halo} is {halo_id[halo]}, which names no snapshot; give --snapshot")
    return (halo_id // np.uint64(FIRST_LONG_ID // 100)).astype(np.int64)


def _redshift(path: Path, snapshot: int, redshifts: dict[int | None, float]) -> float:
    if snapshot in redshifts:
        return redshifts[snapshot]
    if None not in redshifts:
        raise InputError(f"{path}: has halos of snapshot {snapshot}; give its redshift, --redshift {snapshot}:Z")
    return redshifts[None]


def _check_density(path: Path, m200: FloatArray, r200: FloatArray, redshift: FloatArray, assumed: Assumed) -> None:
    """M200, R200, redshift, Omega_m and their units fit together where the mean density is 200 times critical."""
    critical = FlatLambdaCDM(100 * assumed.h, assumed.omega_m).critical_density(redshift).to_value(u.Msun / u.kpc**3)
    radius = r200 / (assumed.h * (1 + redshift))
    mass = 4 / 3 * np.pi * 200 * critical * radius**3 * assumed.h
    for halo in np.flatnonzero(~(np.abs(mass / m200 - 1) <= DENSITY_ERROR))[:1]:
        raise InputError(
            f"{path}: halo {halo}: R_200 = {r200[halo]:g} comoving kpc/h at z = {redshift[halo]:g} goes with log10 "
            f"M200 = {np.log10(mass[halo]):.2f}, not {np.log10(m200[halo]):.2f}; check units, --redshift and --omega-m"
        )
