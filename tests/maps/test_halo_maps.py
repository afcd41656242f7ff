"""Which particles a map counts, and with which kernels: against the reference, type by type."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps, Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.maps import reference
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.sims.particles import Particles
from hpc_massmap.sims.selection import find_sources
from hpc_massmap.sims.snapshot import read_snapshot
from tests.sims.files import all_candidates

NEIGHBOURS = 32
EXAMPLES = Simulation(name="gadget4", folder=Path("examples/gadget4_L50"), region="region_0001", snapshots=[106])


def radii_by_sorting(particles: Particles) -> FloatArray:
    every = particles.positions
    return np.array([np.sort(np.linalg.norm(every - one, axis=1))[NEIGHBOURS] for one in every])


@pytest.mark.parametrize("adaptive", [NEIGHBOURS, None])
def test_each_type_counts_with_its_own_masses_and_kernels(adaptive: int | None) -> None:
    (halo,) = all_candidates(find_sources([EXAMPLES]), Selection(m200_min=1e13))
    real, rng = read_snapshot(halo.source.snapshot_file), np.random.default_rng(0)
    gas = replace(real.gas, masses=rng.lognormal(25, 1, len(real.gas)))
    dark_matter = replace(real.dark_matter, masses=rng.lognormal(25, 1, len(real.dark_matter)))
    wind = rng.random(len(real.stars)) < 0.3
    stars = replace(real.stars, masses=rng.lognormal(25, 1, len(real.stars)), wind=wind)
    black_holes = Particles(halo.centre + rng.normal(0, 0.3 * halo.r200, (7, 3)), rng.lognormal(28, 1, 7))
    changed = replace(real, gas=gas, dark_matter=dark_matter, stars=stars, black_holes=black_holes)
    view, config = rotations(29)[4], Maps(kernel="cubic_spline", adaptive_smoothing=adaptive)
    maps = halo_maps(changed, halo, config, view[None])

    def image(particles: Particles, radii: FloatArray) -> FloatArray:
        positions = (particles.positions - halo.centre) / halo.r200
        sums = reference.project(positions, radii / halo.r200, particles.masses[None], view, config.kernel)
        return np.asarray(sums[0] / (halo.r200 / 40) ** 2)

    def kernels(particles: Particles) -> FloatArray:
        return radii_by_sorting(particles) if adaptive else np.zeros(len(particles))

    star = image(replace(stars, masses=np.where(wind, 0.0, stars.masses)), kernels(stars))
    others = [
        image(stars, kernels(stars)),
        image(gas, gas.smoothing_length),
        image(dark_matter, kernels(dark_matter)),
        image(black_holes, np.zeros(7)),
    ]
    mass = np.sum(others, axis=0)
    for name, expected in (("star", star), ("mass", mass)):
        assert np.abs(maps[name][0] - expected).sum() < 2e-3 * expected.sum()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"smoothing_length": 1e38}, r"has smoothing lengths of .* R200; check their units"),
        ({"electron_abundance": -1.0}, "has sz maps that are negative; check its units"),
    ],
)
def test_gas_that_cannot_be_is_told(changed: dict[str, float], message: str) -> None:
    (halo,) = all_candidates(find_sources([EXAMPLES]), Selection(m200_min=1e13))
    real = read_snapshot(halo.source.snapshot_file)
    gas = replace(real.gas, **{name: np.full(len(real.gas), value) for name, value in changed.items()})
    with pytest.raises(InputError, match=f"halo {halo.halo_id} {message}"):
        halo_maps(replace(real, gas=gas), halo, Maps(kernel="cubic_spline"), rotations(29)[:1])
