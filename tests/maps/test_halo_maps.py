"""Which particles a map counts, and with which kernels: against the reference, type by type."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps, Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.maps import make, reference
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps, region_maps
from hpc_massmap.sims.particles import FULLY_IONISED, Particles
from hpc_massmap.sims.selection import find_sources
from hpc_massmap.sims.snapshot import read_snapshot
from hpc_massmap.views import VIEWS
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


def test_a_finer_projection_errs_as_little_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all quantities of a halo, as docs/science.md has it."""
    (halo,) = all_candidates(find_sources([EXAMPLES]), Selection(m200_min=1e13))
    real, view = read_snapshot(halo.source.snapshot_file), rotations(29)[4:5]
    few = np.arange(0, len(real.gas), 4), np.arange(0, len(real.dark_matter), 8)  # for the reference's sake
    gas, dark_matter = replace(real.gas, masses=4 * real.gas.masses).at(few[0]), real.dark_matter
    thinned = Particles(dark_matter.positions[few[1]], 8 * dark_matter.masses[few[1]])
    real = replace(real, gas=gas, dark_matter=thinned)

    def drawn(accuracy: str) -> dict[str, FloatArray]:
        config = Maps.model_validate({"kernel": "cubic_spline", "adaptive_smoothing": 32, "accuracy": accuracy})
        return {name: maps.astype(float) for name, maps in halo_maps(real, halo, config, view).items()}

    fast, fine = drawn("fast"), drawn("fine")
    with monkeypatch.context() as patched:
        patched.setattr(make, "project", lambda *particles: reference.project(*particles[:-1]))
        truth = drawn("fast")
    for name in VIEWS:
        total = truth[name].sum()
        moved = {of: np.abs(maps[name] - truth[name]).sum() / total / 2 for of, maps in {"a": fast, "b": fine}.items()}
        assert moved["b"] < 2.5e-5
        assert 10 * moved["b"] < moved["a"] < 1.5e-3
        assert fine[name].sum() == pytest.approx(total, rel=1e-6)
        inside, expected = (enclosed_mass(maps[name], np.array([halo.r200])) for maps in (fine, truth))
        np.testing.assert_allclose(inside, expected, rtol=2.5e-5)


def test_pymsz_s_rules_change_the_maps_of_gas_and_nothing_else(tmp_path: Path) -> None:
    (halo,) = all_candidates(find_sources([EXAMPLES]), Selection(m200_min=1e13))
    path = Path(shutil.copy(halo.source.snapshot_file, tmp_path))
    with h5py.File(path, "r+") as file:
        file["PartType0/Metallicity"][...] = 0.04  # X = 0.72
    halo = replace(halo, source=replace(halo.source, snapshot_file=path))
    view, drawn = rotations(29)[:1], {}
    for rules in ("primordial", "pymsz"):
        config = Maps.model_validate({"kernel": "cubic_spline", "gas_rules": rules})
        (drawn[rules],) = region_maps([halo], config, view, {})
        read = read_snapshot(halo.source.snapshot_file, pymsz=rules == "pymsz")
        for name, maps in halo_maps(read, halo, config, view).items():
            np.testing.assert_allclose(drawn[rules][name], maps, rtol=1e-5, atol=1e-6 * maps.max())
    for name in ("star", "mass"):
        np.testing.assert_array_equal(drawn["pymsz"][name], drawn["primordial"][name])
    less = drawn["pymsz"]["sz"].sum() / drawn["primordial"]["sz"].sum()
    slope = 3 + 4 * FULLY_IONISED  # x_e is stored, and that of hot gas
    assert less == pytest.approx(0.72 / 0.76 * (1 + slope * 0.76) / (1 + slope * 0.72), abs=2e-4)


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
