import re
from collections.abc import Callable

import h5py
import numpy as np
import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.metrics.predictions import digest_of_file, read_predictions, training_of

from .made_up import Folder, write_folder


def test_blocks_pair_each_prediction_with_its_truth(folder: Folder) -> None:
    predictions = folder.predictions
    assert predictions.targets == ["mass", "star"]
    assert len(predictions) == 7
    with h5py.File(predictions.path) as file:
        rows, stored = file["index/row"][:], file["predictions/star"][:]
    predicted, true = predictions.block("star", slice(2, 5))
    np.testing.assert_array_equal(predicted, stored[2:5])
    for n, row in enumerate(rows[2:5]):
        np.testing.assert_array_equal(true[n], folder.maps.maps["star"][row])
    r200 = [folder.maps.halos["r200"][folder.maps.halo[row]] for row in rows]
    np.testing.assert_array_equal(predictions.of_halos("r200"), r200)


def _replace(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def _set_digest(file: h5py.File) -> None:
    file.attrs["maps_digest"] = "0" * 64


def _drop_digest(file: h5py.File) -> None:
    del file.attrs["maps_digest"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set_digest, "has digest"),
        (_drop_digest, "not a readable file of predictions"),
        (_replace("predictions/mass", np.zeros((7, 80, 40), np.float32)), "is float32 (7, 80, 40), not float32"),
        (_replace("predictions/mass", np.zeros((6, 80, 80), np.float32)), "(6, 80, 80), not float32 (7, 80, 80)"),
        (_replace("predictions/mass", np.zeros((7, 80, 80))), "is float64"),
        (_replace("index/row", np.full(7, 10)), "names a map outside the 10"),
        (_replace("index/row", np.full(7, -1)), "names a map outside the 10"),
        (_replace("index/row", np.array([], int)), "nothing to evaluate"),
        (_replace("index/row", np.full(7, 0.5)), "not a list of rows"),
        (_replace("predictions", np.zeros(3)), "not a readable file of predictions"),
        (lambda file: file.move("predictions/mass", "predictions/gas"), "holds no maps"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    folder: Folder, change: Callable[[h5py.File], None], says: str
) -> None:
    with h5py.File(folder.run.predictions, "r+") as file:
        change(file)
    with pytest.raises(InputError) as caught:
        _ = folder.predictions
    assert says in str(caught.value)
    assert str(folder.run.predictions) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pixel_that_is_not_finite_is_named(folder: Folder, value: float) -> None:
    with h5py.File(folder.run.predictions, "r+") as file:
        file["predictions/mass"][4, 70, 3] = value
    predictions = folder.predictions
    predictions.block("mass", slice(0, 4))
    with pytest.raises(InputError, match=r"/predictions/mass\[4, 70, 3\] = (nan|inf) is not finite"):
        predictions.block("mass", slice(3, 6))


def test_missing_and_truncated_files_are_refused(folder: Folder) -> None:
    path, maps = folder.run.predictions, folder.maps
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match="truncated"):
        read_predictions(path, maps)
    path.unlink()
    for read in (lambda: read_predictions(path, maps), lambda: digest_of_file(path)):
        with pytest.raises(InputError, match=r"no such file; run massmap predict first"):
            read()


def test_the_digest_is_of_the_content(folder: Folder) -> None:
    before = digest_of_file(folder.run.predictions)
    write_folder(folder.path, n_test=6)
    assert digest_of_file(folder.run.predictions) != before


@pytest.mark.parametrize(
    ("rows", "views", "says"),
    [
        ([0, 10], ["star"], "/index/train names a map outside the 10"),
        ([-1, 0], ["star"], "/index/train names a map outside the 10"),
        ([0.5, 1.0], ["star"], "/index/train is float64 (2,), not a list of rows"),
        ([0, 1], ["gas"], "does not say which maps"),
        (np.array([], int), ["star"], "does not say which maps"),
        ([0, 1], 3, "not a readable file of predictions"),
    ],
)
def test_training_maps_that_cannot_be_are_refused(folder: Folder, rows: object, views: object, says: str) -> None:
    predictions = folder.predictions
    assert training_of(predictions) is None
    with h5py.File(predictions.path, "r+") as file:
        file["index/train"] = rows
        file["index/validation"] = np.arange(3, 4)
        file.attrs["views"] = views
    with pytest.raises(InputError, match=re.escape(says)):
        training_of(predictions)


def test_training_maps_that_cannot_be_read_are_refused(folder: Folder) -> None:
    predictions = folder.predictions
    with h5py.File(predictions.path, "r+") as file:
        dataset = file.create_dataset("index/train", data=np.arange(3), fletcher32=True)
        file["index/validation"] = np.arange(3, 4)
        file.attrs["views"] = ["star"]
        place = dataset.id.get_chunk_info(0).byte_offset
    content = bytearray(predictions.path.read_bytes())
    content[place] ^= 1
    predictions.path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable file of predictions"):
        training_of(predictions)
