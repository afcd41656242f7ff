"""The fast projection against the reference, and what any projection must keep."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hpc_massmap.arrays import FloatArray
from hpc_massmap.maps import deposit, reference
from hpc_massmap.maps.lines_of_sight import rotations

KERNELS = ["cubic_spline", "wendland_c4"]


def halo(count: int, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Particles denser in the middle, kernels from none to a third of R200, some beyond the cube."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(count, 3)) * rng.uniform(0.02, 0.7, (count, 1))
    radii = np.where(rng.random(count) < 0.2, 0.0, 10 ** rng.uniform(-3.5, -0.5, count))
    return positions, radii, rng.lognormal(size=(2, count))


def in_cube(positions: FloatArray, rotation: FloatArray) -> FloatArray:
    return np.asarray(np.all(np.abs(positions @ rotation.T) <= 1, axis=1))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("accuracy", "moved", "at_the_peak"), [("fast", 1e-3, 2e-2), ("fine", 2e-5, 1e-4)])
def test_the_projection_follows_the_reference(kernel: str, accuracy: str, moved: float, at_the_peak: float) -> None:
    positions, radii, quantities = halo(600)
    for view in rotations(29)[::14]:
        fast = deposit.project(positions, radii, quantities, view, kernel, accuracy)
        slow = reference.project(positions, radii, quantities, view, kernel)
        for one, other in zip(fast, slow, strict=True):
            assert np.abs(one - other).sum() < 2 * moved * other.sum()
            assert np.abs(one - other).max() < at_the_peak * other.max()


@pytest.mark.parametrize("accuracy", list(deposit.SAMPLES))
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("radius", [0.0, 1e-4, 0.003, 0.02, 0.1, 0.5, 2.5])
def test_the_total_is_kept_also_at_the_edge(kernel: str, radius: float, accuracy: str) -> None:
    rng = np.random.default_rng(1)
    positions = rng.uniform(-1.1, 1.1, (300, 3))
    quantities = rng.lognormal(size=(1, 300))
    view = rotations(29)[11]
    image = deposit.project(positions, np.full(300, radius), quantities, view, kernel, accuracy)
    assert image.sum() == pytest.approx(quantities[0, in_cube(positions, view)].sum(), rel=1e-9)
    assert image.min() >= 0


@pytest.mark.parametrize("radius", [0.0, 0.003, 0.1, 2.5])
def test_particles_on_faces_and_corners_of_the_cube_are_kept_whole(radius: float) -> None:
    positions = np.array(list(np.ndindex(3, 3, 3)), float) - 1
    quantities = np.random.default_rng(3).lognormal(size=(2, len(positions)))
    image = deposit.project(positions, np.full(len(positions), radius), quantities, np.eye(3), "cubic_spline")
    np.testing.assert_allclose(image.sum((1, 2)), quantities.sum(1), rtol=1e-9)


def test_drawing_twice_gives_the_same_bits() -> None:
    positions, radii, quantities = halo(3000)
    one, other = (deposit.project(positions, radii, quantities, rotations(29)[8], "cubic_spline") for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_nearest_grid_point_is_a_histogram_smoothed_and_rebinned() -> None:
    positions, _, quantities = halo(5000)
    view = rotations(29)[5]
    u, v, _ = (positions[in_cube(positions, view)] @ view.T).T
    weights = quantities[0, in_cube(positions, view)]
    fine, _, _ = np.histogram2d(u, v, bins=640, range=[[-1, 1], [-1, 1]], weights=weights)
    sigma = 4.8 / (2 * np.sqrt(2 * np.log(2)))
    smooth = gaussian_filter(fine, sigma, mode="reflect", truncate=4.0)
    expected = smooth.reshape(80, 8, 80, 8).sum((1, 3))
    image = deposit.project(positions, np.zeros(5000), quantities, view, "cubic_spline")[0]
    np.testing.assert_allclose(image, expected, rtol=1e-9, atol=1e-12 * expected.max())


def test_the_order_of_particles_is_rounding() -> None:
    positions, radii, quantities = halo(3000)
    view, order = rotations(29)[3], np.random.default_rng(2).permutation(3000)
    one = deposit.project(positions, radii, quantities, view, "wendland_c4")
    other = deposit.project(positions[order], radii[order], quantities[:, order], view, "wendland_c4")
    np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12 * one.max())


def test_turning_the_halo_and_the_view_together_changes_nothing() -> None:
    positions, radii, quantities = halo(2000)
    view, turn = rotations(29)[7], rotations(29)[20]
    straight = deposit.project(positions, radii, quantities, view, "cubic_spline")
    turned = deposit.project(positions @ turn.T, radii, quantities, view @ turn.T, "cubic_spline")
    np.testing.assert_allclose(straight, turned, rtol=1e-6, atol=1e-6 * straight.max())


def test_a_point_lands_where_it_is() -> None:
    positions = np.array([[0.5, -0.25, 0.0]])
    image = deposit.project(positions, np.zeros(1), np.ones((1, 1)), np.eye(3), "cubic_spline")[0]
    rows, columns = image.sum(1), image.sum(0)
    centres = (np.arange(80) + 0.5) / 40 - 1
    assert rows @ centres == pytest.approx(0.5, abs=0.004)  # to the pixel
    assert columns @ centres == pytest.approx(-0.25, abs=0.004)
