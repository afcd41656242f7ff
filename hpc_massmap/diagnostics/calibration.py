"""A calibration by region, as calibration.h5 keeps it: by how much the intervals of a model are widened.

HDF5: attributes schema, model and maps_digest (what it is for), says (what of the model it widens), regions and maps
(that calibrated), levels; of each target::

    /TARGET/{masses,pixels}             (levels, 10) and (levels, 11), factors of enclosed masses and of pixels in rings
    /TARGET/residuals/{masses,pixels}   (99, 10) and (99, 11), quantiles of the relative residuals
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpc_massmap.apertures import N_RINGS, RADII, ring_of_pixels
from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.bands import PARTS, Band, pixel_scale
from hpc_massmap.diagnostics.conformal import highest_level, interval
from hpc_massmap.diagnostics.coverage import LEVELS
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import (
    Unreadable,
    attribute_of,
    dataset_of,
    group_of,
    names_in,
    new_hdf5,
    opened,
    values_of,
)

SCHEMA = 1
AGAIN = "run massmap predict --validation and massmap calibrate again"


@dataclass(frozen=True)
class Residuals:
    """How maps without error bars are wrong, all alike: the error bar of constant width that others have to beat.

    Attributes
    ----------
    masses : (99, 10), quantiles at `FRACTIONS` of (true - predicted)/predicted of enclosed masses
    pixels : (99, 11), quantiles of (true - predicted)/`pixel_scale` in each ring
    """

    masses: FloatArray
    pixels: FloatArray

    def of_masses(self, predicted: FloatArray) -> FloatArray:
        """Quantiles of enclosed masses, (n, 10): (99, n, 10)."""
        return np.asarray(predicted + self.masses[:, None] * np.abs(predicted))

    def of_pixels(self, predicted: FloatArray) -> FloatArray:
        """Quantiles of the pixels of a map, (80, 80): (99, 80, 80)."""
        return np.asarray(predicted + self.pixels[:, ring_of_pixels()] * pixel_scale(predicted))


@dataclass(frozen=True)
class TargetCalibration:
    """Of one target.

    Attributes
    ----------
    masses : (levels, 10), factors of enclosed masses; infinite where so few regions promise nothing
    pixels : (levels, 11), factors of the pixels of each ring
    """

    masses: FloatArray
    pixels: FloatArray
    residuals: Residuals

    def of_masses(self, band: Band) -> tuple[FloatArray, FloatArray]:
        """Calibrated intervals of enclosed masses, low and high: (levels, n, 10) each."""
        low, high = interval(band.low, band.high, band.scale, self.masses[:, None])
        return np.maximum(low, 0), high

    def of_pixels(self, band: Band) -> tuple[FloatArray, FloatArray]:
        """Calibrated intervals of pixels, low and high: (levels, n, 80, 80) each."""
        low, high = interval(band.low, band.high, band.scale, self.pixels[:, None, ring_of_pixels()])
        return np.maximum(low, 0), high  # nothing that is mapped is negative


@dataclass(frozen=True)
class Calibration:
    """Of all targets of a model.

    Attributes
    ----------
    model, maps_digest : of what it was made for
    says : what of the model is widened: its map, quantiles or samples
    regions, maps : how many calibrated
    """

    model: str
    maps_digest: str
    says: str
    regions: int
    maps: int
    targets: dict[str, TargetCalibration]

    def promise(self) -> str:
        """Which levels it can promise, and which it cannot."""
        highest = highest_level(self.regions)
        beyond = [f"{level:.0%}" for level in LEVELS if level > highest]
        without = f"; {' and '.join(beyond)} would take more regions: no interval" if beyond else ""
        return f"{self.regions} regions ({self.maps} maps) can promise levels up to {highest:.1%}{without}"


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write calibration.h5, whole or not at all."""
    with new_hdf5(path) as file:
        for name in ("model", "maps_digest", "says", "regions", "maps"):
            file.attrs[name] = getattr(calibration, name)
        file.attrs["schema"] = SCHEMA
        file.attrs["levels"] = LEVELS
        for target, of in calibration.targets.items():
            group = file.create_group(target)
            group["masses"], group["pixels"] = of.masses, of.pixels
            group["residuals/masses"], group["residuals/pixels"] = of.residuals.masses, of.residuals.pixels


def read_calibration(path: Path) -> Calibration:
    """Read calibration.h5.

    Raises
    ------
    InputError
        If it is missing, cut off, damaged or of another version.
    """
    complaint = f"{path}: not a readable calibration; {AGAIN}"
    with opened(path, complaint, f"{path}: no such file; run massmap calibrate first") as file:
        if attribute_of(file, "schema") != SCHEMA or tuple(np.atleast_1d(attribute_of(file, "levels"))) != LEVELS:
            raise InputError(f"{path}: a calibration of another version; {AGAIN}")
        model, maps_digest, says = (str(attribute_of(file, name)) for name in ("model", "maps_digest", "says"))
        regions, maps = (int(attribute_of(file, name)) for name in ("regions", "maps"))
        targets = {target: _target(group_of(file, target)) for target in names_in(file)}
    return Calibration(model, maps_digest, says, regions, maps, targets)


def check_is_for(path: Path, calibration: Calibration, model: str, maps_digest: str | None, says: str) -> None:
    """Refuse a calibration of something else.

    Parameters
    ----------
    maps_digest : of the map file; None of maps that are in none

    Raises
    ------
    InputError
        If it was made for another model, other maps, or for what the model does not say here.
    """
    if calibration.model != model:
        ours, theirs = model[:12], calibration.model[:12]
        raise InputError(f"{path}: made for another model (digest {theirs}, not {ours}); {AGAIN}")
    if maps_digest is not None and calibration.maps_digest != maps_digest:
        ours, theirs = maps_digest[:12], calibration.maps_digest[:12]
        raise InputError(f"{path}: made on another map file (digest {theirs}, not {ours}); {AGAIN}")
    if calibration.says != says:
        raise InputError(f"{path}: made for {calibration.says}, not for {says}; {AGAIN}")


def _target(group: h5py.Group) -> TargetCalibration:
    masses, pixels = (len(LEVELS), len(RADII)), (len(LEVELS), N_RINGS)
    residuals = Residuals(
        _numbers(group, "residuals/masses", (PARTS, len(RADII))), _numbers(group, "residuals/pixels", (PARTS, N_RINGS))
    )
    return TargetCalibration(_numbers(group, "masses", masses), _numbers(group, "pixels", pixels), residuals)


def _numbers(group: h5py.Group, name: str, shape: tuple[int, ...]) -> FloatArray:
    found = values_of(dataset_of(group, name))
    if found.shape != shape or found.dtype != np.float64 or np.isnan(found).any():
        raise Unreadable(f"{group.name}/{name} is {found.dtype} {found.shape}, not numbers {shape}")
    return found
