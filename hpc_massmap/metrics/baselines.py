"""How far each predicted map is from the truth, and how far two predictions without a network are: baselines.h5.

They are the mean training map, the same for every cluster, and the richness of the best view (`floor`). What a network
says of another code's maps is worth something only if it beats both.

HDF5: attribute predictions (SHA-256 of predictions.h5); of each target and predictor, in the order of the predictions::

    /TARGET/{network,mean_map,richness}/{l1,b200,power,held}   (n,)
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.diagnostics.conformal import quantiles_by_region
from hpc_massmap.hdf5 import Unreadable, attribute_of, dataset_of, group_of, names_in, new_hdf5, opened, values_of
from hpc_massmap.metrics.floor import Floor
from hpc_massmap.metrics.power import power_spectrum, wavelengths
from hpc_massmap.metrics.predictions import Predictions, digest_of_file, training_of
from hpc_massmap.mpi import share, together

if TYPE_CHECKING:
    from mpi4py import MPI

BASELINES = "baselines.h5"  # beside the metrics
PREDICTORS = {"network": "network", "mean_map": "mean training map", "richness": "richness of the best view"}
POWER_AT = int(np.argmin(np.abs(wavelengths() - 0.25)))  # the bin of substructure, a quarter of R200
ONE_SIGMA = (0.16, 0.84)
MAPS_PER_BLOCK = 64
TRAINING_PER_BLOCK = 1024


@dataclass(frozen=True)
class Distance:
    """Of the predictions of n maps.

    Attributes
    ----------
    l1 : (n,), sum of |predicted - true| over the pixels, over that of the truth; NaN of an empty truth
    b200 : (n,), predicted over true mass inside R200, less 1; NaN as above
    power : (n,), log10 of predicted over true power at a quarter of R200; NaN where either is 0
    held : (n,), whether b200 lies in the predictor's 68 % interval of constant width, 1 or 0; NaN if it has none
    """

    l1: FloatArray
    b200: FloatArray
    power: FloatArray
    held: FloatArray


QUANTITIES = tuple(field.name for field in fields(Distance))


@dataclass(frozen=True)
class MeanMap(Predictions):
    """Predictions that were never written: the mean training map, for every test map.

    Attributes
    ----------
    mean : target -> (80, 80)
    """

    mean: dict[str, FloatArray]

    def block(self, target: str, part: slice) -> tuple[FloatArray, FloatArray]:
        true = self.maps.maps[target][self.rows[part]].astype(np.float64)
        return np.broadcast_to(self.mean[target], true.shape), true


def distance(predicted: FloatArray, true: FloatArray, r200: FloatArray) -> Distance:
    """Of maps (n, 80, 80) of clusters of R200 (n,), without an interval."""
    total = true.sum(axis=(1, 2))
    inside, masses = (enclosed_mass(maps, r200)[:, -1] for maps in (true, predicted))
    powers = np.stack([power_spectrum(maps, r200)[:, POWER_AT] for maps in (predicted, true)])
    with np.errstate(divide="ignore", invalid="ignore"):
        l1 = np.where(total > 0, np.abs(predicted - true).sum(axis=(1, 2)) / total, np.nan)
        b200 = np.where(inside > 0, masses / inside - 1, np.nan)
        power = np.where((powers > 0).all(axis=0), np.log10(powers[0] / powers[1]), np.nan)
    return Distance(l1, b200, power, np.full(len(l1), np.nan))


def distances_of(predictions: Predictions, target: str, comm: "MPI.Intracomm") -> Distance:
    """Of all predictions of a target. To be called by all ranks; raises what `Predictions.block` does."""
    own, r200 = share(len(predictions), comm), predictions.of_halos("r200")
    found = [Distance(*np.empty((len(QUANTITIES), 0)))]
    with together(comm):
        for start in range(own.start, own.stop, MAPS_PER_BLOCK):
            part = slice(start, min(start + MAPS_PER_BLOCK, own.stop))
            found.append(distance(*predictions.block(target, part), r200[part]))
    every = [one for ranks in comm.allgather(found) for one in ranks]
    return Distance(*(np.concatenate([getattr(one, of) for one in every]) for of in QUANTITIES))


def is_held(b200: FloatArray, of_validation: FloatArray, region: npt.NDArray[np.generic]) -> FloatArray:
    """Whether the true mass of each map lies in the 68 % interval of constant width: (n,), 1 or 0; NaN if unknown.

    Parameters
    ----------
    b200 : (n,)
    of_validation, region : (v,), by whose (true - predicted)/predicted the width is known, each region alike
    """
    with np.errstate(divide="ignore"):
        residual, known = (1 / (1 + of) - 1 for of in (b200, of_validation))
    some = np.isfinite(known)
    if not some.any():
        return np.full(len(b200), np.nan)
    low, high = quantiles_by_region(known[some], region[some], ONE_SIGMA)
    return np.where(np.isnan(b200), np.nan, (low <= residual) & (residual <= high))


def mean_map_of(predictions: Predictions, comm: "MPI.Intracomm") -> MeanMap | None:
    """The mean training map as predictions; None if they do not say what trained. To be called by all ranks."""
    training = training_of(predictions)
    if training is None:
        return None
    starts, mean = range(0, len(training.rows), TRAINING_PER_BLOCK), {}
    for target in predictions.targets:
        stack, sums = predictions.maps.maps[target], []
        for start in starts[share(len(starts), comm)]:  # on one grid, so that any number of ranks adds up the same
            sums.append(stack[training.rows[start : start + TRAINING_PER_BLOCK]].sum(axis=0, dtype=np.float64))
        mean[target] = sum(one for ranks in comm.allgather(sums) for one in ranks) / len(training.rows)
    return MeanMap(predictions.path, predictions.maps, "mean map", predictions.targets, predictions.rows, mean)


def baselines_of(
    predictions: Predictions, floor: Floor | None, comm: "MPI.Intracomm"
) -> dict[str, dict[str, Distance]] | None:
    """Of each target and predictor; None if the predictions do not say what trained. To be called by all ranks.

    Parameters
    ----------
    floor : under the predictions
    """
    mean = mean_map_of(predictions, comm)
    if mean is None or floor is None:
        return None
    without = {"mean_map": mean, "richness": floor}
    return {
        target: {
            "network": distances_of(predictions, target, comm),
            **{name: _with_interval(of, floor.validation, target, comm) for name, of in without.items()},
        }
        for target in predictions.targets
    }


def _with_interval(of: Predictions, validation: IntArray, target: str, comm: "MPI.Intracomm") -> Distance:
    found, validated = distances_of(of, target, comm), replace(of, rows=validation)
    known = distances_of(validated, target, comm).b200
    return replace(found, held=is_held(found.b200, known, validated.of_halos("region")))


def write_baselines(path: Path, found: dict[str, dict[str, Distance]], predictions: Predictions) -> None:
    """Write baselines.h5, whole or not at all."""
    with new_hdf5(path) as file:
        file.attrs["predictions"] = digest_of_file(predictions.path)
        for target, by_predictor in found.items():
            for name, of in by_predictor.items():
                for quantity in QUANTITIES:
                    file[f"{target}/{name}/{quantity}"] = getattr(of, quantity)


def read_baselines(path: Path, predictions: Predictions) -> dict[str, dict[str, Distance]] | None:
    """Read baselines.h5; None if it is not there, or of other predictions.

    Raises
    ------
    InputError
        If it is cut off or damaged.
    """
    if not path.exists():
        return None
    with opened(path, f"{path}: not a readable file of baselines; run massmap evaluate --force") as file:
        if str(attribute_of(file, "predictions")) != digest_of_file(predictions.path):
            return None
        found = {}
        for target in names_in(file):
            found[target] = {name: _read(group_of(file, target), name, len(predictions)) for name in PREDICTORS}
    return found


def _read(group: h5py.Group, name: str, n: int) -> Distance:
    found = [values_of(dataset_of(group, f"{name}/{quantity}")) for quantity in QUANTITIES]
    for values in found:
        if values.shape != (n,):
            raise Unreadable(f"{name} is {values.shape}, not ({n},)")
    return Distance(*found)
