"""Kernels against quadrature in three dimensions, lines of sight against the sphere."""

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from hpc_massmap.maps.kernels import KERNELS, TABLE_SIZE, projected_kernel
from hpc_massmap.maps.lines_of_sight import directions, rotations
from hpc_massmap.maps.smoothing import neighbour_radius
from hpc_massmap.sims.particles import Particles


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_holds_one_in_three_and_in_two_dimensions(name: str) -> None:
    kernel = KERNELS[name]
    sphere, _ = quad(lambda q: 4 * np.pi * q**2 * float(kernel(np.asarray(q))), 0, 1, points=[0.5])
    assert sphere == pytest.approx(1, rel=1e-10)
    assert float(kernel(np.asarray(1.0))) == 0
    table = projected_kernel(name).table
    circle = np.pi * np.trapezoid(table, dx=1 / TABLE_SIZE)  # int 2 pi b db = int pi d(b^2)
    assert circle == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("b", [0.0, 0.3, 0.5, 0.9])
def test_the_table_is_the_column_through_the_kernel(name: str, b: float) -> None:
    z = np.linspace(-1, 1, 200_001)
    column = np.trapezoid(KERNELS[name](np.minimum(np.hypot(b, z), 1)), z)
    table = projected_kernel(name).table
    assert np.interp(b**2, np.linspace(0, 1, TABLE_SIZE + 1), table) == pytest.approx(column, abs=1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_the_variance_is_that_of_one_coordinate(name: str) -> None:
    kernel = KERNELS[name]
    second, _ = dblquad(
        lambda c, q: 2 * np.pi * q**2 * float(kernel(np.asarray(q))) * (q * c) ** 2, 0, 1, -1, 1, epsabs=1e-6
    )
    assert projected_kernel(name).variance == pytest.approx(second, rel=1e-4)


def test_29_lines_of_sight_are_even_and_distinct_also_from_behind() -> None:
    lines = directions(29)
    angles = np.degrees(np.arccos(np.clip(np.abs(lines @ lines.T), 0, 1)))[~np.eye(29, dtype=bool)]
    assert angles.min() > 26
    assert np.degrees(np.arccos(np.abs(lines[:, 2]))).min() < 30  # nothing special is left out at the pole
    axes = lines.T @ lines / 29  # second moments: a third in every direction
    np.testing.assert_allclose(axes, np.eye(3) / 3, atol=0.01)


@pytest.mark.parametrize("count", [1, 2, 29])
def test_rotations_are_proper_and_look_along_row_2(count: int) -> None:
    for matrix, line in zip(rotations(count), directions(count), strict=True):
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)
        np.testing.assert_allclose(matrix[2], line, atol=1e-12)
    np.testing.assert_array_equal(rotations(count), rotations(count))


def test_the_kth_neighbour_by_sorting_all_distances() -> None:
    positions = np.random.default_rng(0).normal(size=(60, 3))
    particles, which = Particles(positions, np.ones(60)), np.array([3, 59])
    distances = np.sort(np.linalg.norm(positions[which, None] - positions, axis=2), axis=1)
    np.testing.assert_allclose(neighbour_radius(particles, which, 32), distances[:, 32])
    enough = Particles(positions[:33], np.ones(33))
    farthest = np.linalg.norm(positions[:33] - positions[0], axis=1).max()
    assert neighbour_radius(enough, np.array([0]), 32)[0] == pytest.approx(farthest)


@pytest.mark.parametrize("count", [1, 2, 32])
def test_particles_without_so_many_neighbours_go_to_the_nearest_pixel(count: int) -> None:
    """Not into a flat disc as wide as the snapshot."""
    few = Particles(np.random.default_rng(0).normal(size=(count, 3)), np.ones(count))
    np.testing.assert_array_equal(neighbour_radius(few, np.arange(count), 32), np.zeros(count))


@pytest.mark.parametrize("name", list(KERNELS))
def test_the_polynomial_is_the_table(name: str) -> None:
    kernel = projected_kernel(name)
    t = 1 - np.linspace(0, 1, len(kernel.table))
    fitted = t**3 * np.polynomial.polynomial.polyval(t, kernel.coefficients)
    np.testing.assert_allclose(fitted, kernel.table, rtol=0, atol=5e-4 * kernel.table[0])
