"""Radial profiles of a mock halo: all of them in units of M200, R200 and G = 1, on one grid of radii.

The mass of dark matter and gas together is NFW, but for the subhalos' part of it. The gas has the polytropic density
of Komatsu & Seljak (2001), and the pressure that holds it up against all of the mass, the stars included.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.optimize import brentq

from hpc_massmap.arrays import FloatArray
from hpc_massmap.sims.catalogue import nfw_mass
from hpc_massmap.sims.mock_halo import LOG_MASSES, Code, Halo, fibonacci_sphere

INNERMOST, STEPS = 1e-4, 1000

CLUMPED_GAS, COLD_GAS = 0.06, 0.01  # of all gas: bound to subhalos; star-forming
CENTRAL_GALAXY, DIFFUSE_LIGHT = (0.45, 0.20), (0.20, 0.30)  # of all stars, at the two ends of LOG_MASSES
CENTRAL_GALAXY_SCALE, DIFFUSE_LIGHT_SCALE = 0.012, 0.10  # Hernquist (1990) a; half of the mass is inside 2.4 a
STARS_SCATTER = 0.2  # dex, of satellites of the same mass
LEAST_SHARE_INSIDE = 0.3  # of the subhalos' mass: what lies outside R200 is not scaled up beyond that
SPHERE = fibonacci_sphere(1000)


@dataclass(frozen=True)
class Budget:
    """Masses of the components out to the halo's extent; those of subhalos are (n,) each."""

    smooth_dark_matter: float
    smooth_gas: float
    cold_gas: float
    central_galaxy: float
    diffuse_light: float
    dark_matter_of_subhalos: FloatArray
    gas_of_subhalos: FloatArray
    stars_of_subhalos: FloatArray


@dataclass(frozen=True)
class Profiles:
    """The smooth matter of a halo.

    Attributes
    ----------
    radii : (k,), elliptical, out to the halo's extent
    dark_matter, gas : (k,), smooth mass inside
    gas_density, pressure : (k,)
    """

    radii: FloatArray
    dark_matter: FloatArray
    gas: FloatArray
    gas_density: FloatArray
    pressure: FloatArray


def build(halo: Halo, code: Code, redshift: float) -> tuple[Profiles, Budget]:
    """The smooth profiles of a halo in one code, and how its mass is divided."""
    concentration = halo.concentration_at(redshift)
    radii = np.geomspace(INNERMOST, halo.extent, STEPS)
    nfw = nfw_mass(concentration * radii) / nfw_mass(concentration)
    r200 = brentq(lambda r: inside_sphere(r, radii, nfw, halo.axes) - r**3, 0.5, 1.5)
    inside = np.linalg.norm(halo.subhalos.positions * halo.axes, axis=1) < r200

    f_gas, f_star = code.draw_fractions(halo, redshift)
    gas_inside, stars_inside = f_gas * r200**3, f_star * r200**3
    subhalos = halo.subhalos.masses
    clumps, clumped = _shared(CLUMPED_GAS * gas_inside, subhalos, inside)
    cold = COLD_GAS * gas_inside
    central, diffuse = (
        float(np.interp(np.log10(halo.mass_at(redshift)), LOG_MASSES, ends)) for ends in (CENTRAL_GALAXY, DIFFUSE_LIGHT)
    )
    scatter = np.random.default_rng([halo.seed, halo.number, 2, code.key]).normal(0, STARS_SCATTER, len(subhalos))
    satellites, in_satellites = _shared((1 - central - diffuse) * stars_inside, subhalos * 10**scatter, inside)

    def with_inside(mass: float, enclosed: FloatArray, axes: FloatArray) -> FloatArray:
        return enclosed * (mass / inside_sphere(r200, radii, enclosed, axes))

    density, outer_temperature = polytropic_gas(radii, concentration)
    enclosed = enclosed_mass(radii, density)
    gas = with_inside(gas_inside - clumped - cold, enclosed, halo.gas_axes)
    density *= gas[-1] / enclosed[-1]
    of_halo = (stars_inside - in_satellites) / (central + diffuse)
    central_galaxy = with_inside(of_halo * central, hernquist_mass(radii, CENTRAL_GALAXY_SCALE), halo.gas_axes)
    diffuse_light = with_inside(of_halo * diffuse, hernquist_mass(radii, DIFFUSE_LIGHT_SCALE), halo.axes)
    dark_matter = (1 - f_star) * (1 - subhalos[inside].sum() / r200**3) * nfw - gas

    mass = (1 - f_star + in_satellites) * nfw + central_galaxy + diffuse_light
    pressure = hydrostatic_pressure(radii, density, mass, outer_temperature)
    budget = Budget(
        smooth_dark_matter=float(dark_matter[-1]),
        smooth_gas=float(gas[-1]),
        cold_gas=cold,
        central_galaxy=float(central_galaxy[-1]),
        diffuse_light=float(diffuse_light[-1]),
        dark_matter_of_subhalos=subhalos * (1 - f_gas - f_star),
        gas_of_subhalos=clumps,
        stars_of_subhalos=satellites,
    )
    return Profiles(radii, dark_matter, gas, density, pressure), budget


def inside_sphere(radius: float, radii: FloatArray, enclosed: FloatArray, axes: FloatArray) -> float:
    """Mass inside a sphere, of a profile on ellipsoids; `radii` and `enclosed` are (k,)."""
    return float(np.interp(radius / np.linalg.norm(SPHERE * axes, axis=1), radii, enclosed).mean())


def _shared(mass: float, weights: FloatArray, inside: FloatArray) -> tuple[FloatArray, float]:
    """Divide a mass among subhalos so that those inside R200 have `mass`; what each gets, and the sum inside."""
    whole, within = weights.sum(), weights[inside].sum()
    if not within:
        return np.zeros(len(weights)), 0.0
    shares = mass * weights / max(within, LEAST_SHARE_INSIDE * whole)
    return shares, float(shares[inside].sum())


def polytropic_gas(radii: FloatArray, concentration: float) -> tuple[FloatArray, float]:
    """Gas in equilibrium with an NFW halo, parallel to its mass in the outskirts (Komatsu & Seljak 2001).

    Parameters
    ----------
    radii : (k,)

    Returns
    -------
    density, (k,), in units of the central one, and temperature at the last radius, as k_B T / (mu m_p), for a halo
    whose mass is NFW
    """
    c, x = concentration, concentration * radii
    gamma = 1.15 + 0.01 * (c - 6.5)
    eta = 0.00676 * (c - 6.5) ** 2 + 0.206 * (c - 6.5) + 2.48
    b = 3 / eta * (gamma - 1) / gamma * c / nfw_mass(c)
    theta = 1 - b * (1 - np.log1p(x) / x)
    return theta ** (1 / (gamma - 1)), float(eta / 3 * theta[-1])


def enclosed_mass(radii: FloatArray, density: FloatArray) -> FloatArray:
    """Mass inside each radius, (k,); the density is constant within the first."""
    core = 4 / 3 * np.pi * radii[0] ** 3 * density[0]
    shells = cumulative_trapezoid(4 * np.pi * radii**3 * density, np.log(radii), initial=0)
    return np.asarray(core + shells)


def hydrostatic_pressure(
    radii: FloatArray, density: FloatArray, mass: FloatArray, outer_temperature: float
) -> FloatArray:
    """Pressure whose gradient is -rho G M / r^2, (k,); `outer_temperature` is k_B T / (mu m_p) at the last radius."""
    weight = cumulative_trapezoid((density * mass / radii)[::-1], np.log(radii)[::-1], initial=0)[::-1]
    return np.asarray(density[-1] * outer_temperature - weight)


def hernquist_mass(radii: FloatArray, scale: float) -> FloatArray:
    """Mass inside each radius, of the whole (Hernquist 1990, eq. 3)."""
    return np.asarray((radii / (radii + scale)) ** 2)
