"""Every effect on the maps of a view, in the order in which light meets them; another is one more entry here.

An effect has a key of `config.Effects`, and is a function of maps (n, 80, 80), the clusters' places on the sky and a
generator of chance for each map.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config.observe import Effects
from hpc_massmap.observe.beam import blurred
from hpc_massmap.observe.counts import counted, with_sources
from hpc_massmap.observe.missing import without_pixels
from hpc_massmap.observe.noise import noise_in_y, with_noise
from hpc_massmap.observe.sky import Sky
from hpc_massmap.views import UNITS


@dataclass(frozen=True)
class Effect:
    """One effect.

    Attributes
    ----------
    apply : to maps, (n, 80, 80), by the settings of the view
    unit : of the maps that it is for; None for any
    """

    apply: Callable[[FloatArray, Effects, Sky, list[Generator]], FloatArray]
    unit: str | None = None


def _amplitude(maps: FloatArray, settings: Effects, sky: Sky, chance: list[Generator]) -> FloatArray:
    factor = np.exp(settings.amplitude_scatter * np.array([one.standard_normal() for one in chance]))
    return np.asarray(maps * factor[:, None, None])


def _sources(maps: FloatArray, settings: Effects, sky: Sky, chance: list[Generator]) -> FloatArray:
    if settings.sources is None or settings.counts is None:
        return maps
    return with_sources(maps, settings.sources, settings.counts.band_share, sky, chance)


def _beam(maps: FloatArray, settings: Effects, sky: Sky, chance: list[Generator]) -> FloatArray:
    return blurred(maps, settings.beam.fwhm / sky.arcmin) if settings.beam else maps


def _counts(maps: FloatArray, settings: Effects, sky: Sky, chance: list[Generator]) -> FloatArray:
    return counted(maps, settings.counts, sky, chance) if settings.counts else maps


def _noise(maps: FloatArray, settings: Effects, sky: Sky, chance: list[Generator]) -> FloatArray:
    noise = settings.noise
    if noise is None:
        return maps
    sigma = noise_in_y(noise.depth, noise.frequency, sky.arcmin)
    return with_noise(maps, sigma, sky.arcmin, noise.knee, noise.slope, chance)


def _large_scales(maps: FloatArray, settings: Effects, sky: Sky, chance: list[Generator]) -> FloatArray:
    return maps - blurred(maps, settings.large_scales.fwhm / sky.arcmin) if settings.large_scales else maps


def _detection_limit(maps: FloatArray, settings: Effects, sky: Sky, chance: list[Generator]) -> FloatArray:
    return np.where(maps >= settings.detection_limit, maps, 0.0)


def _missing_pixels(maps: FloatArray, settings: Effects, sky: Sky, chance: list[Generator]) -> FloatArray:
    return without_pixels(maps, settings.missing_pixels, chance)


EFFECTS = {
    "amplitude_scatter": Effect(_amplitude),
    "sources": Effect(_sources, UNITS["xray"]),
    "beam": Effect(_beam),
    "counts": Effect(_counts, UNITS["xray"]),
    "noise": Effect(_noise, UNITS["sz"]),
    "large_scales": Effect(_large_scales),
    "detection_limit": Effect(_detection_limit),
    "missing_pixels": Effect(_missing_pixels),
}
