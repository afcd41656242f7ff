import numpy as np

from hpc_massmap.apertures import N_RINGS, RADII, enclosed_mass, means_in_rings, pixels_in_rings, ring_of_pixels
from hpc_massmap.arrays import FloatArray

from .made_up import cluster


def enclosed_mass_by_loop(surface_density: FloatArray, r200: float, radius: float) -> float:
    total = 0.0
    for i, j in np.ndindex(80, 80):
        if np.hypot(i - 39.5, j - 39.5) / 40 <= radius:
            total += float(surface_density[i, j]) * (r200 / 40) ** 2
    return total


def nfw_surface_density(x: FloatArray) -> FloatArray:
    """Projected NFW profile at R = x r_s, in units of 2 rho_s r_s (Wright & Brainerd 2000)."""
    inner = 1 - 2 / np.sqrt(np.abs(1 - x**2)) * np.arctanh(np.sqrt(np.abs((1 - x) / (1 + x))))
    outer = 1 - 2 / np.sqrt(np.abs(x**2 - 1)) * np.arctan(np.sqrt(np.abs((x - 1) / (1 + x))))
    return np.where(x < 1, inner, outer) / (x**2 - 1)


def nfw_cylinder_mass(x: FloatArray) -> FloatArray:
    """Its integral over a disk of radius x r_s, in units of 4 pi rho_s r_s^3."""
    inner = np.arctanh(np.sqrt(np.abs((1 - x) / (1 + x)))) * 2 / np.sqrt(np.abs(1 - x**2))
    outer = np.arctan(np.sqrt(np.abs((x - 1) / (1 + x)))) * 2 / np.sqrt(np.abs(x**2 - 1))
    return np.log(x / 2) + np.where(x < 1, inner, outer)


def test_enclosed_mass_is_that_of_the_loop() -> None:
    rng = np.random.default_rng(2)
    maps, r200 = np.stack([cluster(rng) for _ in range(3)]).astype(np.float64), np.array([700.0, 1000.0, 1800.0])
    found = enclosed_mass(maps, r200)
    assert found.shape == (3, 10)
    for n in range(3):
        expected = [enclosed_mass_by_loop(maps[n], r200[n], radius) for radius in RADII]
        np.testing.assert_allclose(found[n], expected, rtol=1e-12)


def test_enclosed_mass_of_an_nfw_halo_is_the_closed_form() -> None:
    concentration, r200, oversampling = 4.03, 1234.0, 8  # no sample falls on R = r_s, where the formula is 0/0
    fine = (np.arange(80 * oversampling) + 0.5) / (40 * oversampling) - 1
    x = concentration * np.hypot(fine[:, None], fine[None, :])
    painted = nfw_surface_density(x).reshape(80, oversampling, 80, oversampling).mean(axis=(1, 3))
    found = enclosed_mass(painted[None], np.array([r200]))[0]
    r_s = r200 / concentration
    expected = 2 * np.pi * r_s**2 * nfw_cylinder_mass(concentration * RADII)
    # apertures of whole pixels: the smallest has 52 pixels in an area of 50.3
    np.testing.assert_allclose(found[:2], expected[:2], rtol=0.03)
    np.testing.assert_allclose(found[2:], expected[2:], rtol=0.006)


def test_a_map_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(3)
    maps, r200 = np.stack([cluster(rng) for _ in range(5)]).astype(np.float64), np.linspace(700.0, 1500.0, 5)
    together = enclosed_mass(maps, r200)
    for n in range(5):
        np.testing.assert_array_equal(enclosed_mass(maps[n : n + 1], r200[n : n + 1])[0], together[n])


def test_each_pixel_is_in_the_ring_of_its_centre() -> None:
    ring = ring_of_pixels()
    for i, j in np.ndindex(80, 80):
        radius = np.hypot(i - 39.5, j - 39.5) / 40
        assert ring[i, j] == next((n for n, edge in enumerate(RADII) if radius <= edge), 10)
    assert pixels_in_rings().sum() == 6400
    maps = np.random.default_rng(4).standard_normal((2, 3, 80, 80))
    found = means_in_rings(maps)
    for n in range(N_RINGS):
        np.testing.assert_allclose(found[..., n], maps[..., ring == n].mean(axis=-1))
