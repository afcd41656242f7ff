"""Whether the mass, the radius and the time of a halo belong together: M200 = 4/3 pi 200 rho_c(z) R200^3.

With M200 in Msun/h and R200 in comoving kpc/h the relation knows nothing of h, so it holds units, overdensity, redshift
and cosmology against each other, and none of them can be wrong alone. A halo of few particles has its radius at the
last of them and so up to a few per cent less than 200 times the critical density inside it; AHF says in `ovdens` how
much it is.
"""

from pathlib import Path

import numpy as np
from astropy import constants as const
from astropy import units as u
from scipy.optimize import brentq

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.sims.particles import Header, Snapshot

OVERDENSITY = 200.0
TOLERANCE = 0.02  # of the mean density inside R200
FEWEST = 0.8  # of 200 critical densities: inside the radius of a halo of some 50 particles
LARGEST_R500 = (OVERDENSITY / 500) ** (1 / 3)  # R200, of any halo with M500 <= M200
LEAST_R500 = 0.2  # R200: no cluster has 2 % of its mass inside R500
FEWEST_GAS = 20  # particles
IN_KERNEL = (3.0, 3000.0)  # particles in a kernel, in the median; of half its radius an eighth
IN_DEPTH = (0.01, 8.0)  # G M200/R200: mean specific energy of the gas in a halo; a temperature in K is 48 times that
HOT = 4e4  # (km/s)^2, above 10^6 K whether ionised or not
LEAST_IONISED, MOST_ELECTRONS = 0.8, 1.6
_RHO_C = (3 * (100 * u.km / u.s / u.Mpc) ** 2 / (8 * np.pi * const.G)).to_value(u.Msun / u.kpc**3)  # h^2, at z = 0


def critical_density(redshift: float | FloatArray, omega_m: float, omega_lambda: float | None = None) -> FloatArray:
    """Of matter, curvature and a cosmological constant, in physical h^2 Msun kpc^-3, of the shape of `redshift`.

    Parameters
    ----------
    omega_lambda : None for a flat universe
    """
    return np.asarray(_RHO_C * _e2(np.asarray(redshift, np.float64), omega_m, _lambda(omega_m, omega_lambda)))


def overdensity(
    m200: FloatArray, r200: FloatArray, redshift: float | FloatArray, omega_m: float, omega_lambda: float | None = None
) -> FloatArray:
    """The mean density inside R200 in critical ones, (n,): 200 where everything fits.

    Parameters
    ----------
    m200 : (n,), Msun/h
    r200 : (n,), physical kpc/h: comoving kpc/h over 1 + z, or physical kpc times h
    """
    volume = 4 / 3 * np.pi * np.asarray(r200, np.float64) ** 3
    return np.asarray(m200 / volume / critical_density(redshift, omega_m, omega_lambda))


def what_it_may_be(
    found: float, expected: float, redshift: float, h: float, omega_m: float, omega_lambda: float | None = None
) -> str:
    """The likeliest reason why a halo's radius holds another density than it should.

    Parameters
    ----------
    found, expected : mean density inside R200 in critical ones, of `overdensity` and as it should be
    """
    lambda_0 = _lambda(omega_m, omega_lambda)
    ratio, a, e2 = found / expected, 1 / (1 + redshift), float(_e2(np.float64(redshift), omega_m, lambda_0))
    matter = omega_m / a**3 / e2
    virial = 18 * np.pi**2 + 82 * (matter - 1) - 39 * (matter - 1) ** 2  # Bryan & Norman (1998)
    reasons = {
        "R200 may be in kpc instead of kpc/h": h**3,
        "M200 may be in Msun instead of Msun/h": 1 / h,
        "both may be without their h": h**2,
        "R200 may be in physical kpc/h instead of comoving": a**-3,
        "a halo finder that found no Omega0 makes such halos": 1 / (a**2 * e2),
    } | {
        f"the halos may be those of {name}": density / found * ratio
        for name, density in (
            ("500 times the critical density", 500.0),
            ("200 times the mean density", 200 * matter),
            ("the virial overdensity", virial),
        )
    }
    near = {reason: abs(np.log(value / ratio)) for reason, value in reasons.items() if abs(np.log(value)) > TOLERANCE}
    best = min(near, key=lambda reason: near[reason])
    told = [best] if near[best] < 2 * TOLERANCE else []
    if abs(np.log10(ratio)) > 2:
        told.append(f"a unit may be wrong, as the density is by {ratio:.2g}")
    fitting = _redshift_of(ratio * e2 * a**3, omega_m, lambda_0)
    if fitting is not None:
        told.append(f"they fit z = {fitting:.3g}")
    return "; or ".join(told or ["check units, redshift, cosmology and overdensity"])


def check_r500(name: str, r500_over_r200: float) -> None:
    """Look at a halo's R500, in R200.

    Raises
    ------
    InputError
        If no halo can have it.
    """
    if not LEAST_R500 < r500_over_r200 < LARGEST_R500 * (1 + TOLERANCE):
        raise InputError(
            f"{name}: R500 = {r500_over_r200:.3g} R200 cannot be, at most {LARGEST_R500:.2g}; check its unit"
        )


def check_cosmology(path: Path, header: Header) -> None:
    """Look at the numbers of a header.

    Raises
    ------
    InputError
        If no universe has one of them.
    """
    if not 0.3 < header.h < 1.5:
        raise InputError(f"{path}: HubbleParam = {header.h:g} cannot be: it is H0 over 100 km/s/Mpc, as 0.6777")
    if not 0 < header.omega_m <= 1.01:
        raise InputError(f"{path}: Omega0 = {header.omega_m:g} cannot be: it is the density of all matter, as 0.307")
    if not -0.01 <= header.omega_lambda < 1.5:
        raise InputError(f"{path}: OmegaLambda = {header.omega_lambda:g} cannot be, as 0.693")


def check_gas(snapshot: Snapshot, centre: FloatArray, m200: float, r200: float) -> None:
    """Look at the gas of a halo: what a wrong unit or a block in another's place makes of it.

    The kernels hold some ten to a thousand particles by their density, the energy is about that of the halo's depth,
    and hot gas is ionised.

    Parameters
    ----------
    centre : (3,), physical kpc
    m200, r200 : Msun/h and physical kpc

    Raises
    ------
    InputError
        If the gas cannot be that of a halo.
    """
    inside = np.flatnonzero(np.sum((snapshot.gas.positions - centre) ** 2, axis=1) <= r200**2)
    if len(inside) < FEWEST_GAS:
        return
    gas, h = snapshot.gas.at(inside), snapshot.header.h
    number = float(np.median(4 / 3 * np.pi * gas.smoothing_length**3 * gas.density / (gas.masses / h)))
    if not IN_KERNEL[0] < number < IN_KERNEL[1]:
        raise InputError(
            f"{snapshot.path}: smoothing length, density and mass of gas do not belong together: a kernel holds "
            f"{number:.2g} particles in the median; check their units, and whether each block is what its name says"
        )
    depth = (const.G * m200 / h * u.Msun / (r200 * u.kpc)).to_value(u.km**2 / u.s**2)
    energy = float(np.average(gas.internal_energy, weights=gas.masses)) / depth
    if not IN_DEPTH[0] < energy < IN_DEPTH[1]:
        raise InputError(
            f"{snapshot.path}: the internal energy of gas is {energy:.2g} G M200/R200 on average, where a halo's is "
            "about 0.5; it must be in (km/s)^2, and neither a temperature nor comoving"
        )
    hot, electrons = gas.internal_energy > HOT, gas.electron_abundance
    if (hot.any() and electrons[hot].mean() < LEAST_IONISED) or electrons.max() > MOST_ELECTRONS:
        raise InputError(
            f"{snapshot.path}: gas has {electrons.min():.3g} to {electrons.max():.3g} electrons per hydrogen nucleus, "
            "where that above 10^6 K has 1.16; is the block what its name says?"
        )


def _lambda(omega_m: float, omega_lambda: float | None) -> float:
    return 1 - omega_m if omega_lambda is None else omega_lambda


def _e2(redshift: FloatArray | np.float64, omega_m: float, omega_lambda: float) -> FloatArray:
    """(H/H0)^2."""
    grown = 1 + redshift
    return np.asarray(omega_m * grown**3 + (1 - omega_m - omega_lambda) * grown**2 + omega_lambda)


def _redshift_of(comoving: float, omega_m: float, omega_lambda: float) -> float | None:
    """Where the critical density in comoving volumes is this, today's being 1; None if nowhere near."""

    def excess(redshift: float) -> float:
        return float(_e2(np.float64(redshift), omega_m, omega_lambda)) / (1 + redshift) ** 3 - comoving

    return float(brentq(excess, 0.0, 4.0)) if excess(0.0) >= -TOLERANCE and excess(0.0) * excess(4.0) < 0 else None
