"""Maps against closed forms, and against a cluster of a simulation made elsewhere."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from scipy.integrate import quad

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps
from hpc_massmap.maps.gas import temperature
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.maps.sz import integrated_compton_y
from hpc_massmap.maps.xray import BREMSSTRAHLUNG, RELATIVISTIC, bremsstrahlung_luminosity
from hpc_massmap.sims.particles import FULLY_IONISED, Gas, Header, Particles, Snapshot, Stars
from hpc_massmap.sims.selection import Halo, Source

H = 0.7
HACC = Path("examples/hacc_nonradiative/hacc_z0.0_1pct.hdf5")
NONE = Stars(np.zeros((0, 3)), np.zeros(0))


def gas(positions: FloatArray, mass: float, density: float, radius: float, **other: float) -> Gas:
    count = len(positions)
    values = {"internal_energy": 1e6, "electron_abundance": FULLY_IONISED, "star_formation_rate": 0.0} | other
    full = {name: np.full(count, value) for name, value in values.items()}
    return Gas(positions, np.full(count, mass), np.full(count, density), np.full(count, radius), **full)


def snapshot(gas_particles: Gas, dark_matter: Particles = NONE, h: float = H) -> Snapshot:
    return Snapshot(Path("made.hdf5"), Header(0.0, 1.0, h, 0.3, 0.7), gas_particles, dark_matter, NONE, NONE)


def halo_at(m200: float, r200: float, centre: FloatArray | None = None, h: float = H) -> Halo:
    source = Source("made", "region_1", 1, Path("made.hdf5"), Path("made.AHF_halos"))
    middle = np.zeros(3) if centre is None else centre
    return Halo(source, 0.0, 1, middle, m200, r200, 0.65 * r200, 0.1, 0.0, h, 0.3)


def in_sphere(count: int, radius: float, rng: np.random.Generator) -> FloatArray:
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * radius * rng.random((count, 1)) ** (1 / 3)


def column_of_sphere(radius: float, r200: float) -> FloatArray:
    """Chord through a uniform sphere at the centre of each pixel, kpc."""
    y, x = (np.mgrid[:80, :80] - 39.5) / 40 * r200
    return np.asarray(2 * np.sqrt(np.clip(radius**2 - x**2 - y**2, 0, None)))


def test_bremsstrahlung_is_the_textbook_s() -> None:
    """Rybicki & Lightman eq. 5.15b: 1.4e-27 sqrt(T) n_e n_i Z^2 g, cgs."""
    assert BREMSSTRAHLUNG.to_value(u.erg * u.cm**3 / u.s / u.K**0.5) == pytest.approx(1.426e-27, rel=1e-3)


def test_temperature_of_ionised_gas() -> None:
    particle = gas(np.zeros((1, 3)), 1.0, 1.0, 1.0, internal_energy=1000.0**2)
    expected = (2 / 3 * 0.588 * const.m_p * (1000 * u.km / u.s) ** 2 / const.k_B).to_value(u.K)
    assert temperature(particle)[0] == pytest.approx(expected, rel=2e-3)  # mu = 0.588 for X = 0.76


def test_a_uniform_sphere_of_gas_in_sz_and_x_rays() -> None:
    radius, r200, count = 600.0, 1000.0, 200_000
    n_e = 1e-3 / u.cm**3
    kelvin = 5e7 * u.K
    rho = (n_e / 0.76 / FULLY_IONISED * const.m_p).to_value(u.Msun / u.kpc**3)
    mass = rho * 4 / 3 * np.pi * radius**3 / count * H  # Msun/h
    mu = 4 / (1 + 3 * 0.76 + 4 * 0.76 * FULLY_IONISED)
    energy = (1.5 * const.k_B * kelvin / (mu * const.m_p)).to_value(u.km**2 / u.s**2)
    sphere = gas(in_sphere(count, radius, np.random.default_rng(0)), mass, rho, 30.0, internal_energy=energy)
    maps = halo_maps(snapshot(sphere), halo_at(count * mass, r200), Maps(), rotations(2))

    chord = column_of_sphere(radius, r200)
    inside = chord > 0.8 * chord.max()
    y = (const.sigma_T * const.k_B / (const.m_e * const.c**2) * n_e * kelvin * u.kpc).to_value(1) * chord
    n_h = n_e / FULLY_IONISED
    ions = n_h * (1 + 4 * 0.24 / (4 * 0.76))  # hydrogen, and helium with Z^2 = 4
    gaunt = 1.1836 * (1 + RELATIVISTIC * 5e7)  # of 0.76 H and 0.24 He
    emissivity = gaunt * BREMSSTRAHLUNG * np.sqrt(kelvin) * n_e * ions
    brightness = (emissivity * u.kpc).to_value(1e40 * u.erg / u.s / u.kpc**2) * chord
    for view in range(2):
        assert np.mean(maps["sz"][view][inside] / y[inside]) == pytest.approx(1, rel=6e-3)
        assert np.mean(maps["xray"][view][inside] / brightness[inside]) == pytest.approx(1, rel=6e-3)
        assert np.std(maps["sz"][view][inside] / y[inside]) < 0.08
        assert maps["sz"][view].sum() == pytest.approx(y.sum(), rel=5e-3)
    np.testing.assert_allclose(maps["mass"].sum((1, 2)) * (r200 / 40) ** 2, count * mass, rtol=1e-5)


def test_what_is_left_out_of_sz_and_x_rays() -> None:
    hot = {"internal_energy": 1e6}
    star_forming = gas(np.zeros((1, 3)), 1e9, 1e4, 1.0, **hot, star_formation_rate=0.1)
    cool = gas(np.zeros((1, 3)), 1e9, 1e4, 1.0, internal_energy=2e4)  # 9.5e5 K
    warm = gas(np.zeros((1, 3)), 1e9, 1e4, 1.0, **hot)
    assert temperature(cool)[0] < 1e6 < temperature(warm)[0]
    assert integrated_compton_y(star_forming, H)[0] == 0 < integrated_compton_y(cool, H)[0]
    assert bremsstrahlung_luminosity(star_forming, H)[0] == bremsstrahlung_luminosity(cool, H)[0] == 0
    assert bremsstrahlung_luminosity(warm, H)[0] > 0


def nfw_mass(x: Any, concentration: float) -> Any:
    """Mass inside x R200, in M200."""

    def m(y: Any) -> Any:
        return np.log1p(y) - y / (1 + y)

    return m(concentration * x) / m(concentration)


def nfw_in_cylinder(radius: float, concentration: float, depth: float = 1) -> float:
    """Mass of an NFW halo inside a cylinder of this radius and half-length, in R200 and M200, by quadrature."""
    c = concentration
    norm = c**3 / (4 * np.pi * (np.log1p(c) - c / (1 + c)))

    def density(r: float) -> float:
        return float(norm / (c * r * (1 + c * r) ** 2))

    def column(b: float) -> float:
        return 2 * float(quad(lambda z: density(np.hypot(b, z)), 0, depth, limit=200)[0])

    return float(quad(lambda b: 2 * np.pi * b * column(b), 1e-6, radius, limit=200)[0])


def test_the_nfw_cylinder_is_bartelmann_s_in_a_deep_cube() -> None:
    """Bartelmann (1996): M(<R) = M200 / m(c) (ln(x/2) + arccosh(1/x) / sqrt(1 - x^2)), x = c R < 1."""
    c, x = 5.0, 0.5
    closed = (np.log(x / 2) + np.arccosh(1 / x) / np.sqrt(1 - x * x)) / (np.log1p(c) - c / (1 + c))
    assert nfw_in_cylinder(x / c, c, np.inf) == pytest.approx(closed, rel=1e-4)


def test_the_projected_mass_of_an_nfw_halo() -> None:
    count, concentration, m200, r200 = 400_000, 5.0, 1e15, 2000.0
    rng = np.random.default_rng(3)
    reach = 1.8  # beyond the corners of the cube
    grid = np.geomspace(1e-5, reach, 4000)
    enclosed = nfw_mass(grid, concentration)
    radius = np.interp(rng.random(count) * enclosed[-1], enclosed, grid)
    direction = rng.normal(size=(count, 3))
    positions = direction / np.linalg.norm(direction, axis=1, keepdims=True) * radius[:, None] * r200
    particles = Particles(positions, np.full(count, m200 * enclosed[-1] / count))
    no_gas = gas(np.zeros((0, 3)), 1, 1, 1)
    maps = halo_maps(snapshot(no_gas, particles), halo_at(m200, r200), Maps(), rotations(3))
    y, x = (np.mgrid[:80, :80] - 39.5) / 40
    for view in maps["mass"]:
        for aperture in (0.3, 0.5, 0.7, 1.0):
            inside = np.hypot(x, y) <= aperture
            area = inside.sum() / 40**2  # of the pixels taken, whose edge is not quite the circle
            expected = nfw_in_cylinder(float(np.sqrt(area / np.pi)), concentration)
            measured = view[inside].sum(dtype=np.float64) * (r200 / 40) ** 2 / m200
            assert measured == pytest.approx(expected, rel=6e-3)


def hacc() -> tuple[Snapshot, Halo, dict[str, float]]:
    """The HACC cluster in our terms; its own units are in examples/README.md."""
    with h5py.File(HACC) as file:
        of_halo = {name: float(values[()]) for name, values in file["h_ad"].items()}
        parts = {name: values[:].astype(float) for name, values in file["parts_ad"].items()}
    h = 0.6766
    centre = np.array([of_halo[f"fof_halo_center_{axis}"] for axis in "xyz"]) * 1000 / h
    positions = np.column_stack([parts[axis] for axis in "xyz"]) * 1000 / h
    is_gas = (parts["mask"].astype(int) & 4) > 0
    density = parts["rho"][is_gas] * h**2 / 1e9  # (Msun/h) (Mpc/h)^-3 to Msun kpc^-3
    mass = parts["mass"][is_gas]
    kernel = 2 * (3 * mass / h / (4 * np.pi * density)) ** (1 / 3)
    count = int(is_gas.sum())
    gas_particles = Gas(
        positions[is_gas],
        mass,
        density,
        kernel,
        parts["uu"][is_gas],
        np.full(count, FULLY_IONISED),
        np.zeros(count),
    )
    dark_matter = Particles(positions[~is_gas], parts["mass"][~is_gas])
    r200 = of_halo["sod_halo_radius"] * 1000 / h
    found = halo_at(of_halo["sod_halo_mass"], r200, centre, h)
    return snapshot(gas_particles, dark_matter, h), found, of_halo


def test_the_hacc_cluster_weighs_what_its_catalogue_says() -> None:
    particles, halo, _ = hacc()
    inside = [
        p.masses[np.linalg.norm(p.positions - halo.centre, axis=1) <= halo.r200].sum()
        for p in (particles.gas, particles.dark_matter)
    ]
    assert sum(inside) / halo.m200 == pytest.approx(0.99, abs=0.01)
    assert inside[0] / sum(inside) == pytest.approx(0.154, abs=0.003)


def test_the_hacc_cluster_s_compton_y_is_that_of_a_cluster_of_its_mass() -> None:
    """Arnaud et al. (2010): Y500 of the sphere from the hydrostatic M500, about 0.8 of the true one."""
    particles, halo, of_halo = hacc()
    maps = halo_maps(particles, halo, Maps(adaptive_smoothing=32), rotations(29))
    y, x = (np.mgrid[:80, :80] - 39.5) / 40 * halo.r200
    r500 = of_halo["sod_halo_R500c"] * 1000 / halo.h
    within = np.hypot(x, y) <= r500
    cylinder = (maps["sz"][:, within].sum(1) * (halo.r200 / 40) ** 2).mean() / 1e6  # Mpc^2
    m500 = 0.8 * of_halo["sod_halo_M500c"] / halo.h
    h70 = halo.h / 0.7
    sphere = 10**-4.739 * h70 ** (-5 / 2) * (m500 / (3e14 / h70)) ** 1.79
    assert cylinder / sphere == pytest.approx(1.3, abs=0.3)  # a cylinder holds about 1.3 times the sphere's
    mass = maps["mass"].sum((1, 2)) * (halo.r200 / 40) ** 2
    assert np.all(mass > halo.m200)  # the cube holds more than its inscribed sphere
    assert np.all(mass < 1.6 * halo.m200)
