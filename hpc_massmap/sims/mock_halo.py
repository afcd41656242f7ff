"""The mock universe, one halo at a time: its mass, shape and subhalos, and what two "codes" make of its baryons.

Mock halos are for scale, benchmarks and statistics, never in place of simulated ones: nothing here was simulated.
Each is drawn from published fits with a generator of its own, so that it does not depend on how many are asked for.
Lengths are in units of R200, masses of M200, unless a name or a docstring says otherwise.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from scipy.spatial.transform import Rotation

from hpc_massmap.arrays import FloatArray
from hpc_massmap.sims.catalogue import nfw_mass

COSMOLOGY = FlatLambdaCDM(H0=67.8, Om0=0.307, Ob0=0.048)  # The300's (Planck Collaboration 2016)
REDSHIFTS = {123: 0.117, 124: 0.093, 125: 0.069, 126: 0.045, 127: 0.022, 128: 0.0}  # of The300's snapshots
LOG_MASSES = (13.5, 15.4)  # log10 M200/(Msun/h) at z = 0, drawn flat
LEAST_EXTENT = 2.5
MINOR_AXIS_EXTENT = 1.9  # so that the corners of a map's cube, at sqrt(3), have matter
GOLDEN_RATIO = (1 + 5**0.5) / 2

GROWTH = (0.9, 0.3)  # mean and scatter of alpha in M(z) = M(0) exp(-alpha z) (Wechsler et al. 2002)
CONCENTRATION_SCATTER = 0.11  # dex (Dutton & Maccio 2014)
SHAPE_MASS, SHAPE_SCATTER = 8e12, 0.1  # Msun/h, of Allgood et al. (2006)
ROUNDNESS_OF_GAS = 1 / 3  # ellipticity of equipotentials over that of the mass (Binney & Tremaine 2008)
SUBHALO_MASSES = (1e-4, 0.3)


@dataclass(frozen=True)
class Subhalos:
    """The subhalos of a halo, those outside R200 included.

    Attributes
    ----------
    masses : (n,)
    positions : (n, 3), of a spherical host; `Halo.axes` stretches them
    """

    masses: FloatArray
    positions: FloatArray

    @property
    def radii(self) -> FloatArray:
        return np.asarray(np.linalg.norm(self.positions, axis=1))


@dataclass(frozen=True)
class Halo:
    """What counterpart regions and all snapshots of a region share.

    Attributes
    ----------
    m200 : Msun/h, at z = 0
    growth : alpha of `GROWTH`
    concentration_offset : dex from the median
    axes : (3,), of the ellipsoids of equal density, longest first; their product is 1
    rotation : (3, 3), from the principal axes to the box
    centre : (3,), comoving kpc/h
    """

    seed: int
    number: int
    m200: float
    growth: float
    concentration_offset: float
    axes: FloatArray
    rotation: FloatArray
    centre: FloatArray
    subhalos: Subhalos

    @property
    def name(self) -> str:
        return region_name(self.number)

    @property
    def gas_axes(self) -> FloatArray:
        return np.asarray(self.axes**ROUNDNESS_OF_GAS)

    @cached_property
    def extent(self) -> float:
        """Radius of the outermost ellipsoid."""
        return extent_of(self.axes)

    def mass_at(self, redshift: float) -> float:
        """M200 in Msun/h."""
        return float(self.m200 * np.exp(-self.growth * redshift))

    def concentration_at(self, redshift: float) -> float:
        median = median_concentration(np.array(self.mass_at(redshift)), redshift)
        return float(median * 10**self.concentration_offset)


def region_name(number: int) -> str:
    """The folder of a region, as The300 calls it."""
    return f"NewMDCLUSTER_{number:04d}"


def draw_halo(seed: int, number: int) -> Halo:
    """The halo of region `number`, counted from 1; the same whatever else is drawn.

    Masses follow the golden-ratio sequence, which is flat for any number of halos.
    """
    start = np.random.default_rng([seed, 0]).random()
    low, high = LOG_MASSES
    m200 = float(10 ** (low + (high - low) * ((start + number * GOLDEN_RATIO) % 1)))
    rng = np.random.default_rng([seed, number, 0])
    axes = draw_axes(rng, m200)
    offset = rng.normal(0, CONCENTRATION_SCATTER)
    concentration = float(median_concentration(np.array(m200), 0.0) * 10**offset)
    return Halo(
        seed,
        number,
        m200,
        growth=max(0.0, rng.normal(*GROWTH)),
        concentration_offset=offset,
        axes=axes,
        rotation=Rotation.from_quat(rng.normal(size=4)).as_matrix(),
        centre=rng.uniform(5e4, 9.5e5, 3),  # in MultiDark's box of 1 Gpc/h
        subhalos=draw_subhalos(rng, m200, concentration, 10**-offset, extent_of(axes)),
    )


def draw_axes(rng: np.random.Generator, m200: float) -> FloatArray:
    """Axes of a halo, (3,), longest first, of product 1.

    Shortest over longest from Allgood et al. (2006); the middle one from Jing & Suto (2002), whose
    distribution of shortest over middle is a beta distribution.
    """
    c_a = float(np.clip(rng.normal(0.54 * (m200 / SHAPE_MASS) ** -0.05, SHAPE_SCATTER), 0.35, 0.95))
    least = max(c_a, 0.5)
    c_b = least + (1 - least) * rng.beta(2, 2)
    axes = np.array([1, c_a / c_b, c_a])
    return np.asarray(axes / np.prod(axes) ** (1 / 3))


def extent_of(axes: FloatArray) -> float:
    """How far an ellipsoid of axes (3,) must reach to hold all that a map may show."""
    return float(max(LEAST_EXTENT, MINOR_AXIS_EXTENT / axes.min()))


def draw_subhalos(
    rng: np.random.Generator, m200: float, concentration: float, abundance: float, extent: float
) -> Subhalos:
    """Subhalos out to `extent`: masses after Giocoli et al. (2010), radii from a less concentrated NFW profile.

    Subhalos are less concentrated than the mass (Nagai & Kravtsov 2005); half the host's concentration is our choice.

    Parameters
    ----------
    abundance : mean over own concentration: late halos have more subhalos
    """
    fractions = np.geomspace(*SUBHALO_MASSES, 300)
    per_log_mass = 9.33e-4 * m200**0.1 * fractions**-0.9 * np.exp(-12.2715 * fractions**3)
    number = np.concatenate([[0.0], np.cumsum(np.diff(np.log(fractions)) * (per_log_mass[1:] + per_log_mass[:-1]) / 2)])
    spread = concentration / 2
    inside = nfw_mass(spread) / nfw_mass(spread * extent)  # share of them within R200
    n = rng.poisson(abundance * number[-1] / inside)
    masses = np.interp(rng.random(n), number / number[-1], fractions)
    radii = np.geomspace(1e-2, extent, 300)
    enclosed = nfw_mass(spread * radii)
    positions = directions(rng, n) * np.interp(rng.random(n), enclosed / enclosed[-1], radii)[:, None]
    return Subhalos(masses, positions)


def directions(rng: np.random.Generator, n: int) -> FloatArray:
    """Isotropic unit vectors, (n, 3)."""
    z = rng.uniform(-1, 1, n)
    phi = rng.uniform(0, 2 * np.pi, n)
    across = np.sqrt(1 - z**2)
    return np.column_stack([across * np.cos(phi), across * np.sin(phi), z])


def fibonacci_sphere(n: int) -> FloatArray:
    """Unit vectors that cover the sphere evenly, (n, 3)."""
    steps = np.arange(n)
    z = 1 - (2 * steps + 1) / n
    phi = 2 * np.pi * steps * GOLDEN_RATIO
    across = np.sqrt(1 - z**2)
    return np.column_stack([across * np.cos(phi), across * np.sin(phi), z])


def median_concentration(m200: FloatArray, redshift: float) -> FloatArray:
    """R200 over the scale radius, for M200 in Msun/h, any shape (Dutton & Maccio 2014, for Planck)."""
    slope = -0.101 + 0.026 * redshift
    zero = 0.520 + (0.905 - 0.520) * np.exp(-0.617 * redshift**1.21)
    return np.asarray(10 ** (zero + slope * np.log10(m200 / 1e12)))


@dataclass(frozen=True)
class Code:
    """What a simulation code makes of the baryons, as fractions of M200 inside R200.

    Fractions are power laws of mass between the two ends of `LOG_MASSES`, with a scatter that shrinks towards the
    massive end, where both codes agree (figs. A2 and A3; the paper prints no numbers, these are plausible ones).

    Attributes
    ----------
    key : separates the random numbers of the two codes
    catalogue : how its AHF files are called
    gas, stars : fractions at the low and at the high end
    neighbours : in the kernel of a gas particle
    """

    name: str
    key: int
    catalogue: str
    gas: tuple[float, float]
    stars: tuple[float, float]
    neighbours: int

    def median_fractions(self, m200: float) -> FloatArray:
        """Gas and stars, (2,), for M200 in Msun/h."""
        low, high = LOG_MASSES
        place = (np.log10(m200) - low) / (high - low)
        ends = np.log([self.gas, self.stars])
        return np.asarray(np.exp(ends[:, 0] + (ends[:, 1] - ends[:, 0]) * place))

    def draw_fractions(self, halo: Halo, redshift: float) -> FloatArray:
        """Gas and stars of one halo, (2,); its offset from the median is the same at all redshifts."""
        m200 = halo.mass_at(redshift)
        offset = np.random.default_rng([halo.seed, halo.number, 1, self.key]).normal(size=2)
        return np.asarray(self.median_fractions(m200) * 10 ** (fraction_scatter(m200) * offset))


def fraction_scatter(m200: float) -> float:
    """Scatter of gas and stellar fractions in dex."""
    return float(np.interp(np.log10(m200), LOG_MASSES, (0.06, 0.02)))


# GADGET-X keeps its gas and turns more of it into stars in groups; GIZMO-SIMBA's jets drive it out of them
CODES = {
    "GADGET-X": Code("GADGET-X", 1, "GadgetX", gas=(0.105, 0.140), stars=(0.045, 0.022), neighbours=200),
    "GIZMO-SIMBA": Code("GIZMO-SIMBA", 2, "GIZMO", gas=(0.060, 0.138), stars=(0.028, 0.021), neighbours=64),
}
