"""X-ray photons that a telescope counts: of a cluster, of point sources in its field and of the background."""

import numpy as np
from numpy.random import Generator

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config.observe import Counts, Sources
from hpc_massmap.errors import InputError
from hpc_massmap.observe.sky import Sky

MOST = 1e12  # photons in a pixel, more than any telescope has seen
ERG = 1e40  # of a unit of the maps


def counts_per_unit(effect: Counts, sky: Sky) -> FloatArray:
    """Expected counts in a pixel of 1e40 erg s^-1 kpc^-2, of each cluster: (n,).

    The flux of a pixel is its luminosity over 4 pi D_L^2. The spectrum is not shifted: `band_share` is of the light
    that leaves the cluster with energies that the telescope sees.
    """
    flux = ERG * effect.band_share * sky.pixel**2 / (4 * np.pi * sky.distance**2)  # erg s^-1 cm^-2
    return np.asarray(flux * effect.conversion * effect.exposure)


def counted(maps: FloatArray, effect: Counts, sky: Sky, chance: list[Generator]) -> FloatArray:
    """Poisson counts of maps (n, 80, 80) in 1e40 erg s^-1 kpc^-2: (n, 80, 80).

    Returns
    -------
    (n, 80, 80), counts in each pixel; or, `subtracted`, in the unit of `maps`: less the expected background, over the
    counts of a unit, so that their mean is the map and some are below 0

    Raises
    ------
    InputError
        If there are more photons than can be: a unit is wrong.
    """
    unit = counts_per_unit(effect, sky)[:, None, None]
    background = (effect.background * effect.exposure * sky.arcmin**2)[:, None, None]
    expected = maps * unit + background
    if expected.max() > MOST:
        raise InputError(
            f"observe: {expected.max():.1g} photons in a pixel; check exposure, conversion and background of counts"
        )
    found = np.stack([one.poisson(mean) for one, mean in zip(chance, expected, strict=True)]).astype(np.float64)
    return found if effect.output == "counts" else np.asarray((found - background) / unit)


def with_sources(
    maps: FloatArray, sources: Sources, band_share: float, sky: Sky, chance: list[Generator]
) -> FloatArray:
    """Maps (n, 80, 80) in 1e40 erg s^-1 kpc^-2 with point sources, each in one pixel: (n, 80, 80).

    A source of flux S is as bright as what of the cluster would be seen with that flux: S 4 pi D_L^2 / `band_share`.
    """
    area = maps[0].size * (sky.arcmin / 60) ** 2  # deg^2
    per_flux = 4 * np.pi * sky.distance**2 / (ERG * band_share * sky.pixel**2)
    seen = np.array(maps, np.float64)
    for n, one in enumerate(chance):
        flux = fluxes(sources, float(area[n]), one)
        places = one.integers(0, maps.shape[1:], (len(flux), 2))
        np.add.at(seen[n], tuple(places.T), flux * per_flux[n])
    return seen


def fluxes(sources: Sources, area: float, chance: Generator) -> FloatArray:
    """Fluxes, (n,) in erg s^-1 cm^-2, of the sources in `area` deg^2: N(>S) = density (S/faintest)^-slope."""
    least = (sources.brightest / sources.faintest) ** -sources.slope  # share that is brighter still
    number = chance.poisson(sources.density * area * (1 - least))
    return np.asarray(sources.faintest * chance.uniform(least, 1, number) ** (-1 / sources.slope))
