"""What Pylians and photutils say of one seeded map. The tests need neither: their numbers are in twins.json.

To make it again, with both installed: `python -m tests.metrics.twins`.
"""

import json
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hpc_massmap.apertures import RADII
from hpc_massmap.arrays import PIXELS, FloatArray

RECORD = Path(__file__).with_name("twins.json")
R200 = 1300.0  # kpc


def seeded_map() -> FloatArray:
    """A cusp with noise, (80, 80) float32. Uniform numbers alone: how others are drawn may change with numpy."""
    position = (np.arange(PIXELS) - (PIXELS - 1) / 2) / (PIXELS / 2)
    radius = np.hypot(position[:, None], position[None, :])
    noise = np.random.default_rng(16).random((PIXELS, PIXELS))
    return np.asarray(1e9 * (0.5 + noise) / (0.05 + radius) ** 2, np.float32)


def pylians_spectrum(pixels: FloatArray) -> dict[str, list[float]]:
    """Wave numbers (1/kpc), powers and numbers of modes of Pylians' `Pk_plane`, without mass-assignment window."""
    found = import_module("Pk_library").Pk_plane(np.asarray(pixels, np.float32), 2 * R200, "None", 1)
    return {"k": found.k.tolist(), "Pk": found.Pk.tolist(), "Nmodes": found.Nmodes.tolist()}


def photutils_masses(pixels: FloatArray) -> list[float]:
    """Sums in circles of the profiles' radii about the map's centre, times the area of a pixel (kpc^2)."""
    aperture = import_module("photutils.aperture")
    centre = [(PIXELS - 1) / 2] * 2
    circles = [aperture.CircularAperture(centre, radius * PIXELS / 2) for radius in RADII]
    table = aperture.aperture_photometry(pixels.astype(np.float64), circles, method="center")
    area = (R200 / (PIXELS / 2)) ** 2
    return [float(table[f"aperture_sum_{n}"][0]) * area for n in range(len(RADII))]


def main() -> None:
    pixels = seeded_map()
    record = {
        "versions": {package: version(package) for package in ("Pylians", "photutils", "numpy")},
        "pylians": pylians_spectrum(pixels),
        "photutils": photutils_masses(pixels),
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
