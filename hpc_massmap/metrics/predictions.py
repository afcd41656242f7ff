"""Reading predictions.h5, the predicted maps of a test set, beside the map file they belong to.

Only the header is read at once; maps come in slices, so memory does not grow with the test set.
"""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray, checksums_of
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import Unreadable, attribute_of, attributes_of, dataset_of, names_in, opened, values_of

AGAIN = "run jobs/predict.py again"


@dataclass(frozen=True)
class Predictions:
    """A checked predictions.h5 and the map file that holds the truth.

    Attributes
    ----------
    name : of the run that predicted
    targets : what was predicted, each a name of `maps.maps`
    rows : (n_test,), row of each prediction in the map file
    """

    path: Path
    maps: MapFile
    name: str
    targets: list[str]
    rows: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def block(self, target: str, part: slice) -> tuple[FloatArray, FloatArray]:
        """Some predicted maps and their truths.

        Returns
        -------
        predicted, true : (n, 80, 80) each, float64, physical units

        Raises
        ------
        InputError
            If a map is not as it was written, or a pixel is not finite; it names the map and the pixel.
        """
        with _opened(self.path) as file:
            predicted = values_of(dataset_of(file, f"predictions/{target}"), part)
            known = checksums_of(predicted)
            if "checksums" in names_in(file):
                known = values_of(dataset_of(file, f"checksums/{target}"), part)
        changed = np.flatnonzero(checksums_of(predicted) != known)
        if len(changed):
            n = np.arange(len(self))[part][changed[0]]
            raise InputError(f"{self.path}: /predictions/{target}[{n}] does not match its checksum; {AGAIN}")
        true = self.maps.maps[target][self.rows[part]]
        _refuse_non_finite(f"{self.path}: /predictions/{target}", predicted, np.arange(len(self))[part], AGAIN)
        _refuse_non_finite(f"{self.maps.path}: /maps/{target}", true, self.rows[part], "make the map file again")
        return predicted.astype(np.float64), true.astype(np.float64)

    def of_halos(self, column: str) -> npt.NDArray[Any]:
        """A column of the halo table, one value a prediction: (n_test,)."""
        return self.maps.halos[column][self.maps.halo[self.rows]]


def read_predictions(path: Path, maps: MapFile) -> Predictions:
    """Open predictions.h5 and check that it is whole and belongs to `maps`.

    Raises
    ------
    InputError
        If it is missing, truncated, empty, of a wrong shape, or was made from other maps.
    """
    with _opened(path) as file:
        rows = values_of(dataset_of(file, "index/row"))
        targets = sorted(names_in(file, "predictions"))
        found = {target: dataset_of(file, f"predictions/{target}") for target in targets}
        shapes = {target: (dataset.shape, dataset.dtype) for target, dataset in found.items()}
        digest, made_from, name = (str(attribute_of(file, key)) for key in ("maps_digest", "maps", "name"))
    if digest != maps.digest:
        raise InputError(
            f"{path}: predicted from {made_from} (digest {digest[:12]}), but {maps.path} has digest "
            f"{maps.digest[:12]}; {AGAIN}"
        )
    _refuse_no_rows(path, "row", rows, maps)
    if len(rows) == 0 or not targets:
        raise InputError(f"{path}: holds no predictions, so there is nothing to evaluate; check the split's test set")
    for target, (shape, dtype) in shapes.items():
        if target not in maps.maps:
            raise InputError(f"{path}: predicts {target!r}, of which {maps.path} holds no maps")
        if shape != (len(rows), PIXELS, PIXELS) or dtype != np.float32:
            wanted = f"float32 ({len(rows)}, {PIXELS}, {PIXELS})"
            raise InputError(f"{path}: /predictions/{target} is {dtype} {shape}, not {wanted}; {AGAIN}")
    return Predictions(path, maps, name, targets, rows)


@dataclass(frozen=True)
class Training:
    """What a model was made from.

    Attributes
    ----------
    rows, validation : (n,), of the map file, that trained and that validated
    views : that it sees
    """

    rows: IntArray
    validation: IntArray
    views: list[str]


def training_of(predictions: Predictions) -> Training | None:
    """What made the model; None if the file does not say, or if that was other maps than it was tested on.

    Raises
    ------
    InputError
        If what it says is damaged, or not of its map file.
    """
    path, maps = predictions.path, predictions.maps
    with _opened(path) as file:
        if not ({"train", "validation"} <= set(names_in(file, "index")) and "views" in attributes_of(file)):
            return None
        rows, validation = (values_of(dataset_of(file, f"index/{part}")) for part in ("train", "validation"))
        views = np.atleast_1d(attribute_of(file, "views")).tolist()
        if not all(isinstance(view, str) for view in views):
            raise Unreadable("its attribute views has no texts")
    _refuse_no_rows(path, "train", rows, maps)
    _refuse_no_rows(path, "validation", validation, maps)
    if not len(rows) or not views or not set(views) <= maps.maps.keys():
        raise InputError(f"{path}: does not say which maps of {maps.path} trained its model; {AGAIN}")
    return Training(rows, validation, views)


def digest_of_file(path: Path) -> str:
    """SHA-256 of predictions.h5 as it stands, the identity of an evaluation's input."""
    with _opened(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(path: Path) -> AbstractContextManager[h5py.File]:
    complaint = f"{path}: not a readable file of predictions; {AGAIN}"
    return opened(path, complaint, f"{path}: no such file; run jobs/predict.py first")


def _refuse_no_rows(path: Path, name: str, rows: IntArray, maps: MapFile) -> None:
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError(f"{path}: /index/{name} is {rows.dtype} {rows.shape}, not a list of rows; {AGAIN}")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(maps)):
        raise InputError(f"{path}: /index/{name} names a map outside the {len(maps)} of {maps.path}; {AGAIN}")


def _refuse_non_finite(what: str, block: FloatArray, rows: IntArray, remedy: str) -> None:
    bad = ~np.isfinite(block)
    if bad.any():
        n, i, j = (int(index) for index in np.argwhere(bad)[0])
        raise InputError(f"{what}[{rows[n]}, {i}, {j}] = {block[n, i, j]} is not finite; {remedy}")
