"""A trained model on another map file: all steps in a folder of their own, and the run as it was."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.config import Split
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import evaluate, predict, report, train
from hpc_massmap.metrics.results import read_metrics
from hpc_massmap.storage import write_text
from hpc_massmap.train.trained import load_model
from tests.trained_run import write_run_and_other_maps


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run_and_other_maps(tmp_path_factory.mktemp("run"))


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_predicted_evaluated_and_reported_without_touching_the_run(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out, before = config.parent / "other.h5", tmp_path / "out", content(config.parent)
    predict.main([str(config), "--maps", str(other), "--out", str(out)])
    own, split = (maps := open_maps(config.parent / "maps.h5")), split_maps(maps, Split())
    trained = set(own.halos["region"][own.halo[np.concatenate([split.train, split.validation])]].tolist())
    shared = f"{len({f'region_{n:04d}' for n in range(4)} & trained)} of 4 halos are of regions"
    assert f"{shared} whose names the training has too" in capsys.readouterr().out
    evaluate.main([str(config), "evaluate.mass_intervals=[13.0, 14.2, 16.0]", "--of", str(out)])
    report.main([str(config), "--of", str(out)])
    assert content(config.parent) == before
    maps, metrics = open_maps(other), read_metrics(out / "metrics.h5")
    assert metrics.maps_digest == maps.digest
    np.testing.assert_array_equal(metrics.maps["row"], np.arange(8))
    assert metrics.mass_intervals == [13.0, 14.2, 16.0]
    with h5py.File(out / "predictions.h5") as file:
        assert "index/train" not in file
        assert file.attrs["model"] == load_model(config.parent / "runs" / "small" / "model").digest
    page = (out / "report" / "index.html").read_text()
    assert f"The maps are of {other}, not the test set of" in page
    assert shared in page
    assert f"<dt>Data</dt><dd>maps of {other}</dd>" in page
    predict.main([str(config), "--maps", str(other), "--out", str(out)])
    assert "predict: already done" in capsys.readouterr().out


def test_what_is_predicted_there_is_what_the_run_would_say(config: Path, tmp_path: Path) -> None:
    """Of its test set as of another file, in one batch."""
    own = open_maps(config.parent / "maps.h5")
    rows = split_maps(own, load_model(config.parent / "runs" / "small" / "model").split).test
    halos = np.unique(own.halo[rows])[:5]
    predict.main(
        [str(config), "--maps", str(own.path), "--out", str(tmp_path / "out"), "--halos", *map(str, halos.tolist())]
    )
    shutil.copytree(config.parent / "runs", tmp_path / "runs")
    predict.main([str(config), f"runs={tmp_path / 'runs'}"])
    with (
        h5py.File(tmp_path / "out" / "predictions.h5") as there,
        h5py.File(tmp_path / "runs" / "small" / "predictions.h5") as here,
    ):
        chosen = np.isin(here["index/row"][:], there["index/row"][:])
        np.testing.assert_array_equal(there["index/row"][:], np.flatnonzero(np.isin(own.halo, halos)))
        np.testing.assert_allclose(there["predictions/mass"][:], here["predictions/mass"][:][chosen], rtol=1e-4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--maps", "{run}/maps.h5", "--out", "{tmp}/out", "--halos", *map(str, range(60))],
            r"maps\.h5: halo \d+ trained this model \(halo \d+ of ",
        ),
        (["--maps", "{run}/other.h5", "--out", "{tmp}/out", "--halos", "1", "4"], "has halos 0 to 3, no 4"),
        (["--maps", "{run}/other.h5", "--out", "{run}/runs/small"], "is the folder of a run"),
        (["--maps", "{run}/none.h5", "--out", "{tmp}/out"], r"none\.h5: no such map file"),
        (["--maps", "{tmp}/units.h5", "--out", "{tmp}/out"], "/maps/sz is in 'kpc', but the model was trained on '1'"),
        (
            ["--maps", "{run}/other.h5", "--out", "{tmp}/taken"],
            r"taken: holds what .* says of .*; choose another --out",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_the_run_alone(
    config: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    shutil.copy(config.parent / "other.h5", tmp_path / "units.h5")
    with h5py.File(tmp_path / "units.h5", "r+") as file:
        file["maps/sz"].attrs["unit"] = "kpc"
    write_text(tmp_path / "taken" / "elsewhere.json", '{"run": "/runs/one", "maps": "/one.h5"}')
    before = content(config.parent)
    with pytest.raises(InputError, match=says):
        predict.main([str(config), *(word.format(run=config.parent, tmp=tmp_path) for word in words)])
    assert content(config.parent) == before
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_model_or_of_none_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no predictions of another map file"):
        evaluate.main([str(config), "--of", str(tmp_path)])
    write_text(tmp_path / "elsewhere.json", '{"run": "/runs/one", "maps": "/one.h5"}')
    with pytest.raises(InputError, match="holds what the model of /runs/one says"):
        report.main([str(config), "--of", str(tmp_path)])
    write_text(tmp_path / "elsewhere.json", "[]")
    with pytest.raises(InputError, match="damaged; remove it"):
        evaluate.main([str(config), "--of", str(tmp_path)])


def test_halos_are_of_another_map_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        predict.main([str(config), "--halos", "1"])
    assert "--halos are of another map file" in capsys.readouterr().err


def test_a_failing_prediction_leaves_the_config_of_the_run(config: Path) -> None:
    before = content(config.parent / "runs")
    with pytest.raises(InputError, match=r"no such map file"):
        predict.main([str(config), "maps.file=none.h5"])
    with pytest.raises(InputError, match=r"no such file"):
        evaluate.main([str(config), "maps.file=none.h5"])
    assert content(config.parent / "runs") == before


def test_a_step_of_other_settings_is_refused_before_the_config_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or every later step would take the values of a call that did nothing."""
    config = write_run_and_other_maps(tmp_path)
    steps = (
        (predict, "predict.symmetries=true"),
        (evaluate, "evaluate.mass_intervals=[13,14,15]"),
        (report, "data=other"),
    )
    for step, other in steps:
        step.main([str(config)])
        before = (tmp_path / "runs" / "small" / "config.yaml").read_bytes()
        with pytest.raises(InputError, match=r" was done with .* use a new run name, or --force to redo it$"):
            step.main([str(config), other])
        assert (tmp_path / "runs" / "small" / "config.yaml").read_bytes() == before
    train.main([str(config), "--dry-run"])
    assert (tmp_path / "runs" / "small" / "config.yaml").read_bytes() == before
