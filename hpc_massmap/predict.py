"""Predictions over the test set, in physical units, streamed to a file that evaluation and report read."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.storage import replacing
from hpc_massmap.train.loop import autocast
from hpc_massmap.train.trained import TrainedModel

MAPS_PER_BATCH = 32


def predict_maps(model: TrainedModel, maps: MapFile, rows: IntArray, device: torch.device) -> Iterator[FloatArray]:
    """Yield (n, targets, 80, 80) float32 physical maps that together cover `rows` in order."""
    views, targets = model.description.views, model.description.targets
    network = model.network.to(device)
    batches = Batches(maps, rows, views, targets, model.normalisation, MAPS_PER_BATCH)
    with torch.inference_mode():
        for batch in batches.in_order():
            with autocast(model.precision, device):
                predicted = network(batch.views.to(device))
            yield model.normalisation.invert(predicted.float(), targets).cpu().numpy()


def write_predictions(
    path: Path,
    maps: MapFile,
    rows: IntArray,
    targets: list[str],
    predictions: Iterable[FloatArray],
    attributes: dict[str, str],
    on_maps: Callable[[int], None],
) -> None:
    """Write the predictions of `rows`, whole or not at all.

    Parameters
    ----------
    predictions : (n, targets, 80, 80) arrays that together cover `rows` in order
    on_maps : told how many maps were added
    """
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file["index/row"] = rows
        datasets = []
        for target in targets:
            dataset = file.create_dataset(f"predictions/{target}", (len(rows), PIXELS, PIXELS), np.float32)
            dataset.attrs["unit"] = maps.units[target]
            datasets.append(dataset)
        done = 0
        for block in predictions:
            for channel, dataset in enumerate(datasets):
                dataset[done : done + len(block)] = block[:, channel]
            done += len(block)
            on_maps(len(block))
        file.attrs.update({"maps": str(maps.path), "maps_digest": maps.digest, **attributes})
