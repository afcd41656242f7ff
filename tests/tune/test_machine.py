"""Faults of the machine are waited out, charged to no trial, and pause the study if they last; for real."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.storage import write_text
from hpc_massmap.train.memory import OutOfMemory
from hpc_massmap.train.trainer import Diverged
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import DatabaseUnreachable, database
from hpc_massmap.tune.machine import fault_of_machine
from hpc_massmap.tune.study import Study
from tests.patience import wait_until, within
from tests.test_full_disk import Disk, mount
from tests.tune.crew import TRIALS, calm_losses, losses, small_run, wait_for_training, working

pytestmark = pytest.mark.xdist_group("faults")  # they share the calm losses


@pytest.fixture
def trials_disk(tmp_path: Path) -> Iterator[Disk]:
    """A small file system where the run's trials are."""
    folder = tmp_path / "runs" / "tuned" / "trials"
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", "size=8M", "tmpfs", str(folder))
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def wait_for_state(study: Study, state: str) -> None:
    """Until a worker says that it is in a state, as the monitor shows it."""
    wait_until(lambda: study.workers.find_one({"state": state}), f"a worker to be {state}", 100)


def test_a_full_disk_and_a_map_file_that_is_away_cost_no_trial(trials_disk: Disk, tmp_path: Path) -> None:
    run = small_run(tmp_path)
    with database(run.config.database, run.database):
        study = open_study(run)
        study.create(TRIALS, {})
        with working(run) as (worker,):
            wait_for_training(study, worker)
            trials_disk.leave(0)
            wait_for_state(study, "waiting")
            assert {trial["state"] for trial in study.documents()} == {0}  # given back
            trials_disk.empty()
            wait_for_training(study, worker)
            run.maps.rename(tmp_path / "away.h5")
            wait_for_state(study, "waiting")
            (tmp_path / "away.h5").rename(run.maps)
            assert worker.wait(within(60)) == 0
        assert study.stopped() is None
    assert losses(run) == calm_losses()


def tune(run: Run) -> "subprocess.Popen[str]":
    command = [sys.executable, "jobs/tune.py", str(run.folder.parent.parent / "c.yaml")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_map_file_that_stays_away_pauses_the_study_and_the_same_command_goes_on(tmp_path: Path) -> None:
    run = small_run(tmp_path, workers=1, wait=3.0, evaluations=TRIALS)
    launcher = tune(run)
    wait_until((run.database / "endpoint.json").exists, "the database", 60)
    wait_until(lambda: any(d["result"].get("history") for d in open_study(run).documents("result.history")), "an epoch")
    run.maps.rename(tmp_path / "away.h5")
    _, said = launcher.communicate(timeout=within(60))
    assert launcher.returncode == 2, said
    assert said.splitlines()[-1].startswith(f"error: the study was stopped: {run.maps}: no such map file")
    assert said.splitlines()[-1].endswith("mend the cause and run the same command again")
    (tmp_path / "away.h5").rename(run.maps)
    launcher = tune(run)
    output, said = launcher.communicate(timeout=within(60))
    assert launcher.returncode == 0, said
    assert "failed" not in output
    assert losses(run) == calm_losses()


def full(path: Path) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        write_text(path / "file", "text")


def caught(error: BaseException) -> BaseException:
    return error


@pytest.mark.parametrize(
    ("error", "is_of_machine"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.ESTALE, "Stale file handle", "maps.h5"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "maps.h5"), True),
        (OSError("Can't synchronously read data (file read failed: errno = 5)"), True),  # of h5py
        (RuntimeError("[enforce fail at inline_container.cc:595] . unexpected pos; No space left on device"), True),
        (InputError("maps.h5: no such map file"), True),
        # as torch words them: there is no broken GPU here
        (RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors might be reported"), True),
        (RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"), True),
        (RuntimeError("No CUDA GPUs are available; CUDA driver initialization failed"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), False),
        (MemoryError(), False),
        (OutOfMemory("batch"), False),
        (Diverged("nan"), False),
        (KeyError("a bug"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ConnectionResetError(errno.ECONNRESET, "of another rank"), False),
        (TimeoutError("only 0 of the 1 other ranks answer"), False),
        (DatabaseUnreachable("no MongoDB answers there"), False),
    ],
    ids=str,
)
def test_who_is_at_fault(error: BaseException, is_of_machine: bool) -> None:
    line = fault_of_machine(error)
    assert (line is not None) == is_of_machine
    assert line is None or "\n" not in line


def test_what_a_library_wraps_is_looked_into(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        full(tmp_path)
    wrapped = RuntimeError("could not save")
    wrapped.__cause__ = refused.value
    assert fault_of_machine(wrapped)
