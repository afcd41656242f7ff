"""jobs/make_maps.py as a person runs it, on two regions of the examples."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

Job = Callable[[], tuple[int, str]]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for region in ("region_0001", "region_0002"):
        shutil.copytree(Path("examples/gadget4_L50") / region, tmp_path / region)
    simulations = f"simulations=[{{name: gadget4, folder: {tmp_path}, region: region_*, snapshots: [106]}}]"
    files = [f"runs={tmp_path}/runs", f"maps.file={tmp_path}/maps.h5"]
    command = [sys.executable, "jobs/make_maps.py", "configs/demo.yaml", "maps.lines_of_sight=2", simulations, *files]

    def run() -> tuple[int, str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_maps_are_drawn_once_and_a_changed_snapshot_is_noticed(job: Job, tmp_path: Path) -> None:
    code, output = job()
    assert (code, "maps.h5: 4 maps of 2 halos" in output) == (0, True), output
    assert "make_maps: already done" in job()[1]
    os.utime(tmp_path / "region_0001" / "snap_106.hdf5", ns=(0, 0))
    code, output = job()
    assert (code, "make_maps was done with snapshots and catalogues = " in output) == (2, True), output


def test_two_cosmologies_are_refused_in_one_line(job: Job, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "region_0002" / "snap_106.hdf5", "r+") as file:
        file["Header"].attrs["Omega0"] = 0.28
    code, output = job()
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert f"{tmp_path}/region_0002/snap_106.hdf5: h = 0.6777, Omega_m = 0.28, but" in line
    assert not (tmp_path / "maps.h5").exists()
