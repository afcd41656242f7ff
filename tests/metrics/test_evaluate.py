import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.errors import EXIT_BAD_INPUT, InputError
from hpc_massmap.metrics.driver import evaluate
from hpc_massmap.metrics.mmd import Mmd, calibration_maps, mmd_squared
from hpc_massmap.metrics.pixels import Pixels, inside_apertures
from hpc_massmap.metrics.power import Power, power_spectrum
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.relative import relative_difference
from hpc_massmap.metrics.results import Metrics, read_metrics, write_metrics
from hpc_massmap.mpi import communicator
from hpc_massmap.storage import read_json
from tests.conftest import Launch

from .conftest import JOB
from .made_up import Folder, write_folder


def contents(path: Path) -> dict[str, np.ndarray]:
    """Every dataset and attribute of an HDF5 file."""
    found = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        found.update({f"{name}@{key}": np.asarray(value) for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        visit("", file)
        file.visititems(visit)
    return found


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def in_process(folder: Folder) -> Metrics:
    """The evaluation by this process alone."""
    with communicator() as comm:
        metrics = evaluate(folder.predictions, folder.config.evaluate, comm, on_map=lambda: None)
    assert metrics is not None
    return metrics


def test_any_number_of_ranks_gives_the_same_file(folder: Folder, evaluate_job: Launch) -> None:
    write_metrics(folder.run.metrics, in_process(folder))
    alone = contents(folder.run.metrics)
    assert len(alone) > 60
    for ranks in (2, 5):
        done = evaluate_job(ranks, "--force")
        assert done.returncode == 0, done.stderr
        among_ranks = contents(folder.run.metrics)
        assert among_ranks.keys() == alone.keys()
        for name, value in alone.items():
            np.testing.assert_array_equal(among_ranks[name], value, err_msg=name)


def test_fewer_maps_than_ranks(folder: Folder, evaluate_job: Launch) -> None:
    write_folder(folder.path, n_test=2)
    done = evaluate_job(3)
    assert done.returncode == 0, done.stderr
    among_ranks = contents(folder.run.metrics)
    assert len(among_ranks["maps/row"]) == 2
    write_metrics(folder.run.metrics, in_process(folder))
    for name, value in contents(folder.run.metrics).items():
        np.testing.assert_array_equal(among_ranks[name], value, err_msg=name)


def test_metrics_are_what_each_of_them_says_of_all_maps_at_once(folder: Folder) -> None:
    write_metrics(folder.run.metrics, in_process(folder))
    metrics = read_metrics(folder.run.metrics)
    predictions, maps = folder.predictions, folder.maps
    assert (metrics.name, metrics.maps_digest) == ("made_up", maps.digest)
    assert metrics.mass_intervals == folder.config.evaluate.mass_intervals
    assert list(metrics.targets) == ["mass", "star"]
    np.testing.assert_array_equal(metrics.maps["row"], predictions.rows)
    np.testing.assert_array_equal(metrics.maps["halo"], predictions.rows // 2)
    np.testing.assert_array_equal(metrics.maps["projection"], predictions.rows % 2)
    np.testing.assert_array_equal(metrics.maps["m200"], maps.halos["m200"][predictions.rows // 2])
    np.testing.assert_array_equal(metrics.maps["redshift"], maps.halos["redshift"][predictions.rows // 2])
    assert metrics.maps["simulation"].tolist() == ["made_up"] * 7
    assert metrics.maps["region"].tolist() == [f"region_{halo}" for halo in predictions.rows // 2]
    for target in metrics.targets:
        check_target(folder, metrics, target)


def check_target(folder: Folder, metrics: Metrics, target: str) -> None:
    """Each metric of the whole test set at once, in one process."""
    predictions, result, settings = folder.predictions, metrics.targets[target], folder.config.evaluate
    predicted, true = predictions.block(target, slice(0, 7))
    r200, r500 = predictions.of_halos("r200"), predictions.of_halos("r500")
    for name, inside in inside_apertures(r200, r500).items():
        values = relative_difference(predicted, true)[inside]
        values = values[~np.isnan(values)]
        found = result[Pixels].apertures[name]
        assert found.count == len(values)
        np.testing.assert_allclose(
            [found.p16, found.median, found.p84], np.percentile(values, [16, 50, 84]), rtol=1e-6, atol=1e-9
        )
    mass_true, mass_predicted = enclosed_mass(true, r200), enclosed_mass(predicted, r200)
    np.testing.assert_array_equal(result[Profiles].mass_true, mass_true)
    np.testing.assert_array_equal(result[Profiles].mass_predicted, mass_predicted)
    np.testing.assert_allclose(result[Profiles].bias, mass_predicted / mass_true - 1, atol=1e-14)
    power_true, power_predicted = power_spectrum(true, r200), power_spectrum(predicted, r200)
    np.testing.assert_array_equal(result[Power].true, power_true)
    np.testing.assert_array_equal(result[Power].predicted, power_predicted)
    np.testing.assert_allclose(result[Power].difference, power_predicted / power_true - 1, atol=1e-13)
    assert result[Mmd].calibration.shape == (7, 4)
    for n, row in enumerate(predictions.rows):
        noisy = calibration_maps(true[n], settings.mmd_noise, int(row))
        values = mmd_squared(true[n], [predicted[n], *noisy], settings.mmd_scales, settings.mmd_kernel)
        assert result[Mmd].value[n] == values[0]
        np.testing.assert_array_equal(result[Mmd].calibration[n], values[1:])


def test_the_job_says_the_headline_once_and_is_done(folder: Folder, evaluate_job: Launch) -> None:
    done = evaluate_job(2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mass: 7 test maps") == 1
    assert "b200, 13.5 <= log10 M200 < 14: " in done.stdout
    assert "(0 maps)" in done.stdout  # no cluster is that heavy
    what, good, following = done.stdout.splitlines()[-3:]
    assert what.startswith("evaluated 7 test maps of ")
    assert good.startswith("mass: b200 ")
    assert following == f"{folder.run.metrics}; next: massmap report {folder.run.folder}"
    record = read_json(folder.run.folder / "provenance" / "evaluate.json")
    assert record["settings"] == folder.config.part("evaluate")
    written = folder.run.metrics.stat().st_mtime_ns
    again = evaluate_job(2)
    assert (again.returncode, again.stdout.count("already done")) == (0, 1)
    assert folder.run.metrics.stat().st_mtime_ns == written
    other = evaluate_job(0, "evaluate.mmd_kernel=printed")
    assert other.returncode == EXIT_BAD_INPUT
    assert len(errors(other)) == 1
    assert "evaluate.mmd_kernel = gaussian, now printed" in errors(other)[0]


def test_a_nan_on_the_last_rank_is_one_line_and_leaves_no_file(folder: Folder, evaluate_job: Launch) -> None:
    with h5py.File(folder.run.predictions, "r+") as file:
        file["predictions/star"][6, 1, 2] = np.nan
    done = evaluate_job(2)
    assert done.returncode == EXIT_BAD_INPUT
    assert len(errors(done)) == 1
    assert "/predictions/star[6, 1, 2] = nan is not finite" in errors(done)[0]
    assert "Traceback" not in done.stderr
    assert not list(folder.run.folder.glob("*metrics*"))


BUG = """
import runpy, sys
from mpi4py import MPI
from hpc_massmap.metrics import power

def fails(*_):
    raise ZeroDivisionError("a bug on the last rank")

if MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
    power.power_spectrum = fails
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def test_a_bug_on_one_rank_ends_all_with_its_traceback_and_leaves_no_file(folder: Folder, launch: Launch) -> None:
    script = folder.path / "bug.py"
    script.write_text(BUG)
    done = launch(3, script, JOB, folder.config_file)
    assert done.returncode != 0
    assert done.stderr.count("ZeroDivisionError: a bug on the last rank") == 1
    assert "Traceback" in done.stderr
    assert not list(folder.run.folder.glob("*metrics*"))
    assert not (folder.run.folder / "provenance" / "evaluate.json").exists()


@pytest.mark.parametrize(("missing", "ranks"), [("maps.h5", 2), ("runs/made_up/predictions.h5", 0), ("config.yaml", 2)])
def test_what_is_missing_is_one_line(folder: Folder, evaluate_job: Launch, missing: str, ranks: int) -> None:
    (folder.path / missing).unlink()
    done = evaluate_job(ranks)
    assert done.returncode == EXIT_BAD_INPUT
    assert len(errors(done)) == 1
    assert missing.split("/")[-1] in errors(done)[0]
    assert "Traceback" not in done.stderr


def test_a_damaged_metrics_file_is_refused(folder: Folder) -> None:
    with pytest.raises(InputError, match=r"no such file; run massmap evaluate first"):
        read_metrics(folder.run.metrics)
    folder.run.metrics.write_bytes(b"not HDF5")
    with pytest.raises(InputError, match="not a readable file of metrics"):
        read_metrics(folder.run.metrics)
