"""The step that calibrates: what it keeps, by loops, and what it refuses."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.apertures import enclosed_mass, ring_of_pixels
from hpc_massmap.diagnostics.bands import pixel_scale
from hpc_massmap.diagnostics.calibration import check_is_for, read_calibration
from hpc_massmap.diagnostics.coverage import LEVELS
from hpc_massmap.errors import InputError
from hpc_massmap.jobs.calibrate import main
from hpc_massmap.metrics.predictions import Predictions, read_predictions
from hpc_massmap.metrics.said import said_of

from .made_up import Folder
from .with_errors import POINT, QUANTILES, SAMPLES, Kind, write_run

WHOLE = slice(None)


def validating(folder: Folder) -> Predictions:
    return read_predictions(folder.run.predictions_of_validation, folder.maps)


def calibrated(folder: Folder) -> Path:
    main([str(folder.config_file)])
    return folder.run.calibration


def test_a_point_model_is_given_the_errors_of_its_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path, POINT)
    found = read_calibration(calibrated(folder))
    said = "8 regions (16 maps) can promise levels up to 88.9%; 90% and 95% would take more regions: no interval"
    assert said in capsys.readouterr().out
    assert (found.regions, found.maps, found.says) == (8, 16, "one map")
    predictions, of = validating(folder), found.targets["mass"]
    mean, true = predictions.block("mass", WHOLE)
    r200 = predictions.of_halos("r200")
    off = np.abs(enclosed_mass(true, r200) - enclosed_mass(mean, r200)) / enclosed_mass(mean, r200)
    ring, pixel = ring_of_pixels(), np.abs(true - mean) / pixel_scale(mean)
    for n, level in enumerate(LEVELS):
        if level > 8 / 9:
            assert np.isinf(of.masses[n]).all()
            assert np.isinf(of.pixels[n]).all()
            continue
        for k in range(10):  # all regions have two maps, so that all maps weigh alike
            assert of.masses[n, k] == pytest.approx(np.sort(off[:, k])[int(np.ceil(level * 9 * 2 - 1e-9)) - 1])
        for k in range(11):
            ordered = np.sort(pixel[:, ring == k], axis=None)
            place = int(np.ceil(level * 9 / 8 * ordered.size - 1e-6)) - 1
            assert of.pixels[n, k] == pytest.approx(ordered[place], rel=1e-4)
    assert of.residuals.masses.shape == (99, 10)
    signed = (enclosed_mass(true, r200) / enclosed_mass(mean, r200) - 1)[:, -1]
    np.testing.assert_allclose(of.residuals.masses[49, -1], np.sort(signed)[7], rtol=1e-9)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", [SAMPLES, QUANTILES], ids=["samples", "quantiles"])
def test_widths_that_are_wrong_are_put_right(tmp_path: Path, kind: Kind, width: float) -> None:
    """By the factor that they are wrong by; and on test maps 68 % of the pixels lie inside."""
    folder = write_run(tmp_path, Kind(kind.samples, kind.levels, width))
    of = read_calibration(calibrated(folder)).targets["mass"]
    assert of.pixels[1].mean() == pytest.approx(1.1 / width - 1, abs=0.35 / width)
    predictions = folder.predictions
    mean, true = predictions.block("mass", WHOLE)
    band = said_of(predictions, "mass", WHOLE, mean).pixel_band
    low, high = of.of_pixels(band)
    inside = (low[1] <= true) & (true <= high[1])
    assert inside.mean() == pytest.approx(0.72, abs=0.06)  # at least 68 %, at most 1/9 more
    assert np.isinf(high[3]).all()


def test_masses_of_quantiles_have_the_scale_of_their_widths(tmp_path: Path) -> None:
    predictions = validating(write_run(tmp_path, QUANTILES))
    mean, _ = predictions.block("mass", slice(0, 3))
    said = said_of(predictions, "mass", slice(0, 3), mean)
    quantiles = predictions.quantiles("mass", slice(0, 3))
    width = enclosed_mass(quantiles[:, 3] - quantiles[:, 1], predictions.of_halos("r200")[:3]) / 2
    np.testing.assert_allclose(said.mass_band.scale[0], width)
    np.testing.assert_array_equal(said.mass_band.low, said.mass_band.high)


def refusal(folder: Folder) -> str:
    with pytest.raises(InputError) as caught:
        calibrated(folder)
    assert not folder.run.calibration.exists()
    return str(caught.value)


def test_one_region_calibrates_nothing(tmp_path: Path) -> None:
    assert "its 2 maps show 1 region, by which nothing can be calibrated" in refusal(
        write_run(tmp_path, POINT, regions=3)
    )


def test_test_maps_are_never_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path, POINT)
    folder.run.predictions_of_validation.unlink()
    folder.run.predictions.rename(folder.run.predictions_of_validation)
    assert "is none that validated the model; run massmap predict --validation" in refusal(folder)


def test_regions_that_trained_promise_nothing(tmp_path: Path) -> None:
    folder = write_run(tmp_path, POINT)
    with h5py.File(folder.run.predictions_of_validation, "a") as file:
        file["index/train"][:1] = file["index/validation"][:1] + 1  # the other line of sight
    assert "trained the model and validated it" in refusal(folder)


def test_predictions_that_do_not_say_what_validated_are_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path, POINT)
    with h5py.File(folder.run.predictions_of_validation, "a") as file:
        del file["index/validation"]
    assert "does not say which maps validated" in refusal(folder)
    folder.run.predictions_of_validation.unlink()
    assert "no such file; run massmap predict" in refusal(folder)


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (("1" * 64, "maps", "one map"), "made for another model (digest 000000000000, not 111111111111)"),
        (("0" * 64, "other maps", "one map"), "made on another map file"),
        (("0" * 64, "maps", "12 samples"), "made for one map, not for 12 samples"),
    ],
)
def test_a_calibration_of_something_else_is_refused(tmp_path: Path, what: tuple[str, str, str], line: str) -> None:
    folder = write_run(tmp_path, POINT)
    path = calibrated(folder)
    model, maps, says = what
    digest = folder.maps.digest if maps == "maps" else maps
    with pytest.raises(InputError) as caught:
        check_is_for(path, read_calibration(path), model, digest, says)
    assert line in str(caught.value)
    check_is_for(path, read_calibration(path), "0" * 64, folder.maps.digest, "one map")


def test_a_damaged_calibration_is_one_line(tmp_path: Path) -> None:
    path = calibrated(write_run(tmp_path, POINT))
    with h5py.File(path, "a") as file:
        del file["mass/pixels"]
        file["mass/pixels"] = np.zeros((4, 3))
    with pytest.raises(InputError, match=r"not a readable calibration; .* is float64 \(4, 3\), not numbers \(4, 11\)"):
        read_calibration(path)
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = 0
    with pytest.raises(InputError, match="a calibration of another version"):
        read_calibration(path)


def test_it_is_done_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path, POINT)
    calibrated(folder)
    calibrated(folder)
    assert "calibrate: already done on" in capsys.readouterr().out
