"""Predictions over the test set, in physical units, streamed to a file that evaluation and report read.

Ranks take batches as they come and send what they predict to the first, which alone writes: the file is the same on
any number of ranks, and none holds more than a batch a thread. To send a batch takes far less than to predict it.
Maps and HDF5's own tables carry checksums, so that no byte that changed on the disk becomes a metric.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import PIXELS, checksums_of
from hpc_massmap.balance import balanced
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.split import Rows
from hpc_massmap.hdf5 import new_hdf5
from hpc_massmap.predict.forward import prepared
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
    split: Rows,
    name: str,
    comm: "MPI.Intracomm",
    on_maps: Callable[[int], None],
) -> None:
    """Predict the test rows of a map file and write them to `path`, whole or not at all. To be called by all ranks.

    Parameters
    ----------
    split : the model's; what trained and validated is kept in the file too, if it was of this map file
    name : of the run, kept in the file
    on_maps : told on the first rank how many maps were added
    """
    views, targets, rows = model.description.views, model.description.targets, split.test
    predict, threads = prepared(model, comm)
    batches = Batches(maps, rows, views, targets, model.normalisation, MAPS_PER_BATCH)

    def work(batch: int) -> Maps:
        start = batch * MAPS_PER_BATCH
        return predict(batches.gather(rows[start : start + MAPS_PER_BATCH], views))

    tasks = -(-len(rows) // MAPS_PER_BATCH)
    if comm.rank:
        balanced(comm, tasks, work, threads, lambda batch, predicted: True)
        return
    with _writing(path, maps, split, model, name) as write:

        def on_done(batch: int, predicted: Maps) -> bool:
            write(batch * MAPS_PER_BATCH, predicted)
            on_maps(len(predicted))
            return True

        balanced(comm, tasks, work, threads, on_done)


@contextmanager
def _writing(path: Path, maps: MapFile, split: Rows, model: TrainedModel, name: str) -> Iterator[Write]:
    with new_hdf5(path, libver="latest") as file:  # only tables of the latest format carry checksums
        file.create_dataset("index/row", data=split.test, fletcher32=True)
        if len(split.train):
            file.create_dataset("index/train", data=split.train, fletcher32=True)
            file.create_dataset("index/validation", data=split.validation, fletcher32=True)
        file.attrs.update({"maps": str(maps.path), "maps_digest": maps.digest, "name": name, "model": model.digest})
        file.attrs["views"] = model.description.views
        datasets, checksums = [], np.zeros((len(model.description.targets), len(split.test)), np.uint32)
        for target in model.description.targets:
            dataset = file.create_dataset(f"predictions/{target}", (len(split.test), PIXELS, PIXELS), np.float32)
            dataset.attrs["unit"] = model.normalisation.unit[target]
            datasets.append(dataset)

        def write(start: int, predicted: Maps) -> None:
            for channel, dataset in enumerate(datasets):
                part = slice(start, start + len(predicted))
                dataset[part] = predicted[:, channel]
                checksums[channel, part] = checksums_of(predicted[:, channel])

        yield write
        for target, values in zip(model.description.targets, checksums, strict=True):
            file.create_dataset(f"checksums/{target}", data=values, fletcher32=True)
