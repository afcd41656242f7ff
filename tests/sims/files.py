"""Small snapshots and catalogues on disk, as GADGET and AHF write them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

EXAMPLE = Path(__file__).parents[2] / "examples" / "gadget4_L50"
COLUMNS = ["ID", "hostHalo", "Mvir", "Xc", "Yc", "Zc", "Rvir", "fMhires", "M_gas", "M_star", "R_500"]
HALO = dict(zip(COLUMNS, ["1", "0", "5e13", "100", "100", "100", "700", "1.0", "5e12", "5e11", "450"], strict=True))
GAS_BLOCKS = ("Coordinates", "Masses", "Density", "SmoothingLength", "InternalEnergy", "StarFormationRate")


def write_catalogue(path: Path, *halos: dict[str, str], columns: list[str] = COLUMNS) -> Path:
    """An AHF file; each halo is `HALO` with other values."""
    header = "#" + "\t".join(f"{name}({n})" for n, name in enumerate(columns, 1))
    rows = ["\t".join((HALO | {"Mhalo": "6e13", "cNFW": "4.0"} | halo)[name] for name in columns) for halo in halos]
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
