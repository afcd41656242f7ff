"""Compton-y with its units written out, and by pymsz's method."""

import dataclasses

import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u

from hpc_massmap.config import Maps
from hpc_massmap.maps.gas import temperature
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.maps.sz import integrated_compton_y
from hpc_massmap.sims.particles import FULLY_IONISED, Gas
from tests.maps.test_physics import gas, halo_at, snapshot
from tests.maps.test_xray import one_particle

H = 0.7


def test_compton_y_with_its_units_written_out() -> None:
    x, n_e = 0.76, 1.1
    mu = 4 / (1 + 3 * x + 4 * x * n_e)
    thermal_energy = 2 / 3 * 9e5 * (u.km / u.s) ** 2 * mu * const.m_p
    electrons = 1e9 / H * u.Msun / const.m_p * x * n_e
    y = (const.sigma_T * thermal_energy * electrons / (const.m_e * const.c**2)).to_value(u.kpc**2)
    assert integrated_compton_y(one_particle(), H)[0] == pytest.approx(y, rel=1e-12)


def compton_y_by_pymsz(particles: Gas, r200: float, pixels: int = 80) -> float:
    """Total y times area of pymsz's method (github.com/weiguangcui/pymsz), particle by particle.

    Weight sigma_T k_B / (m_e c^2 m_p) m T X n_e; Wendland C4 at the projected distance of the pixels' centres,
    normalised to 1 over the pixels; a particle smaller than a pixel goes to one.
    """
    scale = (const.sigma_T * const.k_B * u.Msun * u.K / (const.m_e * const.c**2 * const.m_p)).to_value(u.kpc**2)
    image, side = np.zeros((pixels, pixels)), 2 * r200 / pixels
    centres = (np.arange(pixels) + 0.5) * side - r200
    kelvin = temperature(particles)
    for n, (x, y, _) in enumerate(particles.positions):
        weight = scale * particles.masses[n] / H * kelvin[n] * 0.76 * particles.electron_abundance[n]
        q = np.hypot(centres[:, None] - x, centres[None, :] - y) / particles.smoothing_length[n]
        kernel = np.where(q < 1, (1 - np.minimum(q, 1)) ** 6 * (1 + 6 * q + 35 / 3 * q**2), 0)
        if kernel.sum() > 0:
            image += weight * kernel / kernel.sum()
        else:
            image[int((x + r200) / side), int((y + r200) / side)] += weight
    return float(image.sum())


def test_the_total_compton_y_is_pymsz_s() -> None:
    rng, count, r200 = np.random.default_rng(2), 2000, 1000.0
    positions = np.clip(rng.normal(scale=300, size=(count, 3)), -990, 990)
    particles = dataclasses.replace(
        gas(positions, 1e9, 3e4, 1.0, electron_abundance=FULLY_IONISED),
        internal_energy=rng.uniform(1e5, 2e6, count),
        smoothing_length=rng.uniform(5, 200, count),
    )
    maps = halo_maps(snapshot(particles), halo_at(count * 1e9 / 2, r200), Maps(), np.eye(3)[None])
    total = maps["sz"].sum(dtype=np.float64) * (r200 / 40) ** 2
    assert total == pytest.approx(compton_y_by_pymsz(particles, r200), rel=1e-4)
