#!/usr/bin/env python3
"""How long a snapshot of 1e6 particles takes to read: all that maps need of it, in each format.

Baselines: pynbody and yt on the same file in the same run (`pip install pynbody yt`; either is left out where it is
missing). Each is read once to warm the disk cache; the best of `--repeats` counts. "equal" compares the gas: sorted
densities and internal energies in code units, to 1e-6.
"""

import argparse
import importlib
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.sims.snapshot import read_snapshot
from tests.sims.files import binary_blocks, write_binary

H, TO_CODE_DENSITY = 0.5, 0.5e-10  # of the file: z = 1, h = 0.5
FIELDS = ("Density", "InternalEnergy")
Result = list[npt.NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--particles", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    counts = (args.particles * 45 // 100, args.particles // 2, args.particles // 20)
    with tempfile.TemporaryDirectory() as name:
        for label, path in write_all(Path(name), counts).items():
            compare(label, path, args.repeats)


def write_all(folder: Path, counts: tuple[int, int, int]) -> dict[str, Path]:
    blocks = binary_blocks(*counts)
    return {
        "GADGET-2 format 2": write_binary(folder / "format2", counts, blocks, named=True),
        "GADGET-2 format 1": write_binary(folder / "format1", counts, blocks, named=False),
        "HDF5": write_hdf5(folder / "snap.hdf5", counts, blocks),
    }


def write_hdf5(path: Path, counts: tuple[int, int, int], blocks: dict[str, npt.NDArray[Any]]) -> Path:
    gas, dark, stars = counts
    numbers = [gas, dark, 0, 0, stars, 0]
    header: dict[str, Any] = {"NumPart_ThisFile": numbers, "NumPart_Total": numbers, "NumPart_Total_HighWord": [0] * 6}
    header |= {"MassTable": np.zeros(6), "Time": 0.5, "Redshift": 1.0, "NumFilesPerSnapshot": 1, "BoxSize": 1000.0}
    header |= {"Omega0": 0.3, "OmegaLambda": 0.7, "HubbleParam": H, "Flag_Sfr": 1, "Flag_Cooling": 1}
    header |= {"Flag_StellarAge": 0, "Flag_Metals": 1, "Flag_Feedback": 0, "Flag_DoublePrecision": 0}
    of_gas = {"InternalEnergy": "U   ", "Density": "RHO ", "ElectronAbundance": "NE  ", "SmoothingLength": "HSML"}
    of_gas |= {"StarFormationRate": "SFR ", "Metallicity": "Z   "}
    masses = np.append(blocks["MASS"], np.full(stars, 0.25, "f4"))
    with h5py.File(path, "w") as file:
        file.create_group("Header").attrs.update(header)
        for kind, rows in ((0, slice(0, gas)), (1, slice(gas, gas + dark)), (4, slice(gas + dark, None))):
            file[f"PartType{kind}/Coordinates"] = blocks["POS "][rows]
            file[f"PartType{kind}/Velocities"] = blocks["VEL "][rows]
            file[f"PartType{kind}/ParticleIDs"] = blocks["ID  "][rows]
            file[f"PartType{kind}/Masses"] = masses[rows]
        for name, block in of_gas.items():
            file[f"PartType0/{name}"] = blocks[block][:gas]
    return path


def compare(label: str, path: Path, repeats: int) -> None:
    seconds, result = best_of(repeats, ours, path)
    print(f"{label}: ours {seconds:.3f} s")
    for name, read in {"pynbody": with_pynbody, "yt": with_yt}.items():
        try:
            module = importlib.import_module(name)
            theirs, other = best_of(repeats, read, path, module)
        except Exception as error:  # a baseline that cannot read the file is a result, too
            print(f"  {name}: no figure ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")
            continue
        equal = all(np.allclose(np.sort(a), np.sort(b), rtol=1e-6) for a, b in zip(result, other, strict=True))
        print(f"  {name} {module.__version__}: {theirs:.3f} s, {theirs / seconds:.1f} times ours; equal: {equal}")


def best_of(repeats: int, read: Callable[..., Result], *args: Any) -> tuple[float, Result]:
    result, times = read(*args), []
    for _ in range(repeats):
        start = time.perf_counter()
        read(*args)
        times.append(time.perf_counter() - start)
    return min(times), result


def ours(path: Path) -> Result:
    gas = read_snapshot(path).gas
    return [np.asarray(gas.density * TO_CODE_DENSITY), np.asarray(gas.internal_energy)]


def with_pynbody(path: Path, pynbody: Any) -> Result:
    snapshot = pynbody.load(str(path))
    for family in (snapshot.gas, snapshot.dm, snapshot.star):
        family["pos"], family["mass"]
    hdf5 = path.suffix == ".hdf5"
    names = (
        ("ElectronAbundance", "smooth", "StarFormationRate", "metals") if hdf5 else ("nelec", "hsml", "sfr", "metals")
    )
    known = snapshot.gas.loadable_keys()
    if "rho" not in known:
        raise LookupError("it does not find the density, and would compute another")
    for name in names:
        if name in known:
            snapshot.gas[name]
    return [np.asarray(snapshot.gas["rho"], float), np.asarray(snapshot.gas["u"], float)]


def with_yt(path: Path, yt: Any) -> Result:
    yt.set_log_level(logging.ERROR)
    hdf5 = path.suffix == ".hdf5"
    length = {"length": (1.0, "kpccm/h"), "mass": (1e10, "Msun/h"), "velocity": (1, "km/s")}
    if hdf5:
        dataset = yt.load(str(path), unit_base=length)
    else:
        fields = ("Coordinates", "Velocities", "ParticleIDs", "Mass")
        gas = ("InternalEnergy", "Density", "ElectronAbundance", "NeutralHydrogenAbundance", "SmoothingLength")
        specification = [*fields, *((name, "Gas") for name in (*gas, "StarFormationRate")), ("Age", "Stars")]
        dataset = yt.load(
            str(path), unit_base=length, long_ids=True, field_spec=[*specification, ("Metallicity", ("Gas", "Stars"))]
        )
    data, kinds = dataset.all_data(), ("PartType0", "PartType1", "PartType4") if hdf5 else ("Gas", "Halo", "Stars")
    for kind in kinds:
        data[kind, "Coordinates"], data[kind, "Masses" if hdf5 else "Mass"]
    for name in ("ElectronAbundance", "SmoothingLength", "StarFormationRate", "Metallicity"):
        data[kinds[0], name]
    return [
        np.asarray(
            data[kinds[0], name].to_value("code_mass/code_length**3" if name == "Density" else "code_velocity**2")
        )
        for name in FIELDS
    ]


if __name__ == "__main__":
    main()
