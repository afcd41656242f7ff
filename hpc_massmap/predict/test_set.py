"""Predictions over the test set, in physical units, streamed to a file that evaluation and report read.

Ranks take batches as they come and send what they predict to the first, which alone writes: the file is the same on
any number of ranks, and none holds more than a batch a thread. To send a batch takes far less than to predict it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import PIXELS, IntArray
from hpc_massmap.balance import balanced
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.predict.forward import prepared
from hpc_massmap.storage import replacing
from hpc_massmap.train.trained import TrainedModel

if TYPE_CHECKING:
    from mpi4py import MPI

MAPS_PER_BATCH = 16

Maps = npt.NDArray[np.float32]
Write = Callable[[int, Maps], None]


def predict_rows(
    path: Path,
    model: TrainedModel,
    maps: MapFile,
    rows: IntArray,
    name: str,
    comm: "MPI.Intracomm",
    on_maps: Callable[[int], None],
) -> None:
    """Predict some rows of a map file and write them to `path`, whole or not at all. To be called by all ranks.

    Parameters
    ----------
    name : of the run, kept in the file
    on_maps : told on the first rank how many maps were added
    """
    views, targets = model.description.views, model.description.targets
    predict, threads = prepared(model, comm)
    batches = Batches(maps, rows, views, targets, model.normalisation, MAPS_PER_BATCH)

    def work(batch: int) -> Maps:
        start = batch * MAPS_PER_BATCH
        return predict(batches.gather(rows[start : start + MAPS_PER_BATCH], views))

    tasks = -(-len(rows) // MAPS_PER_BATCH)
    if comm.rank:
        balanced(comm, tasks, work, threads, lambda batch, predicted: True)
        return
    with _writing(path, maps, rows, targets, {"name": name, "model": model.digest}) as write:

        def on_done(batch: int, predicted: Maps) -> bool:
            write(batch * MAPS_PER_BATCH, predicted)
            on_maps(len(predicted))
            return True

        balanced(comm, tasks, work, threads, on_done)


@contextmanager
def _writing(
    path: Path, maps: MapFile, rows: IntArray, targets: list[str], attributes: dict[str, str]
) -> Iterator[Write]:
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file["index/row"] = rows
        file.attrs.update({"maps": str(maps.path), "maps_digest": maps.digest, **attributes})
        datasets = []
        for target in targets:
            dataset = file.create_dataset(f"predictions/{target}", (len(rows), PIXELS, PIXELS), np.float32)
            dataset.attrs["unit"] = maps.units[target]
            datasets.append(dataset)

        def write(start: int, predicted: Maps) -> None:
            for channel, dataset in enumerate(datasets):
                dataset[start : start + len(predicted)] = predicted[:, channel]

        yield write
