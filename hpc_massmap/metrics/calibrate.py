"""Calibration of error bars on the maps that validated, and never on others: one draw a region.

The scores of all pixels are kept until each has its place, 25 kB a map of a model that says one map, and four times
that of one with intervals.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpc_massmap.apertures import N_RINGS, RADII, enclosed_mass, ring_of_pixels
from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.bands import FRACTIONS, Band, pixel_scale
from hpc_massmap.diagnostics.calibration import Calibration, Residuals, TargetCalibration, check_is_for
from hpc_massmap.diagnostics.conformal import factors, quantiles_by_region, scores
from hpc_massmap.diagnostics.coverage import LEVELS
from hpc_massmap.errors import InputError
from hpc_massmap.metrics.predictions import Predictions, model_of, training_of
from hpc_massmap.metrics.said import description, said_of
from hpc_massmap.mpi import share, together

if TYPE_CHECKING:
    from mpi4py import MPI

MAPS_PER_BLOCK = 16
FEWEST_REGIONS = 2


def calibrate(predictions: Predictions, on_map: Callable[[], None]) -> Calibration:
    """Calibrate a model's intervals on predictions of the maps that validated it.

    Parameters
    ----------
    on_map : called after each map, for each target

    Raises
    ------
    InputError
        If the predictions are of other maps, if regions that validate also trained, or if there is one region only.
    """
    _refuse_others(predictions)
    region = predictions.of_halos("region")
    n_regions = len(np.unique(region))
    if n_regions < FEWEST_REGIONS:
        raise InputError(
            f"{predictions.path}: its {len(region)} maps show {n_regions} region, by which nothing can be calibrated; "
            "let more validate (split.validation)"
        )
    targets = {target: _of_target(predictions, target, region, on_map) for target in predictions.targets}
    says, digest = description(predictions), predictions.maps.digest
    return Calibration(model_of(predictions), digest, says, n_regions, len(region), targets)


def check_calibration(path: Path, calibration: Calibration, predictions: Predictions) -> None:
    """Refuse one that was made for other predictions; raises what `check_is_for` does."""
    check_is_for(path, calibration, model_of(predictions), predictions.maps.digest, description(predictions))


def _refuse_others(predictions: Predictions) -> None:
    """What was seen in training is predicted better than what is new, and what tests must not have been seen."""
    training = training_of(predictions)
    if training is None:
        raise InputError(f"{predictions.path}: does not say which maps validated; run massmap predict --validation")
    others = np.setdiff1d(predictions.rows, training.validation)
    if len(others):
        raise InputError(
            f"{predictions.path}: map {others[0]} is none that validated the model; run massmap predict --validation"
        )
    maps = predictions.maps
    trained, validated = (set(maps.halos["region"][maps.halo[rows]]) for rows in (training.rows, predictions.rows))
    for region in sorted(trained & validated)[:1]:
        raise InputError(
            f"{predictions.path}: region {region} trained the model and validated it, so that nothing can be "
            "promised for new ones; train with split.policy = halo"
        )


def _of_target(
    predictions: Predictions, target: str, region: npt.NDArray[np.generic], on_map: Callable[[], None]
) -> TargetCalibration:
    masses, pixels, residuals = [], [], []
    for start in range(0, len(predictions), MAPS_PER_BLOCK):
        part = slice(start, min(start + MAPS_PER_BLOCK, len(predictions)))
        mean, true = predictions.block(target, part)
        said = said_of(predictions, target, part, mean)
        masses.append(_scores(enclosed_mass(true, said.r200), said.mass_band))
        pixels.append(_scores(true, said.pixel_band).astype(np.float32))
        residuals.append(_residuals(mean, true, said.r200))
        for _ in mean:
            on_map()
    of_masses, of_pixels, ring = np.concatenate(masses, axis=1), np.concatenate(pixels, axis=1), ring_of_pixels()
    return TargetCalibration(
        _factors([of_masses[:, :, k] for k in range(len(RADII))], region),
        _factors([of_pixels[:, :, ring == k] for k in range(N_RINGS)], region),
        _summed_up(residuals, region),
    )


def residuals_of(predictions: Predictions, comm: "MPI.Intracomm") -> dict[str, Residuals]:
    """The error bars of constant width of some predictions, of each target. To be called by all ranks."""
    found, own = {}, share(len(predictions), comm)
    for target in predictions.targets:
        rows = []
        with together(comm):
            for start in range(own.start, own.stop, MAPS_PER_BLOCK):
                part = slice(start, min(start + MAPS_PER_BLOCK, own.stop))
                rows.append(_residuals(*predictions.block(target, part), predictions.of_halos("r200")[part]))
        everywhere = [one for ranks in comm.allgather(rows) for one in ranks]
        found[target] = _summed_up(everywhere, predictions.of_halos("region"))
    return found


def _residuals(mean: FloatArray, true: FloatArray, r200: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of enclosed masses, (n, 10), and of pixels, (n, 80, 80)."""
    mass, predicted = enclosed_mass(true, r200), enclosed_mass(mean, r200)
    of_pixels = _relative(true - mean, pixel_scale(mean)).astype(np.float32)
    return _relative(mass - predicted, np.abs(predicted)), of_pixels


def _summed_up(found: list[tuple[FloatArray, FloatArray]], region: npt.NDArray[np.generic]) -> Residuals:
    masses, pixels = (np.concatenate([part[n] for part in found]) for n in range(2))
    ring = ring_of_pixels()
    return Residuals(
        _quantiles([masses[:, k] for k in range(len(RADII))], region),
        _quantiles([pixels[:, ring == k] for k in range(N_RINGS)], region),
    )


def _scores(true: FloatArray, band: Band) -> FloatArray:
    return scores(true, band.low, band.high, band.scale)


def _relative(difference: FloatArray, scale: FloatArray) -> FloatArray:
    return np.divide(difference, scale, out=np.zeros(difference.shape), where=scale > 0)


def _factors(found: list[FloatArray], region: npt.NDArray[np.generic]) -> FloatArray:
    """Of scores (levels or 1, n, ...) of each quantity: (levels, quantities)."""
    columns = []
    for of in found:
        at_levels = [LEVELS] if len(of) == 1 else [(level,) for level in LEVELS]
        columns.append(np.concatenate([factors(one, region, at) for one, at in zip(of, at_levels, strict=True)]))
    return np.stack(columns, axis=1).astype(np.float64)


def _quantiles(found: list[FloatArray], region: npt.NDArray[np.generic]) -> FloatArray:
    return np.stack([quantiles_by_region(of, region, FRACTIONS) for of in found], axis=1).astype(np.float64)
