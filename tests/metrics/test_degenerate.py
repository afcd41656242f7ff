"""Maps that no simulation makes, but a bad network or an empty component does: every metric is defined or left out."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.driver import evaluate
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.pixels import Pixels
from hpc_massmap.metrics.power import Power
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics, read_metrics, write_metrics
from hpc_massmap.metrics.summary import headline
from hpc_massmap.mpi import communicator

from .made_up import write_folder

SCALES = 5  # of the MMD, each adds as much for maps without any spread
ZEROS = np.zeros((80, 80), np.float32)
CONSTANT = np.full((80, 80), 0.1, np.float32)
BRIGHT = ZEROS.copy()
BRIGHT[40, 45] = 1e9  # 5.52 pixels from the centre: inside 0.2 R200, not inside 0.1 R200
LUMPS = np.random.default_rng(17).lognormal(0, 1, (80, 80)).astype(np.float32)


def metrics_of(folder: Path, true: FloatArray, predicted: FloatArray) -> Metrics:
    """An evaluation of `mass` maps that are all the same, to a file and back."""
    made = write_folder(folder, n_test=3)
    with h5py.File(folder / "maps.h5", "r+") as file:
        file["maps/mass"][:] = true
    with h5py.File(made.run.predictions, "r+") as file:
        file["predictions/mass"][:] = predicted
    with communicator() as comm:
        metrics = evaluate(made.predictions, made.config.evaluate, comm, on_map=lambda: None)
    assert metrics is not None
    write_metrics(made.run.metrics, metrics)
    assert "mass: 3 test maps" in "\n".join(headline(metrics))
    return read_metrics(made.run.metrics)


@pytest.mark.parametrize(
    ("true", "predicted", "difference", "bias", "power", "mmd"),
    [
        pytest.param(ZEROS, ZEROS, 0.0, 0.0, 0.0, 0.0, id="nothing, rightly"),
        pytest.param(ZEROS, LUMPS, np.nan, np.nan, np.nan, SCALES, id="something of nothing"),
        pytest.param(CONSTANT, CONSTANT, 0.0, 0.0, 0.0, 0.0, id="constant, rightly"),
        pytest.param(CONSTANT, 3 * CONSTANT, 2.0, 2.0, 0.0, 2 * SCALES, id="another constant"),
        pytest.param(CONSTANT, ZEROS, -1.0, -1.0, 0.0, 2 * SCALES, id="nothing of a constant"),
        pytest.param(CONSTANT, LUMPS, None, None, np.nan, SCALES, id="structure of a constant"),
        pytest.param(LUMPS, ZEROS, -1.0, -1.0, -1.0, None, id="nothing of something"),
    ],
)
def test_maps_without_structure(
    tmp_path: Path,
    true: FloatArray,
    predicted: FloatArray,
    difference: float | None,
    bias: float | None,
    power: float,
    mmd: float | None,
) -> None:
    result = metrics_of(tmp_path, true, predicted).targets["mass"]
    for pixels in result[Pixels].apertures.values():
        if difference is not None:
            np.testing.assert_allclose([pixels.p16, pixels.median, pixels.p84], difference, rtol=1e-6)
            assert (pixels.count == 0) == np.isnan(difference)
    if bias is not None:
        np.testing.assert_allclose(result[Profiles].bias, bias, rtol=1e-6)
    np.testing.assert_allclose(result[Power].difference, power, rtol=1e-6)
    if mmd is not None:
        np.testing.assert_allclose(result[Mmd].value, mmd, rtol=1e-12)
    assert np.isfinite(result[Mmd].value).all()
    assert np.isfinite(result[Mmd].calibration).all()


def test_one_bright_pixel_twice_as_bright(tmp_path: Path) -> None:
    result = metrics_of(tmp_path, BRIGHT, 2 * BRIGHT).targets["mass"]
    for pixels in result[Pixels].apertures.values():
        assert (pixels.p16, pixels.median, pixels.p84) == (0.0, 0.0, 0.0)
        assert pixels.counts.sum() == pixels.count
    np.testing.assert_allclose(result[Profiles].bias, [[0.0] + 9 * [1.0]] * 3)  # nothing in the smallest, rightly
    np.testing.assert_allclose(result[Power].difference, 3.0, rtol=1e-10)
    assert np.isfinite(result[Mmd].value).all()
    assert np.isfinite(result[Mmd].calibration).all()
