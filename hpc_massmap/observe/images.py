"""FITS images of photons: read, made a map of one's own, written with where its pixels are and how large."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config.observe import Counts
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.observe.counts import ERG
from hpc_massmap.observe.photons import brightness_of
from hpc_massmap.observe.sky import distances
from hpc_massmap.storage import replacing
from hpc_massmap.yamlfile import read_with_parents, validated

WHERE = "observe.views.xray.counts"


def read_telescope(path: Path) -> Counts:
    """What a photon is worth, by an instrument's file or a config.

    Raises
    ------
    InputError
        If it says nothing of X-ray photons, or nothing valid.
    """
    found: Any = read_with_parents(path, (), {})
    for key in WHERE.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise InputError(f"{path}: no {WHERE}, which would tell what a photon is worth")
    return validated(Counts, found, {}, f"{path}: {WHERE}")


def write_brightness(
    out: Path, images: tuple[Path, Path, Path], telescope: Counts, redshift: float, h: float, omega_m: float
) -> str:
    """Make NAME_xray.fits of counts, background and exposure, whole or not at all; a line on what it is.

    Raises
    ------
    InputError
        If an image cannot be read, is of another field, or does not say where it is; or the redshift is not above 0.
    """
    if not 0 < redshift <= 20 or not 0 < h < 1.5 or not 0 < omega_m <= 1:
        raise InputError(f"redshift = {redshift:g}, h = {h:g}, Omega_m = {omega_m:g}: no universe that a cluster is in")
    (counts, header), *others = (_read(path) for path in images)
    wcs, first = _wcs_of(images[0], header), counts.shape
    for path, (_, of_other) in zip(images[1:], others, strict=True):
        if not np.allclose(_corners(_wcs_of(path, of_other), first), _corners(wcs, first), atol=1e-3):
            raise InputError(f"{path}: its pixels are not where those of {images[0]} are on the sky")
    across, up = proj_plane_pixel_scales(wcs)
    if abs(across / up - 1) > 1e-3:
        raise InputError(f"{images[0]}: its pixels are not square; resample it first")
    arcmin = float(across) * 60
    (background, _), (exposure, _) = others
    found = brightness_of(counts, background, exposure, arcmin, telescope, redshift, h, omega_m)
    side = np.deg2rad(arcmin / 60) / distances(redshift, h, omega_m)[0]
    header = wcs.to_header()
    header["BUNIT"], header["PIXEL"], header["REDSHIFT"] = "erg s-1 kpc-2", f"{side:.6g} kpc", redshift
    header["HUBBLE"] = h
    header.add_history(f"from {', '.join(path.name for path in images)}")
    header.add_history(f"{telescope.conversion:g} counts cm2 erg-1, share of the band {telescope.band_share:g}")
    with replacing(out) as temporary:
        fits.PrimaryHDU((found * ERG).astype(np.float64), header).writeto(temporary, overwrite=True)
    net = float((counts - background)[exposure > 0].sum())
    return f"{out}: {net:.0f} photons above the background, pixels of {side:.4g} kpc; give its R200 (docs/apply.md)"


def _read(path: Path) -> tuple[FloatArray, fits.Header]:
    if not path.is_file():
        raise InputError(f"{path}: no such image")
    with in_one_line(f"{path}: not a readable FITS image"), fits.open(path) as file:
        pixels, header = file[0].data, file[0].header.copy()
    if pixels is None or pixels.ndim != 2:
        raise InputError(f"{path}: its first image has no two axes")
    return np.asarray(pixels, np.float64), header


def _wcs_of(path: Path, header: fits.Header) -> WCS:
    with in_one_line(f"{path}: its WCS cannot be used"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # of old names for what it understands
        wcs = WCS(header, naxis=2, fix=False)
        wcs.wcs.set()
    if not wcs.has_celestial:
        raise InputError(f"{path}: does not say where its pixels are on the sky (WCS)")
    return wcs


def _corners(wcs: WCS, shape: tuple[int, ...]) -> FloatArray:
    return np.asarray(wcs.wcs_pix2world([[0, 0], [shape[1] - 1, 0], [0, shape[0] - 1]], 0))
