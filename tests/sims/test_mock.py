"""The mock universe's physics, on particles and on the files that are written: closed forms and stated relations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from scipy.integrate import quad
from scipy.spatial import cKDTree

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Simulation
from hpc_massmap.sims.catalogue import read_catalogue
from hpc_massmap.sims.mock import Region, draw_region
from hpc_massmap.sims.mock_files import write_region
from hpc_massmap.sims.mock_halo import (
    CODES,
    COSMOLOGY,
    LOG_MASSES,
    Code,
    Halo,
    Subhalos,
    draw_halo,
    draw_subhalos,
    fraction_scatter,
)
from hpc_massmap.sims.mock_particles import draw_particles, ellipsoid, tidal_and_scale_radii
from hpc_massmap.sims.particles import DARK_MATTER, GAMMA, GAS, Particles, Snapshot
from hpc_massmap.sims.snapshot import read_snapshot

GADGET_X, GIZMO_SIMBA = CODES.values()
RADII = np.array([0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0])


@pytest.fixture(scope="module")
def sphere() -> Halo:
    """A cluster without its shape and its subhalos."""
    return replace(draw_halo(0, 2), axes=np.ones(3), subhalos=Subhalos(np.zeros(0), np.zeros((0, 3))))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Region, Snapshot, Path]:
    """A region of an earlier time as drawn and as read, and its catalogue."""
    folder = tmp_path_factory.mktemp("mock")
    region = draw_region(draw_halo(0, 2), GIZMO_SIMBA, 123, particles=40_000)
    write_region(
        Simulation(name="GIZMO-SIMBA", folder=folder, snapshot="snap_{snapshot:03d}.hdf5", snapshots=[123]), region, 1
    )
    snapshot = read_snapshot(folder / "NewMDCLUSTER_0002" / "snap_123.hdf5")
    return region, snapshot, folder / "NewMDCLUSTER_0002" / "GIZMO-NewMDCLUSTER_0002.snap_123.z0.117.AHF_halos"


def nfw(radius: FloatArray, c: float) -> FloatArray:
    x = c * radius
    return np.asarray((np.log(1 + x) - x / (1 + x)) / (np.log(1 + c) - c / (1 + c)))


def test_mass_of_a_sphere_is_nfw_to_sampling_error(sphere: Halo) -> None:
    drawn = draw_particles(sphere, GADGET_X, 128, 0.0, particles=100_000)
    f_star = GADGET_X.draw_fractions(sphere, 0.0)[1]
    expected = (1 - f_star) * nfw(RADII, sphere.concentration_at(0.0))
    hot = len(drawn.positions[GAS]) - drawn.cold
    enclosed, variance = np.zeros(len(RADII)), np.zeros(len(RADII))
    for kind, number in ((DARK_MATTER, len(drawn.positions[DARK_MATTER])), (GAS, hot)):
        distance = np.asarray(np.linalg.norm(drawn.positions[kind][:number], axis=1))
        inside = np.sum(distance[:, None] < RADII, axis=0)
        enclosed += inside * drawn.masses[kind][0]
        variance += inside * drawn.masses[kind][0] ** 2
    assert np.all(np.abs(enclosed - expected) < 4 * np.sqrt(variance))
    assert np.all(np.sqrt(variance) < 0.05 * expected)


def test_ellipsoids_have_their_axes() -> None:
    axes = np.array([1.5, 1.0, 1 / 1.5])
    radii = np.geomspace(1e-3, 2, 500)
    positions = ellipsoid(np.random.default_rng(1), 100_000, radii, radii, axes)
    np.testing.assert_allclose(np.sqrt(np.mean(positions**2, axis=0)) / axes, 2 / 3, rtol=0.01)  # of rho ~ r^-2


def test_gas_of_a_sphere_is_in_hydrostatic_equilibrium(sphere: Halo) -> None:
    """To 4 %: the mass is counted from particles."""
    region = draw_region(sphere, GADGET_X, 128, particles=200_000)
    gas = region.particles[GAS]
    hot = gas["StarFormationRate"] == 0
    distance = {
        kind: np.asarray(np.linalg.norm(np.float64(blocks["Coordinates"]) - sphere.centre, axis=1))
        for kind, blocks in region.particles.items()
    }
    order = np.argsort(distance[GAS][hot])
    radius = distance[GAS][hot][order]
    density, energy = (gas[name].astype(np.float64)[hot][order] for name in ("Density", "InternalEnergy"))
    edges: FloatArray = np.geomspace(0.1, 1.5, 16) * region.catalogue["Rvir"]
    pressure = np.interp(edges, radius, (GAMMA - 1) * density * energy)
    middle = np.sqrt(edges[1:] * edges[:-1])
    mass = sum(
        np.float64(blocks["Masses"][0]) * np.sum(distance[kind][:, None] < middle, axis=0)
        for kind, blocks in region.particles.items()
    )
    gravity = const.G.to_value(u.kpc * (u.km / u.s) ** 2 / (1e10 * u.Msun)) * mass / middle**2
    gradient = np.diff(pressure) / np.diff(edges)
    np.testing.assert_allclose(gradient, -np.interp(middle, radius, density) * gravity, rtol=0.04)


def test_the_catalogue_is_what_the_particles_say(written: tuple[Region, Snapshot, Path]) -> None:
    region, snapshot, path = written
    catalogue = read_catalogue(path)
    to_kpc = snapshot.header.a / snapshot.header.h
    critical = COSMOLOGY.critical_density(0.117).to_value(u.Msun / u.kpc**3) * snapshot.header.h  # Msun/h
    everything = (snapshot.gas, snapshot.stars, snapshot.dark_matter, snapshot.black_holes)

    def inside(radius: float, *kinds: Particles) -> float:
        centre = catalogue.centre[0] * to_kpc
        return sum(float(p.masses[np.linalg.norm(p.positions - centre, axis=1) < radius].sum()) for p in kinds)

    r200, r500 = catalogue.r200[0] * to_kpc, catalogue.r500[0] * to_kpc
    assert catalogue.m200[0] == pytest.approx(region.halo.mass_at(0.117), rel=2e-4)
    assert inside(r200, *everything) == pytest.approx(catalogue.m200[0], rel=2e-4)
    assert inside(r200, *everything) == pytest.approx(200 * critical * 4 / 3 * np.pi * r200**3, rel=2e-4)
    assert inside(r500, *everything) == pytest.approx(500 * critical * 4 / 3 * np.pi * r500**3, rel=4e-4)
    assert inside(r200, snapshot.gas) == pytest.approx(catalogue.m_gas[0], rel=1e-3)
    assert inside(r200, snapshot.stars) == pytest.approx(catalogue.m_star[0], rel=1e-3)
    assert catalogue.f_mhires[0] == 1
    assert catalogue.halo_id[0] == 123_000_000_000_001


def test_what_is_read_is_what_was_drawn(written: tuple[Region, Snapshot, Path]) -> None:
    region, snapshot, _ = written
    a, h = 1 / 1.117, COSMOLOGY.h
    assert (snapshot.header.h, snapshot.header.omega_m) == (h, COSMOLOGY.Om0)
    drawn = region.particles[GAS]
    np.testing.assert_allclose(snapshot.gas.positions, drawn["Coordinates"] * a / h, rtol=1e-6)
    np.testing.assert_allclose(snapshot.gas.masses, drawn["Masses"] * 1e10, rtol=1e-6)
    np.testing.assert_allclose(snapshot.gas.density, drawn["Density"] * 1e10 * h**2 / a**3, rtol=1e-6)
    np.testing.assert_array_equal(snapshot.gas.internal_energy, drawn["InternalEnergy"])
    assert len(snapshot.gas) + len(snapshot.dark_matter) + len(snapshot.stars) == pytest.approx(40_000, abs=10)


def test_kernels_hold_their_neighbours(sphere: Halo) -> None:
    gas = draw_region(sphere, GADGET_X, 123, particles=50_000).particles[GAS]
    hot = gas["StarFormationRate"] == 0
    positions = np.float64(gas["Coordinates"][hot]) - sphere.centre
    tree = cKDTree(positions)
    number = tree.query_ball_point(positions[::50], gas["SmoothingLength"][hot][::50], return_length=True)
    assert np.median(number) == pytest.approx(GADGET_X.neighbours, rel=0.1)


def test_some_gas_is_cut_from_the_maps() -> None:
    gas = draw_region(draw_halo(0, 1), GADGET_X, 128, particles=50_000).particles[GAS]
    forming = gas["StarFormationRate"] > 0
    kelvin = 0.588 * (const.m_p * (u.km / u.s) ** 2 / const.k_B).to_value(u.K) * 2 / 3 * gas["InternalEnergy"]
    assert 0.003 < forming.mean() < 0.02
    assert np.all(kelvin[forming] < 1e4)
    assert 0.005 < np.mean(kelvin[~forming] < 1e6) < 0.2
    assert np.median(kelvin[~forming]) == pytest.approx(1.3e7, rel=0.5)  # of a group of 10^14 Msun/h


def test_subhalos_follow_giocoli_and_end_at_their_tidal_radii() -> None:
    m200, at_least = 1e15, 1e-3
    number = [
        np.sum(subhalos.masses[subhalos.radii < 1] > at_least)
        for seed in range(200)
        for subhalos in [draw_subhalos(np.random.default_rng(seed), m200, 4.0, 1.0, 2.5)]
    ]
    expected = quad(lambda f: 9.33e-4 * m200**0.1 * f**-1.9 * np.exp(-12.2715 * f**3), at_least, 0.3)[0]
    assert np.mean(number) == pytest.approx(expected, rel=0.05)
    halo = draw_halo(0, 3)
    tidal, scale = tidal_and_scale_radii(halo, 0.0)
    massive = halo.subhalos.masses > 1e-3
    assert np.all(tidal[massive] < halo.subhalos.radii[massive])
    assert 1 < np.median(tidal / scale) < 20


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_fractions_follow_their_relations(code: Code) -> None:
    offsets = []
    for number in range(1, 61):
        halo = draw_halo(5, number)
        catalogue = draw_region(halo, code, 128, particles=4000).catalogue
        fractions = np.array([catalogue["M_gas"], catalogue["M_star"]]) / catalogue["Mvir"]
        median = code.median_fractions(halo.m200)
        offsets.append(np.log10(fractions / median) / fraction_scatter(halo.m200))
    assert np.all(np.abs(np.mean(offsets, axis=0)) < 0.5)  # in units of the scatter, 0.13 expected
    assert np.all(np.abs(np.std(offsets, axis=0) - 1) < 0.5)


def test_codes_differ_in_groups_and_agree_in_clusters() -> None:
    for mass, lowest, highest in ((10 ** LOG_MASSES[0], 1.4, 2.0), (10 ** LOG_MASSES[1], 0.95, 1.05)):
        ratio = GADGET_X.median_fractions(mass) / GIZMO_SIMBA.median_fractions(mass)
        assert np.all((lowest < ratio) & (ratio < highest))


def test_masses_are_flat_and_do_not_depend_on_how_many_are_drawn() -> None:
    masses = np.log10([draw_halo(3, number).m200 for number in range(1, 401)])
    counts = np.histogram(masses, 10, LOG_MASSES)[0]
    assert counts.sum() == 400
    assert np.sum((counts - 40) ** 2 / 40) < 21.7  # chi^2 of 9 degrees of freedom, 1 %


def test_halos_grow() -> None:
    halo = draw_halo(0, 2)
    early, late = (draw_region(halo, GADGET_X, snapshot, particles=2000).catalogue for snapshot in (123, 128))
    assert 0.75 < early["Mvir"] / late["Mvir"] < 1


def test_the_corners_of_a_map_s_cube_have_matter() -> None:
    """Along the shortest axis too, of the most elongated of many halos."""
    halo = min((draw_halo(0, number) for number in range(1, 201)), key=lambda halo: float(halo.axes.min()))
    region = draw_region(halo, GADGET_X, 128, particles=50_000)
    positions = (region.particles[DARK_MATTER]["Coordinates"] - halo.centre) @ halo.rotation / region.catalogue["Rvir"]
    distance = np.linalg.norm(positions, axis=1)
    corner = (distance > 1.6) & (distance < np.sqrt(3))
    along = np.abs(positions / distance[:, None]) > 0.9
    assert np.all(np.sum(corner[:, None] & along, axis=0) > 10)
