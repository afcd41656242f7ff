"""What a file of a user's own prediction holds besides the map: its errors, samples, and masses in apertures.

Intervals are of 68 %. Where the run has a calibration they are what it makes of what the model says, else the model's
own, or there are none; the header says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits

from hpc_massmap.apertures import RADII, enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.calibration import Calibration, TargetCalibration, check_is_for, read_calibration
from hpc_massmap.diagnostics.said import ONE_SIGMA, Said, described
from hpc_massmap.posterior.distribution import MapDistribution
from hpc_massmap.posterior.kinds import levels_of
from hpc_massmap.train.trained import TrainedModel

LOW, HIGH = 0.16, 0.84  # of an interval of 68 %
OWN, NONE = "the model's own", "none"

Interval = tuple[FloatArray, FloatArray]  # low and high


@dataclass(frozen=True)
class OwnErrors:
    """Of one cluster and one target.

    Attributes
    ----------
    mean : (80, 80)
    own : low and high by the model itself, (80, 80) each; None of a point
    samples : (samples, 80, 80), of which there may be none
    quantiles : (k, 80, 80) at `levels`, of which there may be none
    calibration : of the run, if it has one
    regions : that calibrated
    """

    mean: FloatArray
    own: Interval | None
    samples: FloatArray
    quantiles: FloatArray
    levels: Sequence[float]
    calibration: TargetCalibration | None
    regions: int

    def pixels(self) -> Interval | None:
        """Of pixels, (80, 80) each; None of a point that is not calibrated."""
        if self.calibration is None:
            return self.own
        return _of_one(self.calibration.of_pixels(self._said(1.0).pixel_band))  # which R200 does not enter

    def masses(self, r200: float) -> Interval | None:
        """Of enclosed masses, (10,) each; None where neither a calibration nor samples say any.

        Errors of pixels do not add up to one of their sum unless it is known how they go together: quantiles alone
        give no interval.

        Parameters
        ----------
        r200 : kpc
        """
        if self.calibration is not None:
            return _of_one(self.calibration.of_masses(self._said(r200).mass_band))
        if not len(self.samples):
            return None
        drawn = enclosed_mass(self.samples.astype(np.float64), np.repeat(r200, len(self.samples)))
        low, high = np.quantile(drawn, [LOW, HIGH], axis=0)
        return low, high

    def told(self, interval: Interval | None) -> str:
        """Whose error an interval is."""
        if interval is None:
            return NONE
        return OWN if self.calibration is None else f"calibrated by {self.regions} regions"

    def _said(self, r200: float) -> Said:
        mean, samples, quantiles = (
            np.asarray(maps, np.float64)[None] for maps in (self.mean, self.samples, self.quantiles)
        )
        return Said(mean, np.array([r200]), samples, quantiles, self.levels)


def _of_one(bands: Interval) -> Interval:
    """At 68 %, of intervals at all levels of one cluster."""
    low, high = bands
    return low[ONE_SIGMA, 0], high[ONE_SIGMA, 0]


def errors_of(
    said: MapDistribution, model: TrainedModel, samples: int, seed: int, calibration: Calibration | None
) -> list[OwnErrors]:
    """What a model says of one cluster, of each target.

    Parameters
    ----------
    samples : how many are drawn, from which the interval is where there are any
    """
    levels = levels_of(model.description)
    mean, own, drawn = None, None, None
    if samples:
        drawn = np.stack([one[0] for one in said.samples(samples, seed)], axis=1)
        own = np.quantile(drawn, [LOW, HIGH], axis=1)
        mean = drawn.mean(1, np.float64) if said.by_samples else None
    elif levels:
        own = said.quantiles([LOW, HIGH])[:, 0]
    mean = said.mean()[0] if mean is None else mean
    none = np.empty((len(mean), 0, *mean.shape[1:]))
    quantiles = np.moveaxis(said.quantiles(levels)[:, 0], 0, 1) if levels else none
    return [
        OwnErrors(
            *(mean[n], None if own is None else (own[0, n], own[1, n]), (none if drawn is None else drawn)[n]),
            *(quantiles[n], levels, calibration.targets[target] if calibration else None),
            calibration.regions if calibration else 0,
        )
        for n, target in enumerate(model.description.targets)
    ]


def calibration_of(path: Path, model: TrainedModel, samples: int, symmetries: bool) -> Calibration | None:
    """The calibration of a run; None if it has none.

    Raises
    ------
    InputError
        If it cannot be read, or was made for another model or for what the model does not say here.
    """
    if not path.exists():
        return None
    calibration = read_calibration(path)
    says = described(samples, levels_of(model.description), symmetries)
    check_is_for(path, calibration, model.digest, None, says)
    return calibration


def extensions(errors: OwnErrors, factor: float, grid: fits.Header, unit: str) -> list[fits.ImageHDU]:
    """LOW and HIGH, and SAMPLES where there are any.

    Parameters
    ----------
    factor : from the unit of the model to `unit`
    grid : the coordinates of the map
    """
    interval = errors.pixels()
    if interval is None:
        return []
    header = grid.copy()
    header["BUNIT"] = unit
    parts = dict(zip(("LOW", "HIGH"), interval, strict=True))
    if len(errors.samples):
        parts["SAMPLES"] = errors.samples
    found = [fits.ImageHDU((pixels * factor).astype(np.float32), header, name=name) for name, pixels in parts.items()]
    for image, level in zip(found, (LOW, HIGH), strict=False):
        image.header["LEVEL"] = (level, "share of the probability below it")
        image.header["ERRORS"] = (errors.told(interval), "whose error it is")
    return found


def masses(errors: OwnErrors, factor: float, r200: u.Quantity, unit: str) -> fits.BinTableHDU | None:
    """The table MASSES: masses in cylinders of ten radii, and their 68 % interval where there is one.

    Parameters
    ----------
    factor : from the unit of the model to that of `unit` per kpc^2
    r200 : None is returned if it is no length

    Returns
    -------
    A table of radius (R200 and kpc), mass, low and high; None of a model that gives no errors at all
    """
    if errors.pixels() is None or not r200.unit.is_equivalent(u.kpc):
        return None
    length = float(r200.to_value(u.kpc))
    columns = [
        fits.Column("RADIUS", "D", "R200", array=RADII),
        fits.Column("R_KPC", "D", "kpc", array=RADII * length),
        fits.Column("MASS", "D", unit, array=enclosed_mass(errors.mean[None], np.array([length]))[0] * factor),
    ]
    interval = errors.masses(length)
    if interval is not None:
        low, high = (end * factor for end in interval)
        columns += [fits.Column("LOW", "D", unit, array=low), fits.Column("HIGH", "D", unit, array=high)]
    table = fits.BinTableHDU.from_columns(columns, name="MASSES")
    table.header["ERRORS"] = (errors.told(interval), "whose errors LOW and HIGH are")
    return table
