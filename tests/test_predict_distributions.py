"""Predictions of models that say more than one map: what is kept of it, for test and validation, on any ranks."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits

from hpc_massmap.config import load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.diagnostics.calibration import read_calibration
from hpc_massmap.diagnostics.coverage import LEVELS as PROMISED
from hpc_massmap.errors import InputError
from hpc_massmap.jobs.calibrate import main as calibrate
from hpc_massmap.jobs.predict import main, members_of
from hpc_massmap.metrics.error_bars import Known, error_bars_of
from hpc_massmap.metrics.predictions import Predictions, read_predictions
from hpc_massmap.predict.kept import Kept, compressed, kept
from hpc_massmap.predict.rows import MAPS_PER_BATCH
from hpc_massmap.run import Run
from hpc_massmap.train.trained import load_model
from hpc_massmap.tune.export import to_jsonl
from tests.conftest import ROOT, Launch
from tests.trained_run import write_model, write_run
from tests.tune.made_up import trial

JOB = ROOT / "jobs" / "predict.py"
LEVELS = (0.05, 0.16, 0.5, 0.84, 0.95)


def predicted(config: Path, *words: str) -> Predictions:
    """By the job, in this process."""
    main([str(config), *words])
    name = "predictions_validation.h5" if "--validation" in words else "predictions.h5"
    return read_predictions(folder_of(config) / name, open_maps(config.parent / "maps.h5"))


def folder_of(config: Path) -> Path:
    return config.parent / "runs" / "small"


@pytest.fixture(scope="module")
def of_quantiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("quantiles"), output="quantiles")


def test_quantiles_are_kept_beside_the_mean(of_quantiles: Path) -> None:
    found = predicted(of_quantiles)
    assert (found.levels, found.n_samples) == (LEVELS, 0)
    quantiles = found.quantiles("mass", slice(None))
    assert quantiles.shape == (len(found), 5, 80, 80)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert not np.array_equal(found.block("mass", slice(None))[0], quantiles[:, 2])
    with h5py.File(found.path) as file:
        assert file["quantiles/mass"].attrs["unit"] == file["predictions/mass"].attrs["unit"]
        assert "samples" not in file


def test_the_validation_is_predicted_on_request_into_a_file_of_its_own(of_quantiles: Path) -> None:
    found = predicted(of_quantiles, "--validation")
    model = load_model(folder_of(of_quantiles) / "model")
    np.testing.assert_array_equal(found.rows, split_maps(found.maps, model.split).validation)
    assert found.quantiles("mass", slice(0, 2)).shape == (2, 5, 80, 80)


def test_any_number_of_ranks_writes_the_same_bits(of_quantiles: Path, launch: Launch) -> None:
    alone = predicted(of_quantiles, "--validation", "--force").path.read_bytes()
    done = launch(2, JOB, of_quantiles, "--validation", "--force")
    assert done.returncode == 0, done.stderr
    assert (folder_of(of_quantiles) / "predictions_validation.h5").read_bytes() == alone


@pytest.fixture(scope="module")
def of_flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("flow"), output="flow")


def test_samples_are_kept_with_their_mean_and_the_same_on_any_ranks(of_flow: Path, launch: Launch) -> None:
    found = predicted(of_flow, "predict.samples=3", "--validation")
    assert (found.levels, found.n_samples) == ((), 3)
    samples, (mean, _) = found.samples("mass", slice(2, 20)), found.block("mass", slice(2, 20))
    assert samples.shape == (18, 3, 80, 80)
    np.testing.assert_allclose(samples.mean(1), mean, atol=2e-3 * np.abs(samples).max())
    assert np.abs(samples[:, 0] - samples[:, 1]).mean() > 0.01 * np.abs(samples).mean()
    written = found.path.read_bytes()
    done = launch(2, JOB, of_flow, "predict.samples=3", "--validation", "--force")
    assert done.returncode == 0, done.stderr
    assert found.path.read_bytes() == written
    with pytest.raises(InputError, match="predict_validation was done with samples = 3, now 4"):
        main([str(of_flow), "predict.samples=4", "--validation"])


def test_a_prediction_that_was_killed_goes_on_with_any_ranks(
    of_flow: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict.samples=2", "--validation")
    path = predicted(of_flow, *words, "--force").path
    whole, parts = path.read_bytes(), path.with_name(f"{path.name}.parts")
    n_batches = -(-len(read_predictions(path, open_maps(of_flow.parent / "maps.h5"))) // MAPS_PER_BATCH)
    assert n_batches > 2
    assert not parts.exists()

    asked = list[int]()

    def until(most: int) -> Callable[..., Kept]:
        def work(*said: Any) -> Kept:
            asked.append(1)
            if len(asked) > most:
                raise KeyboardInterrupt
            return kept(*said)

        asked.clear()
        return work

    monkeypatch.setattr("hpc_massmap.predict.rows.kept", until(n_batches - 1))
    monkeypatch.setattr("hpc_massmap.predict.forward.own_threads", lambda comm: 1)
    with pytest.raises(KeyboardInterrupt):
        main([str(of_flow), *words, "--force"])
    assert not path.exists()
    finished = sorted(part for part in parts.iterdir() if part.suffix == ".h5")
    assert len(finished) == n_batches - 1
    shutil.copytree(parts, of_flow.parent / "kept")
    done = launch(2, JOB, of_flow, *words)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == whole
    assert not parts.exists()

    path.unlink()
    shutil.move(of_flow.parent / "kept", parts)
    finished[0].write_bytes(finished[0].read_bytes()[:-100])  # cut off: it is computed again
    monkeypatch.setattr("hpc_massmap.predict.rows.kept", until(n_batches))
    main([str(of_flow), *words])
    assert len(asked) == 2
    assert path.read_bytes() == whole


def with_another_run(config: Path, name: str, seed: int, **model: object) -> None:
    """A run beside that of a config: its model with other weights, or another model."""
    own = load_config(config)
    description = own.with_values("model", **model).model
    write_model(own.runs / name / "model", own, description, seed=seed)


def test_an_ensemble_of_points_has_its_members_maps_as_samples(tmp_path: Path) -> None:
    config = write_run(tmp_path)
    with_another_run(config, "second", 2)
    parts = [predicted(config).block("mass", slice(3))[0]]
    found = predicted(config, "predict.members=[small, second]", "--force")
    samples = found.samples("mass", slice(3))
    assert found.n_samples == samples.shape[1] == 2
    np.testing.assert_allclose(samples[:, 0], parts[0], rtol=5e-4, atol=1e-4 * np.abs(parts[0]).max())
    np.testing.assert_allclose(samples.mean(1), found.block("mass", slice(3))[0], rtol=2e-3, atol=1e4)
    with h5py.File(found.path) as file:
        assert file.attrs["model"] != load_model(folder_of(config) / "model").digest


def test_an_ensemble_of_trials_takes_the_best(tmp_path: Path) -> None:
    config = write_run(tmp_path)
    own = load_config(config)
    folder = folder_of(config)
    documents = [trial(tid) for tid in range(4)]
    best = sorted((0, 1, 2), key=lambda tid: documents[tid]["result"]["loss"])
    for tid in (0, 1, 2):
        write_model(folder / "trials" / str(tid), own, own.model, seed=tid)
    (folder / "trials.jsonl").write_text(to_jsonl(documents))
    run = Run.of(load_config(config, ["predict.members=2"]))
    assert members_of(run) == [run.trials / str(tid) for tid in best[:2]]
    assert predicted(config, "predict.members=2", "--force").n_samples == 2
    with pytest.raises(InputError, match=r"predict.members = 4: .* has 3 trials that ended with a model"):
        main([str(config), "predict.members=4"])


@pytest.mark.parametrize(("model", "what"), [({"views": ["star", "sz"]}, "views"), ({"output": "quantiles"}, "output")])
def test_models_of_other_maps_are_no_ensemble(tmp_path: Path, model: dict[str, object], what: str) -> None:
    config = write_run(tmp_path)
    with_another_run(config, "second", 2, **model)
    with pytest.raises(InputError, match=f"second/model: its {what} is not that of .*predict.members are models of"):
        main([str(config), "predict.members=[small, second]"])
    with pytest.raises(InputError, match="one model is no ensemble; name at least two"):
        main([str(config), "predict.members=[small]"])


def own_cluster(config: Path, folder: Path, row: int = 0, **of_star: str) -> Path:
    """The views of a map of the map file, as FITS files; the folder of their predictions is beside it."""
    maps = open_maps(config.parent / "maps.h5")
    folder.mkdir()
    for view, unit in (("sz", ""), ("star", "h^-1 Msun kpc^-2")):
        header = fits.Header({"R200": "1600 kpc", "PIXEL": "40 kpc", **({"BUNIT": unit} if unit else {}), **of_star})
        fits.PrimaryHDU(np.asarray(maps.maps[view][row]), header).writeto(folder / f"A1_{view}.fits")
    return folder.with_name("out")


def test_own_maps_come_back_with_errors_samples_and_masses(of_flow: Path, tmp_path: Path) -> None:
    out = own_cluster(of_flow, tmp_path / "in", HUBBLE="0.7")
    main([str(of_flow), "--maps", str(tmp_path / "in"), "--out", str(out), "predict.samples=9"])
    with fits.open(out / "A1_mass.fits") as file:
        assert [part.name for part in file] == ["MEAN", "LOW", "HIGH", "SAMPLES", "MASSES"]
        mean, low, high, samples = (np.asarray(file[n].data, np.float64) for n in range(4))
        table, units = file["MASSES"].data, {column.name: column.unit for column in file["MASSES"].columns}
        assert {file[n].header["BUNIT"] for n in range(4)} == {"solMass kpc-2"}
        assert [file[n].header["LEVEL"] for n in (1, 2)] == [0.16, 0.84]
        assert file["HIGH"].header["CRPIX1"] == file["MEAN"].header["CRPIX1"]
    assert samples.shape == (9, 80, 80)
    np.testing.assert_allclose(samples.mean(0), mean, rtol=1e-5, atol=1e-5 * np.abs(mean).max())
    np.testing.assert_allclose(np.quantile(samples, [0.16, 0.84], axis=0), [low, high], rtol=1e-4, atol=1)
    y, x = np.mgrid[:80, :80] - 39.5
    drawn = [(one[np.hypot(x, y) <= 40 * 0.3] * 40.0**2).sum() for one in samples]  # kpc^2 of a pixel
    assert table["R_KPC"][2] == pytest.approx(480)
    assert table["MASS"][2] == pytest.approx(np.mean(drawn), rel=1e-5)
    np.testing.assert_allclose((table["LOW"][2], table["HIGH"][2]), np.quantile(drawn, [0.16, 0.84]), rtol=1e-4)
    assert units["MASS"] == units["HIGH"] == "solMass"


def test_own_maps_of_quantiles_have_no_error_of_a_mass(of_quantiles: Path, tmp_path: Path) -> None:
    out = own_cluster(of_quantiles, tmp_path / "in")
    main([str(of_quantiles), "--maps", str(tmp_path / "in"), "--out", str(out)])
    with fits.open(out / "A1_mass.fits") as file:
        assert [part.name for part in file] == ["MEAN", "LOW", "HIGH", "MASSES"]
        assert (file["LOW"].data <= file["HIGH"].data).all()
        assert file["MASSES"].columns.names == ["RADIUS", "R_KPC", "MASS"]
        assert [file[name].header["ERRORS"] for name in ("LOW", "MASSES")] == ["the model's own", "none"]


def test_own_maps_of_a_point_are_one_image_as_ever(tmp_path: Path) -> None:
    config = write_run(tmp_path)
    out = own_cluster(config, tmp_path / "in")
    main([str(config), "--maps", str(tmp_path / "in"), "--out", str(out)])
    with fits.open(out / "A1_mass.fits") as file:
        assert len(file) == 1
        assert "EXTNAME" not in file[0].header


@pytest.mark.parametrize(("output", "words"), [("point", []), ("quantiles", []), ("flow", ["predict.samples=3"])])
def test_own_maps_have_the_calibrated_errors_of_the_same_cluster(
    tmp_path: Path, output: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_run(tmp_path, output=output)
    predicted(config, *words, "--validation")
    calibrate([str(config), *words])
    found, calibration = predicted(config, *words), read_calibration(folder_of(config) / "calibration.h5")
    mean, _ = found.block("mass", slice(1))
    bars, level = error_bars_of(found, "mass", slice(1), mean, Known.by(calibration)), PROMISED.index(0.68)
    masses, pixels = bars.masses(), bars.pixels()
    assert masses is not None
    assert pixels is not None
    rounding = 2.0**-10 if found.n_samples else 1e-5  # of samples as a file of predictions stores them
    row, r200 = int(found.rows[0]), found.of_halos("r200")[0]
    out = own_cluster(config, tmp_path / "in", row, R200=f"{r200} kpc", PIXEL=f"{r200 / 40} kpc")
    monkeypatch.setattr("hpc_massmap.predict.apply.crc32", lambda name: row)  # what samples follow from
    main([str(config), *words, "--maps", str(tmp_path / "in"), "--out", str(out)])
    assert f"error bars by {folder_of(config)}/calibration.h5: {calibration.promise()}" in capsys.readouterr().out
    with fits.open(out / "A1_mass.fits") as file:
        table = file["MASSES"]
        told = {file[name].header["ERRORS"] for name in ("LOW", "HIGH", "MASSES")}
        for n, name in enumerate(("LOW", "HIGH")):
            np.testing.assert_allclose(file[name].data, pixels[n][level, 0], rounding, rounding * np.abs(mean).max())
            np.testing.assert_allclose(table.data[name], masses[n][level, 0], rounding)
    assert told == {f"calibrated by {calibration.regions} regions"}
    monkeypatch.setattr("hpc_massmap.predict.apply.UNLIKE", 2.0)  # than which every p-value is smaller
    main([str(config), *words, "--maps", str(tmp_path / "in"), "--out", str(out), "--force"])
    with fits.open(out / "A1_mass.fits") as file:
        told = {file[name].header["ERRORS"] for name in ("LOW", "HIGH", "MASSES")}
        assert all(hdu.header["UNLIKE"] for hdu in file)
    assert told == {f"calibrated by {calibration.regions} regions, but not for such a map"}


def test_own_maps_refuse_a_calibration_of_something_else(of_flow: Path, tmp_path: Path) -> None:
    out = own_cluster(of_flow, tmp_path / "in")
    words = [str(of_flow), "--maps", str(tmp_path / "in"), "--out", str(out)]
    predicted(of_flow, "predict.samples=3", "--validation", "--force")
    calibrate([str(of_flow)])
    path = folder_of(of_flow) / "calibration.h5"
    with pytest.raises(InputError, match=r"calibration.h5: made for 3 samples, not for 4 samples; run massmap predict"):
        main([*words, "predict.samples=4"])
    with h5py.File(path, "a") as file:
        file.attrs["model"] = "1" * 64
    with pytest.raises(InputError, match=r"calibration.h5: made for another model \(digest 111111111111, not"):
        main([*words, "predict.samples=3"])
    path.unlink()
    assert not out.exists()


def test_no_samples_of_a_model_that_is_known_by_them_are_refused(of_flow: Path) -> None:
    with pytest.raises(InputError, match=r"predict.symmetries = true: for models that say one map or quantiles"):
        main([str(of_flow), "predict.symmetries=true", "--force"])
    with pytest.raises(InputError, match=r"predict.samples = 0: what this model says is known by samples alone"):
        main([str(of_flow), "predict.samples=0"])


def test_a_changed_byte_of_a_quantile_is_found(of_quantiles: Path) -> None:
    found = predicted(of_quantiles, "--force")
    with h5py.File(found.path, "r+") as file:
        file["quantiles/mass"][1, 2, 3, 4] *= 1.001
    found.quantiles("mass", slice(0, 1))
    with pytest.raises(
        InputError, match=r"/quantiles/mass\[1\] does not match its checksum; run massmap predict again"
    ):
        found.quantiles("mass", slice(0, 2))


def test_quantiles_of_another_shape_are_refused(of_quantiles: Path) -> None:
    path = predicted(of_quantiles, "--force").path
    with h5py.File(path, "r+") as file:
        del file["quantiles/mass"].attrs["levels"]
        file["quantiles/mass"].attrs["levels"] = LEVELS[1:]
    with pytest.raises(InputError, match=r"/quantiles/mass is float32 \(\d+, 5, 80, 80\), not \(\d+, 4, 80, 80\)"):
        read_predictions(path, open_maps(of_quantiles.parent / "maps.h5"))
    path.unlink()


def test_a_stored_sample_is_off_by_no_more_than_is_said() -> None:
    stream = np.random.default_rng(1)
    samples = stream.lognormal(20, 3, (3, 2, 4, 80, 80)).astype(np.float32)
    samples[0] = 0.0
    samples[1] *= -1.0
    stored, scales = compressed(samples)
    assert stored.dtype == np.float16
    assert stored.nbytes == samples.nbytes / 2
    back = stored.astype(np.float64) * scales[..., None, None, None]
    allowed = np.maximum(2.0**-11 * np.abs(samples), 3e-8 * scales[..., None, None, None].astype(np.float64))
    assert (np.abs(back - samples) <= 1.001 * allowed).all()
    assert (np.abs(back - samples) > 0.4 * 2.0**-11 * np.abs(samples))[1:].any()
    assert (back[0] == 0).all()


def test_samples_of_a_model_that_has_none_are_refused_before_anything_is_predicted(of_quantiles: Path) -> None:
    with pytest.raises(InputError, match=r"predict.samples = 8: a model with model.output = quantiles has no samples"):
        main([str(of_quantiles), "predict.samples=8", "--force"])
