"""Where a cluster is on the sky: the angle of a pixel, and how far away its light is."""

from dataclasses import dataclass

import numpy as np
from astropy.cosmology import FlatLambdaCDM

from hpc_massmap.arrays import PIXELS, FloatArray


@dataclass(frozen=True)
class Sky:
    """Some clusters as they are seen.

    Attributes
    ----------
    pixel : (n,), kpc along a side
    arcmin : (n,), along a side of a pixel; infinite at redshift 0
    distance : (n,), cm, of luminosity
    """

    pixel: FloatArray
    arcmin: FloatArray
    distance: FloatArray


def distances(redshift: float, h: float, omega_m: float) -> tuple[float, float]:
    """Radians that a kpc is seen under, and the luminosity distance (cm), in a flat universe."""
    cosmology = FlatLambdaCDM(H0=100 * h, Om0=omega_m)
    away = float(cosmology.angular_diameter_distance(redshift).to_value("kpc"))
    return 1 / away, float(cosmology.luminosity_distance(redshift).to_value("cm"))


def sky_of(redshift: FloatArray, r200: FloatArray, h: float, omega_m: float) -> Sky:
    """Clusters of that R200, (n,) in kpc, at those redshifts, (n,), in a flat universe."""
    cosmology = FlatLambdaCDM(H0=100 * h, Om0=omega_m)
    pixel = np.asarray(r200 / (PIXELS / 2))
    away = cosmology.angular_diameter_distance(redshift).to_value("kpc")
    with np.errstate(divide="ignore"):
        arcmin = np.rad2deg(pixel / away) * 60
    return Sky(pixel, arcmin, cosmology.luminosity_distance(redshift).to_value("cm"))
