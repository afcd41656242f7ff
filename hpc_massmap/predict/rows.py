"""Predictions of some rows of a map file, in physical units, streamed to a file that evaluation and report read.

Ranks take batches as they come and send what they predict to the first, which alone writes: the file is the same on
any number of ranks, and none holds more than a batch a thread. To send a batch takes far less than to predict it.
Samples take long: finished batches of them are kept beside the file until it is whole (`predict/pieces.py`).
Maps and HDF5's own tables carry checksums, so that no byte that changed on the disk becomes a metric.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray, checksums_of
from hpc_massmap.balance import balanced
from hpc_massmap.config import AS_DRAWN, Observe
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.split import Rows
from hpc_massmap.dataset.writing import write_halos
from hpc_massmap.diagnostics.likeness import UNLIKE
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import new_hdf5
from hpc_massmap.model.symmetries import OverSymmetries
from hpc_massmap.observe.observation import observed
from hpc_massmap.posterior.kinds import kind_of, levels_of
from hpc_massmap.predict.forward import prepared
from hpc_massmap.predict.kept import Kept, kept
from hpc_massmap.predict.pieces import Pieces
from hpc_massmap.train.trained import TrainedModel
from hpc_massmap.units import to_file

if TYPE_CHECKING:
    from mpi4py import MPI

MAPS_PER_BATCH = 16

Write = Callable[[int, Kept], None]


@dataclass(frozen=True)
class Which:
    """What of a split is predicted, and what is kept of it.

    Attributes
    ----------
    part : of the split
    observe : what telescopes see of the maps, which are given as they were drawn
    samples : of each map; `posterior.kinds.samples_of` says how many a model can have
    seed : of the samples
    symmetries : whether the network's answers are averaged over those of the square
    """

    part: Literal["test", "validation"] = "test"
    samples: int = 0
    seed: int = 0
    symmetries: bool = False
    observe: Observe = AS_DRAWN

    def as_dict(self) -> dict[str, Any]:
        """As plain data; without telescopes, if there are none."""
        plain = {name: value for name, value in vars(self).items() if name != "observe"}
        return plain | ({"observe": self.observe.model_dump(mode="json")} if self.observe.is_on else {})


def predict_rows(
    path: Path,
    model: TrainedModel,
    maps: MapFile,
    split: Rows,
    name: str,
    comm: "MPI.Intracomm",
    on_maps: Callable[[int], None],
    which: Which = Which(),
    likeness: FloatArray | None = None,
) -> None:
    """Predict rows of a map file and write them to `path`, whole or not at all. To be called by all ranks.

    Parameters
    ----------
    split : the model's; what trained and validated is kept in the file too, if it was of this map file
    name : of the run, kept in the file
    on_maps : told on the first rank how many maps were added
    likeness : (n,), the p-value of each row, if it is known
    """
    views, targets, rows = model.description.views, model.description.targets, _rows(split, which)
    says, threads = prepared(over_symmetries(model) if which.symmetries else model, comm)
    levels = levels_of(model.description)
    seen = observed(maps, which.observe, views)
    batches = Batches(seen, rows, views, targets, model.normalisation, MAPS_PER_BATCH)

    def work(task: int) -> Kept:
        batch = todo[task]
        own = rows[batch * MAPS_PER_BATCH :][:MAPS_PER_BATCH]
        return kept(says(batches.gather(own, views), own), levels, which.samples, which.seed)

    todo = list(range(-(-len(rows) // MAPS_PER_BATCH)))
    if comm.rank:
        todo = comm.bcast(None)
        balanced(comm, len(todo), work, threads, lambda task, predicted: True)
        return
    pieces = Pieces.of(path, model.digest, maps.digest, rows.tolist(), which.as_dict()) if which.samples else None
    with _writing(path, maps, split, model, name, which, likeness) as write:

        def keep(batch: int, predicted: Kept) -> None:
            write(batch * MAPS_PER_BATCH, predicted)
            on_maps(len(predicted))

        def on_done(task: int, predicted: Kept) -> bool:
            if pieces is not None:
                pieces.write(todo[task], predicted)
            keep(todo[task], predicted)
            return True

        if pieces is not None:
            for batch in list(todo):
                finished = pieces.read(batch)
                if finished is not None:
                    keep(batch, finished)
                    todo.remove(batch)
        comm.bcast(todo)
        balanced(comm, len(todo), work, threads, on_done)
    if pieces is not None:
        pieces.discard()


def over_symmetries(model: TrainedModel) -> TrainedModel:
    """The model, or ensemble, that averages what a network says of a map in the eight ways a square can be turned.

    Raises
    ------
    InputError
        If it draws whole maps: those of eight ways are not of one cluster.
    """
    if kind_of(model.description).draws:
        raise InputError(
            "predict.symmetries = true: for models that say one map or quantiles, not for samples of a flow"
        )
    return replace(
        model,
        network=OverSymmetries(model.network),
        members=tuple(over_symmetries(member) for member in model.members),
    )


def _rows(split: Rows, which: Which) -> IntArray:
    return split.test if which.part == "test" else split.validation


@contextmanager
def _writing(
    path: Path,
    maps: MapFile,
    split: Rows,
    model: TrainedModel,
    name: str,
    which: Which,
    likeness: FloatArray | None,
) -> Iterator[Write]:
    rows, levels = _rows(split, which), levels_of(model.description)
    with new_hdf5(path, libver="latest") as file:  # only tables of the latest format carry checksums
        file.create_dataset("index/row", data=rows, fletcher32=True)
        if len(split.train):
            file.create_dataset("index/train", data=split.train, fletcher32=True)
            file.create_dataset("index/validation", data=split.validation, fletcher32=True)
        file.attrs.update({"maps": str(maps.path), "maps_digest": maps.digest, "name": name, "model": model.digest})
        file.attrs["views"] = model.description.views
        if which.symmetries:
            file.attrs["symmetries"] = True
        if which.observe.is_on:
            file.attrs["observe"] = which.observe.model_dump_json()
        if "h" in maps.attributes:
            file.attrs["h"] = maps.attributes["h"]
        write_halos(file, maps, rows)
        if likeness is not None:
            file.create_dataset("likeness", data=likeness, fletcher32=True)
            file["likeness"].attrs["unlike"] = UNLIKE  # below it a map's error bars are not calibrated
        stacks = {"predictions": _Stack(file, "predictions", "checksums", model, (len(rows),), np.float32)}
        if levels:
            shape = (len(rows), len(levels))
            stacks["quantiles"] = _Stack(file, "quantiles", "checksums_of_quantiles", model, shape, np.float32)
            stacks["quantiles"].say("levels", levels)
        if which.samples:
            shape = (len(rows), which.samples)
            stacks["samples"] = _Stack(file, "samples", "checksums_of_samples", model, shape, np.float16)
            stacks["samples"].say("seed", which.seed)
        scales = np.ones((len(model.description.targets), len(rows)), np.float32)

        def write(start: int, predicted: Kept) -> None:
            part = slice(start, start + len(predicted))
            scales[:, part] = predicted.scales.T
            found: dict[str, FloatArray] = {
                "predictions": predicted.mean,
                "quantiles": predicted.quantiles,
                "samples": predicted.samples,
            }
            for name, stack in stacks.items():
                stack.write(part, found[name])

        yield write
        for stack in stacks.values():
            stack.write_checksums()
        if which.samples:
            for target, values in zip(model.description.targets, scales, strict=True):
                file.create_dataset(f"scales/{target}", data=values, fletcher32=True)


class _Stack:
    """Maps of all targets under one name, contiguous, so that the file does not tell in which order they came."""

    def __init__(
        self,
        file: h5py.File,
        name: str,
        checksums: str,
        model: TrainedModel,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
    ) -> None:
        self._file, self._checksums, self._targets = file, checksums, model.description.targets
        self._datasets = []
        for target in self._targets:
            dataset = file.create_dataset(f"{name}/{target}", (*shape, PIXELS, PIXELS), dtype)
            dataset.attrs["unit"] = to_file(model.normalisation.unit[target])
            self._datasets.append(dataset)
        self._found = np.zeros((len(self._targets), shape[0]), np.uint32)

    def say(self, attribute: str, value: int | Sequence[float]) -> None:
        for dataset in self._datasets:
            dataset.attrs[attribute] = value

    def write(self, part: slice, maps: FloatArray) -> None:
        """Maps (n, targets, ..., 80, 80) to some rows."""
        for channel, dataset in enumerate(self._datasets):
            dataset[part] = maps[:, channel]
            self._found[channel, part] = checksums_of(maps[:, channel])

    def write_checksums(self) -> None:
        for target, values in zip(self._targets, self._found, strict=True):
            self._file.create_dataset(f"{self._checksums}/{target}", data=values, fletcher32=True)
