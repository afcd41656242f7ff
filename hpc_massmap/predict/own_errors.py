"""What a file of a user's own prediction holds besides the map: its errors, samples, and masses in apertures."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.io import fits

from hpc_massmap.apertures import RADII, enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.posterior.distribution import MapDistribution

LOW, HIGH = 0.16, 0.84  # of an interval of 68 %


@dataclass(frozen=True)
class OwnErrors:
    """Of one cluster; the first axis is that of the targets.

    Attributes
    ----------
    mean : (targets, 80, 80)
    low, high : (targets, 80, 80) each, None of a point
    samples : (targets, samples, 80, 80), of which there may be none
    """

    mean: FloatArray
    low: FloatArray | None
    high: FloatArray | None
    samples: FloatArray


def errors_of(said: MapDistribution, samples: int, seed: int, has_quantiles: bool) -> OwnErrors:
    """What a model says of one cluster.

    Parameters
    ----------
    samples : how many are drawn, from which the interval is where there are any
    has_quantiles : whether the model says an interval without samples
    """
    if samples:
        drawn = np.stack([one[0] for one in said.samples(samples, seed)], axis=1)
        low, high = np.quantile(drawn, [LOW, HIGH], axis=1)
        return OwnErrors(drawn.mean(1, np.float64) if said.by_samples else said.mean()[0], low, high, drawn)
    mean = said.mean()[0]
    none = np.empty((len(mean), 0, *mean.shape[1:]))
    if not has_quantiles:
        return OwnErrors(mean, None, None, none)
    low, high = said.quantiles([LOW, HIGH])[:, 0]
    return OwnErrors(mean, low, high, none)


def extensions(errors: OwnErrors, target: int, factor: float, grid: fits.Header, unit: str) -> list[fits.ImageHDU]:
    """LOW and HIGH, and SAMPLES where there are any.

    Parameters
    ----------
    factor : from the unit of the model to `unit`
    grid : the coordinates of the map
    """
    if errors.low is None or errors.high is None:
        return []
    header = grid.copy()
    header["BUNIT"] = unit
    parts = {"LOW": errors.low[target], "HIGH": errors.high[target]}
    if errors.samples.shape[1]:
        parts["SAMPLES"] = errors.samples[target]
    found = [fits.ImageHDU((pixels * factor).astype(np.float32), header, name=name) for name, pixels in parts.items()]
    found[0].header["LEVEL"] = (LOW, "share of the probability below it")
    found[1].header["LEVEL"] = (HIGH, "share of the probability below it")
    return found


def masses(errors: OwnErrors, target: int, factor: float, r200: u.Quantity, unit: str) -> fits.BinTableHDU | None:
    """The table MASSES: masses in cylinders of ten radii, and their 68 % interval where there are samples.

    Errors of pixels do not add up to one of their sum unless it is known how they go together: quantiles alone give no
    interval.

    Parameters
    ----------
    factor : from the unit of the model to that of `unit` per kpc^2
    r200 : None is returned if it is no length

    Returns
    -------
    A table of radius (R200 and kpc), mass, low and high; None of a model that gives no errors at all
    """
    if errors.low is None or not r200.unit.is_equivalent(u.kpc):
        return None
    length = np.array([r200.to_value(u.kpc)])
    columns = [
        fits.Column("RADIUS", "D", "R200", array=RADII),
        fits.Column("R_KPC", "D", "kpc", array=RADII * length),
        fits.Column("MASS", "D", unit, array=enclosed_mass(errors.mean[target : target + 1], length)[0] * factor),
    ]
    if errors.samples.shape[1]:
        drawn = errors.samples[target].astype(np.float64)
        low, high = np.quantile(enclosed_mass(drawn, length.repeat(len(drawn))), [LOW, HIGH], axis=0) * factor
        columns += [fits.Column("LOW", "D", unit, array=low), fits.Column("HIGH", "D", unit, array=high)]
    return fits.BinTableHDU.from_columns(columns, name="MASSES")
