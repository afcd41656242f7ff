"""The particles of a mock halo, drawn by inverting tables of enclosed mass: no loop over particles or subhalos.

Units are M200, R200 and G = 1; the axes are the principal axes of the halo, its centre the origin.
"""

from dataclasses import dataclass

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.sims.catalogue import nfw_mass
from hpc_massmap.sims.mock_halo import COSMOLOGY, Code, Halo, directions, median_concentration
from hpc_massmap.sims.mock_profiles import CENTRAL_GALAXY_SCALE, DIFFUSE_LIGHT_SCALE, Budget, Profiles, build
from hpc_massmap.sims.particles import BLACK_HOLES, DARK_MATTER, GAMMA, GAS, STARS

GAS_TO_DARK_MATTER = float(COSMOLOGY.Ob0 / (COSMOLOGY.Om0 - COSMOLOGY.Ob0))  # masses of particles; stars are as gas
CLUMP_SCALE = 0.3  # of the tidal radius, of Plummer spheres
SATELLITE_SCALE = 0.04  # of the tidal radius, of Hernquist spheres
BLACK_HOLE_TO_STARS = 0.005  # Kormendy & Ho (2013)
SATELLITES_WITH_BLACK_HOLE = 5


@dataclass(frozen=True)
class Drawn:
    """Particles by type.

    Attributes
    ----------
    positions : (n, 3) of each type
    masses : (n,) of each type
    radii : (gas,), elliptical
    density, internal_energy : (gas,); those of the cold gas, which comes last, mean nothing
    cold : number of cold star-forming gas particles
    """

    positions: dict[int, FloatArray]
    masses: dict[int, FloatArray]
    radii: FloatArray
    density: FloatArray
    internal_energy: FloatArray
    cold: int


@dataclass(frozen=True)
class _Clusters:
    """Where the subhalos are and how far they reach: (n, 3) and (n,)."""

    centres: FloatArray
    tidal: FloatArray
    scale: FloatArray


def draw_particles(halo: Halo, code: Code, snapshot: int, redshift: float, particles: int) -> Drawn:
    """About `particles` particles of a halo with one code's baryons."""
    profiles, budget = build(halo, code, redshift)
    subhalos = _Clusters(halo.subhalos.positions * halo.axes, *tidal_and_scale_radii(halo, redshift))
    unit = _mass_of_dark_matter_particle(budget, particles)
    baryon = unit * GAS_TO_DARK_MATTER
    # counterparts share the dark matter's random numbers, not the baryons'
    dark, baryonic = (np.random.default_rng([halo.seed, halo.number, 3, snapshot, key]) for key in (0, code.key))

    dark_matter = _dark_matter(dark, halo, profiles, budget, subhalos, unit)
    stars = _stars(baryonic, halo, budget, subhalos, baryon)
    hot, density, energy = _hot_gas(baryonic, halo, profiles, budget, subhalos, baryon)
    cold = _cold_gas(baryonic, halo, budget, subhalos, baryon)
    gas = np.concatenate([hot, cold])
    holes, hole_masses = _black_holes(budget, subhalos)
    return Drawn(
        positions={GAS: gas, DARK_MATTER: dark_matter, STARS: stars, BLACK_HOLES: holes},
        masses={
            GAS: np.full(len(gas), baryon),
            DARK_MATTER: np.full(len(dark_matter), unit),
            STARS: np.full(len(stars), baryon),
            BLACK_HOLES: hole_masses,
        },
        radii=np.asarray(np.linalg.norm(gas / halo.gas_axes, axis=1)),
        density=np.concatenate([density, np.ones(len(cold))]),
        internal_energy=np.concatenate([energy, np.ones(len(cold))]),
        cold=len(cold),
    )


def tidal_and_scale_radii(halo: Halo, redshift: float) -> tuple[FloatArray, FloatArray]:
    """Tidal radius of each subhalo (Tormen, Diaferio & Syer 1998) and scale radius of its NFW profile, (n,)."""
    subhalos, concentration = halo.subhalos, halo.concentration_at(redshift)
    x = concentration * subhalos.radii
    slope = (x / (1 + x)) ** 2 / nfw_mass(x)  # d ln M / d ln r of the host
    host = nfw_mass(x) / nfw_mass(concentration)
    tidal = subhalos.radii * (subhalos.masses / ((2 - slope) * host)) ** (1 / 3)
    own = median_concentration(subhalos.masses * halo.mass_at(redshift), redshift)
    return tidal, subhalos.masses ** (1 / 3) / own


def _mass_of_dark_matter_particle(budget: Budget, particles: int) -> float:
    dark_matter = budget.smooth_dark_matter + budget.dark_matter_of_subhalos.sum()
    gas = budget.smooth_gas + budget.cold_gas + budget.gas_of_subhalos.sum()
    stars = budget.central_galaxy + budget.diffuse_light + budget.stars_of_subhalos.sum()
    return float((dark_matter + (gas + stars) / GAS_TO_DARK_MATTER) / particles)


def _dark_matter(
    rng: np.random.Generator, halo: Halo, profiles: Profiles, budget: Budget, subhalos: _Clusters, unit: float
) -> FloatArray:
    smooth = ellipsoid(rng, budget.smooth_dark_matter / unit, profiles.radii, profiles.dark_matter, halo.axes)
    which = _members(rng, budget.dark_matter_of_subhalos / unit)
    x = np.geomspace(1e-4, 1e4, 2000)
    enclosed = rng.random(len(which)) * nfw_mass(subhalos.tidal / subhalos.scale)[which]
    radii = np.interp(enclosed, nfw_mass(x), x) * subhalos.scale[which]
    return np.concatenate([smooth, _around(rng, subhalos, which, radii)])


def _stars(rng: np.random.Generator, halo: Halo, budget: Budget, subhalos: _Clusters, unit: float) -> FloatArray:
    central = _hernquist_ellipsoid(rng, budget.central_galaxy / unit, CENTRAL_GALAXY_SCALE, halo.extent, halo.gas_axes)
    diffuse = _hernquist_ellipsoid(rng, budget.diffuse_light / unit, DIFFUSE_LIGHT_SCALE, halo.extent, halo.axes)
    return np.concatenate([central, diffuse, _satellites(rng, budget.stars_of_subhalos / unit, subhalos)])


def _hot_gas(
    rng: np.random.Generator, halo: Halo, profiles: Profiles, budget: Budget, subhalos: _Clusters, unit: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positions, density and internal energy of the smooth gas and of the clumps in pressure equilibrium with it."""
    smooth = ellipsoid(rng, budget.smooth_gas / unit, profiles.radii, profiles.gas, halo.gas_axes)
    which = _members(rng, budget.gas_of_subhalos / unit)
    size = CLUMP_SCALE * subhalos.tidal[which]
    within = (1 + CLUMP_SCALE**2) ** -1.5  # mass of a Plummer sphere inside the tidal radius
    radii = size / np.sqrt((within * (1 - rng.random(len(which)))) ** (-2 / 3) - 1)
    positions = np.concatenate([smooth, _around(rng, subhalos, which, radii)])
    elliptical = np.linalg.norm(positions / halo.gas_axes, axis=1)
    density = np.interp(elliptical, profiles.radii, profiles.gas_density)
    central = 3 * budget.gas_of_subhalos[which] / within / (4 * np.pi * size**3)
    density[len(smooth) :] += central * (1 + (radii / size) ** 2) ** -2.5
    pressure = np.interp(elliptical, profiles.radii, profiles.pressure)
    return positions, density, pressure / ((GAMMA - 1) * density)


def _cold_gas(rng: np.random.Generator, halo: Halo, budget: Budget, subhalos: _Clusters, unit: float) -> FloatArray:
    """Half of it in the central galaxy, half in the satellites by their stars; all in the former if there are none."""
    stars = budget.stars_of_subhalos
    in_satellites = budget.cold_gas / 2 * stars / stars.sum() if stars.sum() else stars
    number = (budget.cold_gas - in_satellites.sum()) / unit
    central = _hernquist_ellipsoid(rng, number, CENTRAL_GALAXY_SCALE, halo.extent, halo.gas_axes)
    return np.concatenate([central, _satellites(rng, in_satellites / unit, subhalos)])


def _black_holes(budget: Budget, subhalos: _Clusters) -> tuple[FloatArray, FloatArray]:
    richest = np.argsort(-budget.stars_of_subhalos, kind="stable")[:SATELLITES_WITH_BLACK_HOLE]
    stars = np.concatenate([[budget.central_galaxy], budget.stars_of_subhalos[richest]])
    return np.concatenate([np.zeros((1, 3)), subhalos.centres[richest]]), BLACK_HOLE_TO_STARS * stars


def ellipsoid(
    rng: np.random.Generator, number: float, radii: FloatArray, enclosed: FloatArray, axes: FloatArray
) -> FloatArray:
    """Positions whose elliptical radii follow a table of enclosed mass, (number rounded, 3)."""
    n = round(number)
    drawn = np.interp(rng.random(n) * enclosed[-1], enclosed, radii)
    return np.asarray(directions(rng, n) * drawn[:, None] * axes)


def _hernquist_ellipsoid(
    rng: np.random.Generator, number: float, scale: float, extent: float, axes: FloatArray
) -> FloatArray:
    n = round(number)
    radii = hernquist_radii(rng.random(n), scale, extent)
    return np.asarray(directions(rng, n) * radii[:, None] * axes)


def _satellites(rng: np.random.Generator, numbers: FloatArray, subhalos: _Clusters) -> FloatArray:
    which = _members(rng, numbers)
    tidal = subhalos.tidal[which]
    return _around(rng, subhalos, which, hernquist_radii(rng.random(len(which)), SATELLITE_SCALE * tidal, tidal))


def hernquist_radii(uniform: FloatArray, scale: float | FloatArray, truncation: float | FloatArray) -> FloatArray:
    """Radii of a Hernquist (1990) sphere that ends at `truncation`, (n,), from uniform random numbers."""
    root = np.sqrt(uniform) * (truncation / (truncation + scale))
    return np.asarray(scale * root / (1 - root))


def _members(rng: np.random.Generator, numbers: FloatArray) -> IntArray:
    """The subhalo of each particle, when subhalos have `numbers` of them in the mean."""
    total = numbers.sum()
    counts = rng.multinomial(round(total), numbers / total) if total else np.zeros(len(numbers), np.int64)
    return np.repeat(np.arange(len(numbers)), counts)


def _around(rng: np.random.Generator, subhalos: _Clusters, which: IntArray, radii: FloatArray) -> FloatArray:
    return np.asarray(subhalos.centres[which] + directions(rng, len(which)) * radii[:, None])
