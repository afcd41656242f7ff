"""Reading predictions.h5, the predicted maps of a test set, beside the map file they belong to.

Only the header is read at once; maps come in slices, so memory does not grow with the test set.
"""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray, checksums_of
from hpc_massmap.config import AS_DRAWN, Observe
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import Unreadable, attribute_of, attributes_of, dataset_of, names_in, opened, values_of
from hpc_massmap.observe.observation import observed

AGAIN = "run massmap predict again"


@dataclass(frozen=True)
class Predictions:
    """A checked predictions.h5 and the map file that holds the truth.

    Attributes
    ----------
    maps : with the views as the network was shown them
    name : of the run that predicted
    targets : what was predicted, each a name of `maps.maps`
    rows : (n_test,), row of each prediction in the map file
    levels : (k,), of the quantiles that are kept; none where there are none
    n_samples : of each map; 0 where there are none
    symmetries : whether they are averaged over those of the square
    observe : the telescopes through which the network saw the maps
    """

    path: Path
    maps: MapFile
    name: str
    targets: list[str]
    rows: IntArray
    levels: tuple[float, ...] = field(default=(), kw_only=True)
    n_samples: int = field(default=0, kw_only=True)
    symmetries: bool = field(default=False, kw_only=True)
    observe: Observe = field(default=AS_DRAWN, kw_only=True)

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
        predicted = self._stored(f"predictions/{target}", "checksums", part)
        true = self.maps.maps[target][self.rows[part]]
        _refuse_non_finite(f"{self.maps.path}: /maps/{target}", true, self.rows[part], "make the map file again")
        return predicted.astype(np.float64), true.astype(np.float64)

    def quantiles(self, target: str, part: slice) -> FloatArray:
        """Quantiles of some maps at `levels`: (n, k, 80, 80) float64, physical units; raises what `block` does."""
        return self._stored(f"quantiles/{target}", "checksums_of_quantiles", part).astype(np.float64)

    def samples(self, target: str, part: slice) -> FloatArray:
        """Samples of some maps: (n, n_samples, 80, 80) float64, physical units; raises what `block` does."""
        stored = self._stored(f"samples/{target}", "checksums_of_samples", part)
        with _opened(self.path) as file:
            scales = values_of(dataset_of(file, f"scales/{target}"), part)
        return np.asarray(stored.astype(np.float64) * scales[:, None, None, None])

    def _stored(self, name: str, checksums: str, part: slice) -> FloatArray:
        with _opened(self.path) as file:
            values = values_of(dataset_of(file, name), part)
            known = checksums_of(values)
            if checksums in names_in(file):
                known = values_of(dataset_of(file, f"{checksums}/{name.rpartition('/')[2]}"), part)
        numbers = np.arange(len(self))[part]
        changed = np.flatnonzero(checksums_of(values) != known)
        if len(changed):
            raise InputError(f"{self.path}: /{name}[{numbers[changed[0]]}] does not match its checksum; {AGAIN}")
        _refuse_non_finite(f"{self.path}: /{name}", values, numbers, AGAIN)
        return np.asarray(values)

    @cached_property
    def likeness(self) -> FloatArray | None:
        """The p-values of looking like what trained the model, (n_test,); None if they are not known."""
        with _opened(self.path) as file:
            if "likeness" not in names_in(file):
                return None
            found = values_of(dataset_of(file, "likeness"))
            if found.shape != (len(self),) or found.dtype.kind != "f":
                raise Unreadable(f"likeness is {found.dtype} {found.shape}, not ({len(self)},)")
        return found

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
        levels, n_samples = _extent(file, targets, len(rows))
        symmetries = "symmetries" in attributes_of(file)
        observe = _observe(path, attributes_of(file))
        views = np.atleast_1d(attribute_of(file, "views")).tolist() if observe.is_on else []
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
    said: dict[str, Any] = {"levels": levels, "n_samples": n_samples, "symmetries": symmetries, "observe": observe}
    return Predictions(path, observed(maps, observe, views), name, targets, rows, **said)


def _observe(path: Path, said: dict[str, Any]) -> Observe:
    if "observe" not in said:
        return AS_DRAWN
    try:
        return Observe.model_validate_json(str(said["observe"]))
    except ValidationError:
        raise InputError(f"{path}: its attribute observe is damaged, or of another version; {AGAIN}") from None


def _extent(file: h5py.File, targets: list[str], n_maps: int) -> tuple[tuple[float, ...], int]:
    """Levels of quantiles and number of samples; what is there of one target is there of all."""
    levels: tuple[float, ...] = ()
    n_samples = 0
    for target in targets:
        if "quantiles" in names_in(file):
            dataset = dataset_of(file, f"quantiles/{target}")
            levels = tuple(np.atleast_1d(attribute_of(dataset, "levels")).astype(float).tolist())
            _refuse_shape(dataset, (n_maps, len(levels), PIXELS, PIXELS))
        if "samples" in names_in(file):
            dataset = dataset_of(file, f"samples/{target}")
            n_samples = dataset.shape[1] if dataset.ndim == 4 else 0
            _refuse_shape(dataset, (n_maps, n_samples, PIXELS, PIXELS))
            _refuse_shape(dataset_of(file, f"scales/{target}"), (n_maps,))
    return levels, n_samples


def _refuse_shape(dataset: h5py.Dataset, shape: tuple[int, ...]) -> None:
    if dataset.shape != shape or dataset.dtype.kind != "f":
        raise Unreadable(f"{dataset.name} is {dataset.dtype} {dataset.shape}, not {shape}")


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


def model_of(predictions: Predictions) -> str:
    """The digest of the model that predicted; raises an InputError if the file does not say it."""
    with _opened(predictions.path) as file:
        return str(attribute_of(file, "model"))


def digest_of_file(path: Path) -> str:
    """SHA-256 of predictions.h5 as it stands, the identity of an evaluation's input."""
    with _opened(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(path: Path) -> AbstractContextManager[h5py.File]:
    complaint = f"{path}: not a readable file of predictions; {AGAIN}"
    return opened(path, complaint, f"{path}: no such file; run massmap predict first")


def _refuse_no_rows(path: Path, name: str, rows: IntArray, maps: MapFile) -> None:
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError(f"{path}: /index/{name} is {rows.dtype} {rows.shape}, not a list of rows; {AGAIN}")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(maps)):
        raise InputError(f"{path}: /index/{name} names a map outside the {len(maps)} of {maps.path}; {AGAIN}")


def _refuse_non_finite(what: str, block: FloatArray, rows: IntArray, remedy: str) -> None:
    bad = ~np.isfinite(block)
    if bad.any():
        n, *rest = (int(index) for index in np.argwhere(bad)[0])
        at = ", ".join(map(str, (rows[n], *rest)))
        raise InputError(f"{what}[{at}] = {block[(n, *rest)]} is not finite; {remedy}")
