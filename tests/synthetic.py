"""A small map file of made-up clusters: round blobs whose views are simple functions of the mass map."""

from pathlib import Path

import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.dataset.writing import write_map_file
from hpc_massmap.views import UNITS

NAMES = ["sz", "xray", "star", "mass"]


def cluster_maps(m200: float, r200: float, projections: int, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Maps of one cluster, each (projections, 80, 80): a core, a few clumps, and views that follow the mass."""
    y, x = (np.mgrid[:PIXELS, :PIXELS] - (PIXELS - 1) / 2) / (PIXELS / 2)
    mass = np.empty((projections, PIXELS, PIXELS))
    for p in range(projections):
        mass[p] = 1 / (0.05 + np.hypot(x, y)) ** 2
        for _ in range(3):
            a, b = rng.uniform(-0.7, 0.7, 2)
            mass[p] += rng.uniform(2, 20) * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.005)
    pixel_area = (r200 / 40) ** 2
    mass *= 1.2 * m200 / pixel_area / mass.sum(axis=(1, 2), keepdims=True)
    noise = rng.lognormal(0, 0.05, (3, projections, 1, 1))
    return {
        "mass": mass,
        "sz": noise[0] * mass * m200 ** (2 / 3) * 1e-24,
        "xray": noise[1] * mass**2 * 1e-14,
        "star": np.where(mass > np.median(mass), noise[2] * 0.02 * mass, 0.0),
    }


def write_synthetic_maps(
    path: Path, regions: int = 12, snapshots: int = 2, projections: int = 3, seed: int = 1, hard_xray: bool = False
) -> None:
    """A valid map file of `regions` x `snapshots` halos, if asked with a view that the suite does not know."""
    rng = np.random.default_rng(seed)
    n_halos = regions * snapshots
    m200 = 10 ** rng.uniform(13.5, 15.3, n_halos)
    r200 = 1000 * (m200 / 2e14) ** (1 / 3)
    halos = {
        "simulation": ["synthetic"] * n_halos,
        "region": [f"region_{n // snapshots:04d}" for n in range(n_halos)],
        "snapshot": [100 + n % snapshots for n in range(n_halos)],
        "redshift": np.zeros(n_halos),
        "halo_id": np.arange(n_halos),
        "m200": m200,
        "r200": r200,
        "r500": 0.65 * r200,
        "f_gas": np.full(n_halos, 0.12),
        "f_star": np.full(n_halos, 0.02),
    }
    rotations = np.broadcast_to(np.eye(3), (projections, 3, 3))
    stacks = (cluster_maps(m, r, projections, rng) for m, r in zip(m200, r200, strict=True))
    names, units = NAMES, dict(UNITS)
    if hard_xray:
        names, units["xray_hard"] = [*NAMES, "xray_hard"], UNITS["xray"]
        stacks = ({**maps, "xray_hard": 1e4 * maps["xray"] ** 1.1} for maps in stacks)
    attributes = {"h": 0.6777, "omega_m": 0.307, "fwhm": 0.015}
    write_map_file(path, names, halos, rotations, stacks, attributes, units=units)
