"""Small snapshots and catalogues on disk, as GADGET and AHF write them."""

from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.config import Selection
from hpc_massmap.sims.selection import Halo, Source, candidates

EXAMPLE = Path(__file__).parents[2] / "examples" / "gadget4_L50"
COLUMNS = ["ID", "hostHalo", "Mvir", "Xc", "Yc", "Zc", "Rvir", "fMhires", "M_gas", "M_star", "R_500"]
HALO = dict(zip(COLUMNS, ["1", "0", "5e13", "100", "100", "100", "700", "1.0", "5e12", "5e11", "450"], strict=True))
MORE = {"Mhalo": "6e13", "cNFW": "4.0", "ovdens": "199.9", "npart": "9999"}
GAS_BLOCKS = ("Coordinates", "Masses", "Density", "SmoothingLength", "InternalEnergy", "StarFormationRate")


def radius_of(m200: str, redshift: float) -> str:
    """R200 of a mass in Msun/h, comoving kpc/h, in the cosmology of `write_snapshot`; as a word."""
    density = 200 * 277.5366 * (0.3 * (1 + redshift) ** 3 + 0.7) / (1 + redshift) ** 3
    return f"{(float(m200) / (4 / 3 * np.pi * density)) ** (1 / 3):.6g}"


def fitting(redshift: float = 0.0, **halo: str) -> dict[str, str]:
    """A halo whose radii belong to its mass."""
    r200 = radius_of(halo.get("Mvir", HALO["Mvir"]), redshift)
    return {"Rvir": r200, "R_500": f"{0.64 * float(r200):.6g}"} | halo


def write_catalogue(path: Path, *halos: dict[str, str], columns: list[str] = COLUMNS) -> Path:
    """An AHF file; each halo is `HALO` with other values."""
    header = "#" + "\t".join(f"{name}({n})" for n, name in enumerate(columns, 1))
    rows = ["\t".join((HALO | MORE | halo)[name] for name in columns) for halo in halos]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_snapshot(path: Path, redshift: float = 0.0, particles: int = 5, **header: Any) -> Path:
    """A snapshot of gas and dark matter, the latter's mass in the header; everything is 1, 2, 3... in code units."""
    numbers = np.arange(1, particles + 1, dtype=np.float32)
    attributes = {
        "NumPart_ThisFile": [particles, particles, 0, 0, 0, 0],
        "MassTable": [0, 3.5, 0, 0, 0, 0],
        "Redshift": redshift,
        "Omega0": 0.3,
        "OmegaLambda": 0.7,
        "HubbleParam": 0.5,
        "NumFilesPerSnapshot": 1,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_group("Header").attrs.update(attributes | header)
        for name in GAS_BLOCKS:
            file[f"PartType0/{name}"] = numbers
        for kind in (0, 1):
            file.pop(f"PartType{kind}/Coordinates", None)
            file[f"PartType{kind}/Coordinates"] = np.outer(numbers, [1, 10, 100])
    return path


Blocks = dict[str, npt.NDArray[Any]]
HEADER_FIELDS = "6u4 6f8 f8 f8 i4 i4 6u4 i4 i4 f8 f8 f8 f8 i4 i4 6u4"


def binary_blocks(gas: int = 7, dark: int = 5, stars: int = 3, precision: str = "f4") -> Blocks:
    """Blocks in format 1's order, of random values; the stars' mass is in the header's table."""
    rng = np.random.default_rng(gas)
    everything = gas + dark + stars
    return {
        "POS ": rng.uniform(0, 1000, (everything, 3)).astype(precision),
        "VEL ": rng.normal(0, 100, (everything, 3)).astype(precision),
        "ID  ": np.arange(everything, dtype="u8"),
        "MASS": rng.uniform(1, 2, gas + dark).astype(precision),
        "U   ": rng.uniform(1, 2, gas).astype(precision),
        "RHO ": rng.uniform(1, 2, gas).astype(precision),
        "NE  ": rng.uniform(1, 1.2, gas).astype(precision),
        "NH  ": rng.uniform(0, 0.1, gas).astype(precision),
        "HSML": rng.uniform(1, 2, gas).astype(precision),
        "SFR ": rng.uniform(0, 2, gas).astype(precision),
        "AGE ": rng.uniform(0, 1, stars).astype(precision),
        "Z   ": rng.uniform(0, 0.1, gas + stars).astype(precision),
    }


def write_binary(
    path: Path,
    counts: tuple[int, int, int],
    blocks: Blocks,
    named: bool,
    order: str = "<",
    files: int = 1,
    total: tuple[int, int, int] | None = None,
) -> Path:
    """A GADGET-2 binary file of gas, dark matter and stars, z = 1, h = 0.5; stars weigh 0.25 by the table."""
    gas, dark, stars = counts
    all_gas, all_dark, all_stars = total or counts
    header = np.zeros((), [(f"f{i}", order + f[-2:], int(f[:-2] or 1)) for i, f in enumerate(HEADER_FIELDS.split())])
    values = [[gas, dark, 0, 0, stars, 0], [0, 0, 0, 0, 0.25, 0], 0.5, 1.0, 1, 1]
    values += [[all_gas, all_dark, 0, 0, all_stars, 0], 1, files, 1000.0, 0.3, 0.7, 0.5, 1, 1, [0] * 6]
    for name, value in zip(header.dtype.names or (), values, strict=True):
        header[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        contents: dict[str, Any] = {"HEAD": header.tobytes().ljust(256, b"\0"), **blocks}
        for name, data in contents.items():
            if not len(data):
                continue  # as GADGET does
            content = data if isinstance(data, bytes) else data.astype(data.dtype.newbyteorder(order)).tobytes()
            if named:
                next_block = np.array([len(content) + 8], order + "u4").tobytes()
                _write_record(file, name.encode() + next_block, order)
            _write_record(file, content, order)
    return path


def _write_record(file: BinaryIO, content: bytes, order: str) -> None:
    marker = np.array([len(content)], order + "u4").tobytes()
    file.write(marker + content + marker)


def all_candidates(sources: list[Source], cuts: Selection) -> list[Halo]:
    """Of all sources, one after the other; the job shares them between its ranks."""
    return [halo for source in sources for halo in candidates(source, cuts)]
