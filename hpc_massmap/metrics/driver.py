"""All metrics of a test set, its maps shared among MPI ranks.

Each rank streams its part in small blocks, once for everything and once more for what needs it. Every number about one
map is computed from that map alone and only integers are summed over ranks, so the result is the same to the last bit
on any number of ranks.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpc_massmap import config
from hpc_massmap.metrics import registry
from hpc_massmap.metrics.error_bars import NOTHING, Known, aspects_of, error_bars_of
from hpc_massmap.metrics.metric import Block, Measurement, Metric, joined
from hpc_massmap.metrics.predictions import Predictions
from hpc_massmap.metrics.results import Metrics, TargetMetrics
from hpc_massmap.mpi import share, together

if TYPE_CHECKING:
    from mpi4py import MPI

MAPS_PER_BLOCK = 16  # 0.8 MB each of predictions and truths


def evaluate(
    predictions: Predictions,
    settings: config.Evaluate,
    comm: "MPI.Intracomm",
    on_map: Callable[[], None],
    known: Known = NOTHING,
) -> Metrics | None:
    """Compare every prediction with its truth (section 4). To be called by all ranks.

    Parameters
    ----------
    on_map : called after each map of this rank, for each target
    known : of errors, beside what the predictions say themselves

    Returns
    -------
    The metrics on rank 0, None on the others.

    Raises
    ------
    InputError
        On all ranks, if a pixel on any is not finite.
    """
    targets, aspects = {}, aspects_of(predictions, known)
    metrics = [metric for metric in registry.METRICS if metric.applies(aspects)]
    for target in predictions.targets:
        measurements = {metric: metric.measurement(settings) for metric in metrics}
        _measure(measurements, predictions, target, comm, on_map, known)
        found = [_gathered(metric, one, settings, comm) for metric, one in measurements.items()]
        targets[target] = TargetMetrics(metric for metric in found if metric is not None)
    return _metrics(predictions, settings, targets) if comm.rank == 0 else None


def _measure(
    measurements: dict[type[Metric], Measurement],
    predictions: Predictions,
    target: str,
    comm: "MPI.Intracomm",
    on_map: Callable[[], None],
    known: Known,
) -> None:
    """Pass over this rank's maps until every measurement has enough; maps count in the first pass."""
    unfinished, is_first = list(measurements.values()), True
    while unfinished:
        with together(comm):
            for block in _blocks(predictions, target, comm, known):
                for measurement in unfinished:
                    measurement.add(block)
                for _ in block.rows if is_first else ():
                    on_map()
        is_first = False
        unfinished = [one for one in unfinished if one.wants_another_pass(lambda counts: _sum(comm, counts))]


def _blocks(predictions: Predictions, target: str, comm: "MPI.Intracomm", known: Known) -> Iterator[Block]:
    own = share(len(predictions), comm)
    r200, r500 = predictions.of_halos("r200"), predictions.of_halos("r500")
    for start in range(own.start, own.stop, MAPS_PER_BLOCK):
        part = slice(start, min(start + MAPS_PER_BLOCK, own.stop))
        predicted, true = predictions.block(target, part)
        error_bars = partial(error_bars_of, predictions, target, part, predicted, known)
        yield Block(predictions.rows[part], predicted, true, r200[part], r500[part], error_bars)


def _gathered(
    metric: type[Metric], measurement: Measurement, settings: config.Evaluate, comm: "MPI.Intracomm"
) -> Metric | None:
    """The metric of all maps on rank 0."""
    rows, known = measurement.found()
    parts = comm.gather(rows)
    return None if parts is None else metric.of_all(joined(parts), known, settings)


def _metrics(predictions: Predictions, settings: config.Evaluate, targets: dict[str, TargetMetrics]) -> Metrics:
    maps, rows = predictions.maps, predictions.rows
    columns = {"row": rows, "halo": maps.halo[rows], "projection": maps.projection[rows]}
    columns |= {name: predictions.of_halos(name) for name in ("m200", "r200", "redshift", "simulation", "region")}
    return Metrics(predictions.name, maps.digest, settings.mass_intervals, columns, targets)


def _sum(comm: "MPI.Intracomm", counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    total = np.empty_like(counts)
    comm.Allreduce(counts, total)
    return total
