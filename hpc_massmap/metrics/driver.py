"""All metrics of a test set, its maps shared among MPI ranks.

Each rank streams its part in small blocks, twice: once for everything, once more for the percentiles of pixels.
Every number about one map is computed from that map alone and only integers are summed over ranks, so the result is
the same to the last bit on any number of ranks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpc_massmap import config
from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.mmd import Mmd, calibration_maps, mmd_squared
from hpc_massmap.metrics.pixels import (
    APERTURES,
    BINS,
    Counts,
    FirstPass,
    PixelStatistics,
    SecondPass,
    differences_by_aperture,
    relative_difference,
    statistics,
)
from hpc_massmap.metrics.power import N_BINS, Power, power_spectrum, wavelengths
from hpc_massmap.metrics.predictions import Predictions
from hpc_massmap.metrics.profiles import RADII, Profiles, enclosed_mass
from hpc_massmap.metrics.results import Metrics, TargetMetrics
from hpc_massmap.mpi import share, together

if TYPE_CHECKING:
    from mpi4py import MPI

MAPS_PER_BLOCK = 16  # 0.8 MB each of predictions and truths


@dataclass(frozen=True)
class MapNumbers:
    """What one rank finds out about its maps, and later all ranks about all: one row a map."""

    mass_true: FloatArray
    mass_predicted: FloatArray
    power_true: FloatArray
    power_predicted: FloatArray
    mmd: FloatArray  # of the prediction, then of each noise
    pixels: npt.NDArray[np.uint16]  # histograms, one an aperture

    @classmethod
    def empty(cls, n: int, n_noise: int) -> "MapNumbers":
        return cls(
            mass_true=np.empty((n, len(RADII))),
            mass_predicted=np.empty((n, len(RADII))),
            power_true=np.empty((n, N_BINS)),
            power_predicted=np.empty((n, N_BINS)),
            mmd=np.empty((n, 1 + n_noise)),
            pixels=np.empty((n, len(APERTURES), BINS), np.uint16),
        )


def evaluate(
    predictions: Predictions, settings: config.Evaluate, comm: "MPI.Intracomm", on_map: Callable[[], None]
) -> Metrics | None:
    """Compare every prediction with its truth (section 4). To be called by all ranks.

    Parameters
    ----------
    on_map : called after each map of this rank, for each target

    Returns
    -------
    The metrics on rank 0, None on the others.

    Raises
    ------
    InputError
        On all ranks, if a pixel on any is not finite.
    """
    targets = {}
    for target in predictions.targets:
        numbers = MapNumbers.empty(_length(share(len(predictions), comm)), len(settings.mmd_noise))
        first = FirstPass.empty()
        with together(comm):
            for block in _blocks(predictions, target, comm):
                first.add(block.differences())
                _measure(block, numbers, settings, on_map)
        first = FirstPass(_sum(comm, first.upper), _sum(comm, first.drawn))
        second = SecondPass.after(first.upper)
        with together(comm):
            for block in _blocks(predictions, target, comm):
                _count(block, numbers, second)
        around = second.order_statistics(_sum(comm, second.lower))
        gathered = comm.gather(numbers)
        if gathered is not None:
            pixels = statistics(first, around, second.bins, np.concatenate([part.pixels for part in gathered]))
            targets[target] = _target_metrics(gathered, pixels, settings)
    return _metrics(predictions, settings, targets) if comm.rank == 0 else None


@dataclass(frozen=True)
class _Block:
    """Some maps of this rank: `place` in its own part, `rows` in the map file."""

    place: range
    rows: npt.NDArray[Any]
    predicted: FloatArray
    true: FloatArray
    r200: FloatArray
    r500: FloatArray

    def differences(self) -> list[npt.NDArray[np.float32]]:
        return differences_by_aperture(self.predicted, self.true, self.r200, self.r500)


def _blocks(predictions: Predictions, target: str, comm: "MPI.Intracomm") -> Iterator[_Block]:
    own = share(len(predictions), comm)
    r200, r500 = predictions.of_halos("r200"), predictions.of_halos("r500")
    for start in range(own.start, own.stop, MAPS_PER_BLOCK):
        part = slice(start, min(start + MAPS_PER_BLOCK, own.stop))
        place = range(part.start - own.start, part.stop - own.start)
        predicted, true = predictions.block(target, part)
        yield _Block(place, predictions.rows[part], predicted, true, r200[part], r500[part])


def _measure(block: _Block, numbers: MapNumbers, settings: config.Evaluate, on_map: Callable[[], None]) -> None:
    """Fill in the rows of a block."""
    part = slice(block.place.start, block.place.stop)
    numbers.mass_true[part] = enclosed_mass(block.true, block.r200)
    numbers.mass_predicted[part] = enclosed_mass(block.predicted, block.r200)
    numbers.power_true[part] = power_spectrum(block.true, block.r200)
    numbers.power_predicted[part] = power_spectrum(block.predicted, block.r200)
    for place, row, predicted, true in zip(block.place, block.rows, block.predicted, block.true, strict=True):
        noisy = calibration_maps(true, settings.mmd_noise, int(row))
        numbers.mmd[place] = mmd_squared(true, [predicted, *noisy], settings.mmd_scales, settings.mmd_kernel)
        on_map()


def _count(block: _Block, numbers: MapNumbers, second: SecondPass) -> None:
    """The second pass over a block."""
    for n, place in enumerate(block.place):
        one = slice(n, n + 1)
        differences = differences_by_aperture(block.predicted[one], block.true[one], block.r200[one], block.r500[one])
        numbers.pixels[place] = second.add(differences)


def _target_metrics(
    gathered: list[MapNumbers], pixels: dict[str, PixelStatistics], settings: config.Evaluate
) -> TargetMetrics:
    def rows(name: str) -> FloatArray:
        return np.concatenate([getattr(part, name) for part in gathered])

    mass_true, mass_predicted = rows("mass_true"), rows("mass_predicted")
    power_true, power_predicted = rows("power_true"), rows("power_predicted")
    bias, difference = relative_difference(mass_predicted, mass_true), relative_difference(power_predicted, power_true)
    mmd, noise, scales = rows("mmd"), np.array(settings.mmd_noise), np.array(settings.mmd_scales)
    return TargetMetrics(
        pixels,
        Profiles(RADII, mass_true, mass_predicted, bias),
        Power(wavelengths(), power_true, power_predicted, difference),
        Mmd(mmd[:, 0], mmd[:, 1:], noise, settings.mmd_kernel, scales),
    )


def _metrics(predictions: Predictions, settings: config.Evaluate, targets: dict[str, TargetMetrics]) -> Metrics:
    maps, rows = predictions.maps, predictions.rows
    columns = {"row": rows, "halo": maps.halo[rows], "projection": maps.projection[rows]}
    columns |= {name: predictions.of_halos(name) for name in ("m200", "r200", "redshift", "simulation", "region")}
    return Metrics(predictions.name, maps.digest, settings.mass_intervals, columns, targets)


def _sum(comm: "MPI.Intracomm", counts: Counts) -> Counts:
    total = np.empty_like(counts)
    comm.Allreduce(counts, total)
    return total


def _length(part: slice) -> int:
    return int(part.stop - part.start)
