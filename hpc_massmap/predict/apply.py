"""A trained model on maps of a user's own: each cluster from its views to a FITS file of each target.

Ranks take clusters as they come. A cluster is a batch of its own, so its result does not depend on the others.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import torch
from astropy.io import fits
from astropy.units import Quantity

from hpc_massmap import __version__
from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.balance import balanced
from hpc_massmap.diagnostics.calibration import Calibration
from hpc_massmap.diagnostics.likeness import UNLIKE, Reference
from hpc_massmap.errors import InputError
from hpc_massmap.predict.forward import prepared
from hpc_massmap.predict.own_errors import OwnErrors, errors_of, extensions, masses
from hpc_massmap.predict.own_files import OwnMap
from hpc_massmap.predict.own_maps import Cluster, read_view
from hpc_massmap.predict.own_units import factor_to
from hpc_massmap.storage import replacing
from hpc_massmap.train.trained import TrainedModel
from hpc_massmap.units import to_file
from hpc_massmap.views import UNITS

if TYPE_CHECKING:
    from mpi4py import MPI

STRANGE = 1e3  # a map whose mean is so many times the training maps', or so small a part of it, has a wrong unit
WITHOUT_H = "solMass kpc-2"


def apply_model(
    model: TrainedModel,
    clusters: dict[str, Cluster],
    out: Path,
    comm: "MPI.Intracomm",
    on_done: Callable[[str], None],
    samples: int = 0,
    seed: int = 0,
    calibration: Calibration | None = None,
    reference: Reference | None = None,
) -> FloatArray:
    """Write `out`/NAME_TARGET.fits for every cluster, each whole or not at all. To be called by all ranks.

    Parameters
    ----------
    samples, seed : how many are drawn of each cluster, by which seed
    calibration : by which the intervals of the model are widened
    on_done : told on the first rank what was strange about a cluster, if anything, else an empty text
    reference : what the maps look like that the model was made from, if it is known

    Returns
    -------
    On the first rank the p-values of the clusters of being like those, (n,); NaN if they are not known

    Raises
    ------
    InputError
        If a map has a pixel that is not finite, or that the model's normalisation does not take.
    """
    says, threads = prepared(model, comm)
    names = list(clusters)
    likeness = np.full(len(names), np.nan)

    def work(task: int) -> tuple[str, float]:
        cluster = clusters[names[task]]
        maps, normalised = normalised_views(model, cluster, names[task])
        said = says(normalised, np.array([crc32(names[task].encode())]))
        predicted = errors_of(said, model, samples, seed, calibration)
        for of in predicted:
            for values in (of.mean, of.samples):
                _check_finite(values, cluster, names[task], "gives no number")
        p = float(reference.p_values(maps[None])[0]) if reference is not None else np.nan
        for target, of in zip(model.description.targets, predicted, strict=True):
            _write(out / f"{names[task]}_{target}.fits", of, target, cluster, model, p)
        notes = [strangeness(maps, cluster, model)]
        if p < UNLIKE:
            notes.append(f"{names[task]}: does not look like what the network was trained on (p = {p:.3f})")
        return "\n".join(filter(None, notes)), p

    def told(task: int, found: tuple[str, float]) -> bool:
        strange, likeness[task] = found
        on_done(strange)
        return True

    balanced(comm, len(names), work, threads, told)
    return likeness


def check_out(out: Path, clusters: dict[str, Cluster], targets: list[str], force: bool) -> None:
    """Raise an InputError if a prediction would replace a file that is there; with `force` only if it is an input."""
    inputs = {own.path.resolve() for cluster in clusters.values() for own in cluster.values()}
    for path in (out / f"{name}_{target}.fits" for name in clusters for target in targets):
        if path.exists() and (not force or path.resolve() in inputs):
            raise InputError(f"{path}: exists already; choose another --out, or --force to replace it")


def normalised_views(model: TrainedModel, cluster: Cluster, name: str) -> tuple[FloatArray, torch.Tensor]:
    """The views of a cluster in the training maps' units, (views, 80, 80), and as the network sees them, (1, ...).

    Raises
    ------
    InputError
        If a pixel is not finite, or the model's normalisation does not take it.
    """
    views = model.description.views
    maps = np.stack([read_view(cluster[view]) for view in views])
    normalised = model.normalisation.apply(torch.from_numpy(maps[None]), views).float()
    _check_finite(normalised.numpy(), cluster, name, "is below what its log can take")
    return maps, normalised


def _check_finite(values: FloatArray, cluster: Cluster, name: str, what: str) -> None:
    if not np.all(np.isfinite(values)):
        folder = next(iter(cluster.values())).path.parent
        raise InputError(f"{folder}: {name}: a pixel {what}; look at its maps")


def strangeness(maps: FloatArray, cluster: Cluster, model: TrainedModel) -> str:
    """What a person should look at, since a network answers to nonsense too: lines of text.

    Parameters
    ----------
    maps : (views, 80, 80), of `normalised_views`
    """
    notes = [f"{own.path}: {own.note}" for own in cluster.values() if own.note]
    for pixels, view in zip(maps, model.description.views, strict=True):
        ratio = float(pixels.mean()) / model.normalisation.mean[view]
        if model.normalisation.kind == "linear" and not 1 / STRANGE < ratio < STRANGE:  # of a log it says nothing
            notes.append(f"{cluster[view].path}: its mean is {ratio:.2g} times the training maps'; is its unit right?")
        step = 2 * cluster[view].r200 / PIXELS  # of the network's pixels, in the map's
        if step < 1:
            notes.append(f"{cluster[view].path}: its pixels are {1 / step:.1f} times as long as the training maps'")
    return "\n".join(notes)


def _write(path: Path, predicted: OwnErrors, target: str, cluster: Cluster, model: TrainedModel, p: float) -> None:
    pixels, factor = predicted.mean, 1.0
    first = cluster[model.description.views[0]]
    h = next((own.h for own in cluster.values() if own.h is not None), None)
    unit = model.normalisation.unit[target]
    is_mass, unit_of_mass = unit == UNITS["mass"], "h^-1 Msun"
    if h is not None and is_mass:
        factor, unit, unit_of_mass = factor_to(path, unit, WITHOUT_H, h, None), WITHOUT_H, "solMass"
        pixels = (pixels * factor).astype(np.float32)
    grid = _grid(first)
    header = grid.copy()
    unit, unit_of_mass = to_file(unit), to_file(unit_of_mass)  # of one with h plain readers say they do not know it
    header["BUNIT"] = unit
    header["OBJECT"] = _in_ascii(path.name.removesuffix(f"_{target}.fits"))
    header["R200"] = (_in_ascii(first.r200_as_given), "each edge is this far from the centre")
    if h is not None:
        header["HUBBLE"] = (h, "h of the Hubble constant")
    header["CREATOR"] = f"hpc_massmap {__version__}"
    header["MODEL"] = (model.digest[:16], "SHA-256 of the model, its beginning")
    header["VIEWS"] = ", ".join(model.description.views)
    header["NORMKIND"] = (model.normalisation.kind, "normalisation of the network's maps")
    header.add_history(f"model {model.digest}")
    for name in (*model.description.views, target):
        mean, std = model.normalisation.mean[name], model.normalisation.std[name]
        of_maps = model.normalisation.unit[name]
        header.add_history(f"normalisation of {name}: mean {mean:.6g}, std {std:.6g} [{to_file(of_maps)}]")
    for view, own in cluster.items():
        header.add_history(f"{view}: {_in_ascii(own.path.name)}, {own.shape[1]} x {own.shape[0]} pixels")
        header.add_history(f"{view}: in '{_in_ascii(own.unit)}', times {own.factor:.6g}")
        header.add_history(f"{view}: R200 {own.r200:.6g} pixels, centre x {own.x:g}, y {own.y:g} ({own.centre_from})")
        if own.note:
            header.add_history(f"{view}: {_in_ascii(own.note)}")
    header.add_history(f"views averaged by area onto {PIXELS} x {PIXELS} pixels")
    errors = extensions(predicted, factor, grid, unit)
    if errors:
        header["EXTNAME"] = "MEAN"
    table = masses(predicted, factor, Quantity(first.r200_as_given), unit_of_mass) if is_mass else None
    with replacing(path) as temporary:
        whole = fits.HDUList([fits.PrimaryHDU(pixels.astype(np.float32), header), *errors, *filter(None, [table])])
        for hdu in whole if np.isfinite(p) else []:
            hdu.header["PVALUE"] = (p, "of looking like what trained the model")
            hdu.header["UNLIKE"] = (p < UNLIKE, "if so, no error bar is calibrated")
            if p < UNLIKE and "ERRORS" in hdu.header:
                hdu.header["ERRORS"] = f"{hdu.header['ERRORS']}, but not for such a map"
        whole.writeto(temporary, overwrite=True)


def _in_ascii(text: str) -> str:
    """Text as a FITS header can hold it."""
    return ascii(text)[1:-1]


def _grid(own: OwnMap) -> fits.Header:
    """The coordinates of the predicted map: the input's, else lengths from the centre."""
    step = 2 * own.r200 / PIXELS  # in pixels of the input
    if own.wcs is not None:
        wcs = own.wcs.deepcopy()
        wcs.wcs.crpix = [
            (place - centre) / step + (PIXELS + 1) / 2
            for place, centre in zip(wcs.wcs.crpix, (own.x, own.y), strict=True)
        ]
        if wcs.wcs.has_cd():
            wcs.wcs.cd = wcs.wcs.cd * step
        else:
            wcs.wcs.cdelt = wcs.wcs.cdelt * step
        return wcs.to_header()
    length, unit = (step, "pix") if own.pixel is None else (step * own.pixel.value, own.pixel.unit.to_string("fits"))
    header = fits.Header()
    for axis, name in (("1", "X"), ("2", "Y")):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"] = name, unit
        header[f"CRPIX{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = (PIXELS + 1) / 2, 0.0, length
    return header
