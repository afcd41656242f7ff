"""Candidates of a made-up universe: the halos of many regions, seen at several times by two codes."""

from pathlib import Path

import numpy as np

from hpc_massmap.config import Simulation
from hpc_massmap.sims.selection import Halo, Source

REDSHIFTS = {128: 0.0, 127: 0.022, 126: 0.045, 125: 0.069, 124: 0.093, 123: 0.117}
GADGET = Simulation(name="GADGET-X", folder=Path("g"), snapshots=list(REDSHIFTS)[::-1])
SIMBA = Simulation(name="GIZMO-SIMBA", folder=Path("s"), snapshots=list(REDSHIFTS)[::-1])


def halo(
    log_m200: float,
    region: str = "r1",
    snapshot: int = 128,
    halo_id: int = 1,
    x: float = 0.0,
    simulation: str = "GADGET-X",
) -> Halo:
    """A halo at comoving (x, 0, 0) kpc with an R200 of 1000 kpc."""
    z, path = REDSHIFTS[snapshot], Path(simulation) / region
    source = Source(simulation, region, snapshot, path / "snap", path / "halos")
    centre = np.array([x, 0.0, 0.0]) / (1 + z)
    return Halo(source, z, halo_id, centre, 10**log_m200, 1000.0, 650.0, 0.12, 0.02, 0.7, 0.3)


def universe(regions: int, seed: int = 1) -> list[Halo]:
    """Clusters of The300's kind: far more groups than massive clusters, one massive one in each region.

    An object grows by 2 % from one snapshot to the next and drifts; in the second code it is some per cent lighter or
    heavier and a little elsewhere.
    """
    return [found for n in range(regions) for found in region_of(f"region_{n:04d}", np.random.default_rng([seed, n]))]


def region_of(name: str, rng: np.random.Generator) -> list[Halo]:
    groups = 13.4 + rng.exponential(0.35, 40)
    log_m200 = np.concatenate([[rng.normal(15.0, 0.15)], groups[groups < 14.8]])
    places = 5000.0 * np.arange(len(log_m200))
    found = []
    for simulation, scatter in (("GADGET-X", 0.0), ("GIZMO-SIMBA", 0.03)):
        masses = log_m200 + scatter * rng.normal(size=len(log_m200))
        offset = scatter * 3000 * rng.normal(size=len(log_m200))
        for age, snapshot in enumerate(REDSHIFTS):
            drift = 100 * age * rng.uniform(0.5, 1)
            for n, mass in enumerate(masses - age * np.log10(1.02)):
                if 13.5 <= mass <= 15.5:
                    found.append(halo(mass, name, snapshot, 10 * n, places[n] + offset[n] + drift, simulation))
    return found
