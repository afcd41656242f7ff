"""The mock universe: regions of particles about mock halos, as a snapshot and a halo finder would show them.

It exists for scale, benchmarks and statistics, never in place of simulated data: nothing in it has evolved.
A halo is triaxial NFW with tidally truncated subhalos. Its gas is rounder, on average in hydrostatic equilibrium, with
clumps in pressure equilibrium and some cold star-forming gas; its stars are a central galaxy, satellites and diffuse
light. Traded away for speed: velocities are Gaussian, gas densities are those of the profiles and not of neighbouring
particles, and a halo is alone in its region.

The particles are drawn in units of the halo; then all is scaled, density kept, so that M200 measured from the
particles is the mass that was asked for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import constants as const
from astropy import units as u

from hpc_massmap.arrays import FloatArray
from hpc_massmap.sims.mock_halo import COSMOLOGY, REDSHIFTS, Code, Halo
from hpc_massmap.sims.mock_particles import Drawn, draw_particles
from hpc_massmap.sims.particles import FULLY_IONISED, GAMMA, GAS, HYDROGEN_FRACTION, STARS

LITTLE_H = float(COSMOLOGY.h)
MASS_UNIT = 1e10  # Msun/h
CODE_MASS = MASS_UNIT * u.Msun / LITTLE_H
CODE_LENGTH = u.kpc / LITTLE_H
CODE_DENSITY = CODE_MASS / CODE_LENGTH**3
CODE_ENERGY = (u.km / u.s) ** 2
G = float(const.G.to_value(CODE_LENGTH * CODE_ENERGY / CODE_MASS))

COLD_TEMPERATURE, COLD_ELECTRONS = 1e4 * u.K, 0.1
COLD_DENSITY = 1.0 / u.cm**3  # of hydrogen nuclei
CONSUMPTION_TIME = 2.1 * u.Gyr  # of star-forming gas (Springel & Hernquist 2003)
SOLAR_METALLICITY = 0.0134  # Asplund et al. (2009)
METALLICITY, CENTRAL_METALLICITY, METALLIC_CORE = 0.3, 0.8, 0.05  # solar, solar, R200 (after Leccardi & Molendi 2008)
METALLICITY_SCATTER = 0.15  # dex
TURBULENCE = 0.2  # velocities of the gas over those of the dark matter

Blocks = dict[str, Any]


@dataclass(frozen=True)
class Region:
    """One region at one time, in code units: comoving kpc/h, 1e10 Msun/h, km/s.

    Attributes
    ----------
    particles : type -> name of the block in GADGET's HDF5 files -> float32, (n,) or (n, 3)
    catalogue : column of AHF -> value for the halo, in comoving kpc/h and Msun/h
    """

    code: Code
    halo: Halo
    snapshot: int
    redshift: float
    particles: dict[int, Blocks]
    catalogue: dict[str, float]


def draw_region(halo: Halo, code: Code, snapshot: int, particles: int) -> Region:
    """About `particles` particles of a halo with one code's baryons, and what a halo finder says of it.

    Parameters
    ----------
    snapshot : number, one of `REDSHIFTS`
    """
    redshift = REDSHIFTS[snapshot]
    a = 1 / (1 + redshift)
    drawn = draw_particles(halo, code, snapshot, redshift, particles)
    profile = enclosed_mass(drawn)
    of_model = overdensity_radius(*profile, 1.0), overdensity_radius(*profile, 2.5)
    stretch = 1 / of_model[0]
    m200 = halo.mass_at(redshift) / MASS_UNIT
    r200 = r200_of(m200, redshift)
    length = r200 * stretch
    energy = G * m200 / r200 * stretch**2

    rng = np.random.default_rng([halo.seed, halo.number, 4, snapshot, code.key])
    blocks: dict[int, Blocks] = {}
    for kind, positions in drawn.positions.items():
        speed = np.sqrt(energy / 2 / a) * (TURBULENCE if kind == GAS else 1.0)
        blocks[kind] = {
            "Coordinates": _float32(halo.centre + (length / a) * (positions @ halo.rotation.T)),
            "Velocities": rng.standard_normal(positions.shape, np.float32) * np.float32(speed),
            "Masses": _float32(drawn.masses[kind] * (m200 * stretch**3)),
        }
    blocks[GAS] |= _gas_blocks(rng, drawn, code, m200 / r200**3 * a**3, energy, a, blocks[GAS]["Masses"])
    blocks[STARS]["Metallicity"] = _float32(_metallicity(rng, np.full(len(drawn.positions[STARS]), 1.0)))
    return Region(code, halo, snapshot, redshift, blocks, _catalogue(halo, drawn, of_model, redshift, m200, length))


def r200_of(m200: float, redshift: float) -> float:
    """R200 in physical kpc/h, for M200 in 1e10 Msun/h."""
    critical = float(COSMOLOGY.critical_density(redshift).to_value(CODE_DENSITY))
    return float((m200 / (800 / 3 * np.pi * critical)) ** (1 / 3))


def enclosed_mass(drawn: Drawn) -> tuple[FloatArray, FloatArray]:
    """Radii of all particles in ascending order, and the mass up to each, (n,) both."""
    radii = np.concatenate([np.linalg.norm(positions, axis=1) for positions in drawn.positions.values()])
    order = np.argsort(radii)
    return radii[order], np.cumsum(np.concatenate(list(drawn.masses.values()))[order])


def overdensity_radius(radii: FloatArray, enclosed: FloatArray, density: float) -> float:
    """Outermost radius inside which the mean density is `density` times 200 critical ones, in R200 of the model.

    Parameters
    ----------
    radii : (n,), in R200 of the model, increasing
    enclosed : (n,), mass inside them, in its M200
    """
    dense = np.flatnonzero(enclosed >= density * radii**3)
    return float((enclosed[dense[-1]] / density) ** (1 / 3))


def _gas_blocks(
    rng: np.random.Generator,
    drawn: Drawn,
    code: Code,
    density_unit: float,
    energy_unit: float,
    a: float,
    masses: FloatArray,
) -> Blocks:
    cold = slice(len(masses) - drawn.cold, None)
    density = drawn.density * density_unit
    density[cold] = (COLD_DENSITY * const.m_p / HYDROGEN_FRACTION).to_value(CODE_DENSITY) * a**3
    energy = drawn.internal_energy * energy_unit
    molecular_weight = 4 / (1 + 3 * HYDROGEN_FRACTION + 4 * HYDROGEN_FRACTION * COLD_ELECTRONS)
    per_mass = const.k_B * COLD_TEMPERATURE / ((GAMMA - 1) * molecular_weight * const.m_p)
    energy[cold] = per_mass.to_value(CODE_ENERGY)
    electrons = np.full(len(masses), FULLY_IONISED)
    electrons[cold] = COLD_ELECTRONS
    star_formation = np.zeros(len(masses))
    star_formation[cold] = masses[cold] * (CODE_MASS / CONSUMPTION_TIME).to_value(u.Msun / u.yr)
    core = 1 / (1 + (drawn.radii / METALLIC_CORE) ** 2)
    metallicity = METALLICITY + (CENTRAL_METALLICITY - METALLICITY) * core
    metallicity[cold] = 1.0
    return {
        "InternalEnergy": _float32(energy),
        "Density": _float32(density),
        "ElectronAbundance": _float32(electrons),
        "SmoothingLength": _float32(np.cbrt(3 * code.neighbours / (4 * np.pi) * masses / density)),
        "StarFormationRate": _float32(star_formation),
        "Metallicity": _float32(_metallicity(rng, metallicity)),
    }


def _metallicity(rng: np.random.Generator, solar: FloatArray) -> FloatArray:
    """Mass fractions about a median in solar units."""
    return SOLAR_METALLICITY * solar * 10 ** (METALLICITY_SCATTER * rng.standard_normal(len(solar)))


def _catalogue(
    halo: Halo, drawn: Drawn, radii: tuple[float, float], redshift: float, m200: float, length: float
) -> dict[str, float]:
    """What a halo finder measures inside R200, from the particles; `radii` are R200 and R500 in units of the model."""
    r200, r500 = radii
    mass_unit = m200 * MASS_UNIT / r200**3
    inside = {kind: np.linalg.norm(positions, axis=1) < r200 for kind, positions in drawn.positions.items()}
    mass = {kind: float(drawn.masses[kind][within].sum()) * mass_unit for kind, within in inside.items()}
    number = {kind: int(within.sum()) for kind, within in inside.items()}
    x, y, z = halo.centre
    to_comoving = length * (1 + redshift)
    return {
        "numSubStruct": int(np.sum(halo.subhalos.radii < r200)),
        "Mvir": sum(mass.values()),
        "npart": sum(number.values()),
        **{"Xc": x, "Yc": y, "Zc": z},
        "Rvir": r200 * to_comoving,
        "b": halo.axes[1] / halo.axes[0],
        "c": halo.axes[2] / halo.axes[0],
        "ovdens": 200,
        "fMhires": 1,
        "cNFW": halo.concentration_at(redshift),
        "n_gas": number[GAS],
        "M_gas": mass[GAS],
        "n_star": number[STARS],
        "M_star": mass[STARS],
        "M_500": 2.5 * r500**3 * mass_unit,
        "R_500": r500 * to_comoving,
    }


def _float32(values: FloatArray) -> FloatArray:
    return values.astype(np.float32)
