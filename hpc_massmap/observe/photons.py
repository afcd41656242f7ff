"""A real X-ray image as a map: counts, their background and exposure, to what left the cluster.

The way back from `counts.counted`: what a network sees of an image is what it saw of simulations through the same
telescope, photons included.
"""

import warnings

import numpy as np
from astropy.convolution import Gaussian2DKernel, interpolate_replace_nans
from astropy.utils.exceptions import AstropyUserWarning

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config.observe import Counts
from hpc_massmap.errors import InputError
from hpc_massmap.observe.counts import ERG
from hpc_massmap.observe.sky import distances

FILLED_FROM = 2.0  # pixels, standard deviation of the Gaussian by which holes take from their surroundings


def brightness_of(
    counts: FloatArray,
    background: FloatArray,
    exposure: FloatArray,
    arcmin: float,
    telescope: Counts,
    redshift: float,
    h: float,
    omega_m: float,
) -> FloatArray:
    """Surface brightness of an image, (ny, nx), in 1e40 erg s^-1 kpc^-2 of the map's band: (ny, nx).

    Counts less background over the exposure are a flux, by `telescope.conversion`; 4 pi D_L^2 and the area of a pixel
    at the cluster make it a surface brightness; over `telescope.band_share` it is that of the whole band. The exposure
    of the telescope's own settings is not used. Holes, where the exposure is 0, are filled from around them.

    Parameters
    ----------
    counts, background : (ny, nx), photons in each pixel, found and expected
    exposure : (ny, nx), s, with the vignetting; 0 where nothing was seen
    arcmin : along a side of a pixel

    Raises
    ------
    InputError
        If the three are no images of one field, or nothing was exposed.
    """
    if not counts.shape == background.shape == exposure.shape:
        shapes = ", ".join(str(image.shape) for image in (counts, background, exposure))
        raise InputError(f"counts, background and exposure are not of one field: {shapes} pixels")
    if not np.all(np.isfinite(counts) & np.isfinite(background) & np.isfinite(exposure)) or not (exposure >= 0).all():
        raise InputError("counts, background or exposure has a pixel that is not finite, or an exposure below 0")
    if not (exposure > 0).any():
        raise InputError("no pixel has an exposure above 0 s")
    per_kpc, distance = distances(redshift, h, omega_m)  # radians of a kpc, cm
    side = np.deg2rad(arcmin / 60) / per_kpc
    seen = exposure > 0
    rate = np.divide(counts - background, exposure, out=np.full(counts.shape, np.nan), where=seen)
    flux = rate / telescope.conversion  # erg s^-1 cm^-2
    found = flux * 4 * np.pi * distance**2 / (telescope.band_share * side**2) / ERG
    if not seen.all():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # holes that are larger are 0
            found = interpolate_replace_nans(found, Gaussian2DKernel(FILLED_FROM), boundary="extend")
    return np.where(np.isfinite(found), found, 0.0)  # far from all that was exposed
