"""Which gas is drawn, and a model whose SZ and X-ray profiles are known."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.maps.sz import integrated_compton_y
from hpc_massmap.maps.xray import bremsstrahlung_luminosity, xray_luminosity
from tests.maps.test_physics import gas, halo_at, snapshot
from tests.maps.test_xray import flat_table

H = 0.7


def test_thermal_gas_forms_no_stars() -> None:
    rate = np.array([0.0, 1e-9, 3.0])
    particles = dataclasses.replace(gas(np.zeros((3, 3)), 1e9, 3e4, 20.0), star_formation_rate=rate)
    np.testing.assert_array_equal(particles.thermal, [True, False, False])
    for table in (None, flat_table(1e-23)):
        np.testing.assert_array_equal(xray_luminosity(particles, H, table) > 0, [True, False, False])
    np.testing.assert_array_equal(integrated_compton_y(particles, H) > 0, [True, False, False])


def beta_profile(particle_count: int, beta: float, core: float) -> tuple[FloatArray, FloatArray]:
    """Positions of a beta model within 1.8 (R200), equal masses, and the density at each over the central one."""
    rng = np.random.default_rng(5)
    grid = np.linspace(0, 1.8, 20_000)
    shell = grid**2 * (1 + (grid / core) ** 2) ** (-1.5 * beta)
    enclosed = np.concatenate([[0], np.cumsum((shell[1:] + shell[:-1]) / 2)])
    radius = np.interp(rng.random(particle_count) * enclosed[-1], enclosed, grid)
    direction = rng.normal(size=(particle_count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * radius[:, None], (1 + (radius / core) ** 2) ** (-1.5 * beta)


def beta_column(b: float, depth: float, power: float) -> float:
    """The column of (1 + r^2)^-power at projected radius b from -depth to depth, which the cube cuts."""
    return 2 * float(quad(lambda z: (1 + b * b + z * z) ** -power, 0, depth)[0])


def test_the_beta_model_s_column_is_the_published_profile_in_a_deep_cube() -> None:
    for beta in (0.6, 2 / 3, 0.9):
        for power, slope in ((1.5 * beta, 0.5 - 1.5 * beta), (3 * beta, 0.5 - 3 * beta)):
            ratio = beta_column(2.0, np.inf, power) / beta_column(0.0, np.inf, power)
            assert ratio == pytest.approx(5**slope, rel=1e-6)


def test_an_isothermal_beta_model_in_sz_and_x_rays() -> None:
    count, beta, core, r200, centre_density = 300_000, 2 / 3, 0.2, 1000.0, 1e5
    positions, relative = beta_profile(count, beta, core)
    total = 4 * np.pi * quad(lambda r: r**2 * (1 + (r / core) ** 2) ** (-1.5 * beta), 0, 1.8)[0]
    mass = total * r200**3 * centre_density * H / count
    model = gas(positions * r200, mass, 1.0, 1.0, internal_energy=1e6)
    size = 2 * (3 * 32 * mass / H / (4 * np.pi * relative * centre_density)) ** (1 / 3) / 2
    model = dataclasses.replace(model, density=relative * centre_density, smoothing_length=size)
    maps = halo_maps(snapshot(model), halo_at(count * mass / 2, r200), Maps(), rotations(2))

    y, x = (np.mgrid[:80, :80] - 39.5) / 40
    radius = np.hypot(x, y)
    one = gas(np.zeros((1, 3)), H, centre_density, 1.0, internal_energy=1e6)  # one solar mass at the centre's density
    for name, per_mass, power in (
        ("sz", integrated_compton_y(one, H)[0], 1.5 * beta),
        ("xray", bremsstrahlung_luminosity(one, H)[0], 3 * beta),
    ):
        for low, high in ((0.1, 0.2), (0.2, 0.4), (0.4, 0.7), (0.7, 0.9)):
            ring = (radius >= low) & (radius < high)
            column = [beta_column(b / core, 1 / core, power) * core for b in radius[ring]]
            expected = per_mass * centre_density * r200 * np.mean(column)
            assert maps[name][:, ring].mean() == pytest.approx(expected, rel=0.015), (name, low)
