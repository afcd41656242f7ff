"""jobs/make_maps.py as a person runs it, on regions of the examples."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from hpc_massmap.dataset.mapfile import HALO_COLUMNS, open_maps
from hpc_massmap.dataset.parts import parts_folder
from tests.conftest import ROOT, Launch
from tests.patience import wait_until

Job = Callable[..., tuple[int, str]]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for region in ("region_0001", "region_0002"):
        shutil.copytree(Path("examples/gadget4_L50") / region, tmp_path / region)
    simulations = f"simulations=[{{name: gadget4, folder: {tmp_path}, region: region_*, snapshots: [106]}}]"
    files = [f"runs={tmp_path}/runs", f"maps.file={tmp_path}/maps.h5"]
    command = [sys.executable, "jobs/make_maps.py", "configs/demo.yaml", "maps.lines_of_sight=2", simulations, *files]

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_maps_are_drawn_once_and_a_changed_snapshot_is_noticed(job: Job, tmp_path: Path) -> None:
    """By another run neither: it takes the finished maps as they are."""
    code, output = job("--consolidate")
    assert (code, "maps.h5: 4 maps of 2 halos" in output) == (0, True), output
    assert "make_maps: already done" in job()[1]
    before = (tmp_path / "maps.h5").stat()
    code, output = job("name=other", "--consolidate")
    assert (code, "maps.h5: 4 maps of 2 halos" in output) == (0, True), output
    assert (tmp_path / "maps.h5").stat() == before
    assert not parts_folder(tmp_path / "maps.h5").exists()
    with h5py.File(tmp_path / "maps.h5", "r+") as file:
        file.attrs["provenance"] = '{"tasks": '  # damaged: then they are drawn again
    assert job("name=another", "--consolidate")[0] == 0
    assert (tmp_path / "maps.h5").stat() != before
    os.utime(tmp_path / "region_0001" / "snap_106.hdf5", ns=(0, 0))
    code, output = job()
    assert (code, "make_maps was done with snapshots and catalogues = " in output) == (2, True), output
    assert job("name=third")[0] == 0
    assert (tmp_path / "maps.h5").stat() != before


def test_two_cosmologies_are_refused_in_one_line(job: Job, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "region_0002" / "snap_106.hdf5", "r+") as file:
        file["Header"].attrs["Omega0"] = 0.28
    code, output = job()
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert f"{tmp_path}/region_0002/snap_106.hdf5: h = 0.6777, Omega_m = 0.28, but" in line
    assert not (tmp_path / "maps.h5").exists()


def maps_job(folder: Path, name: str, *words: str) -> list[str]:
    """The job on 14 halos of the examples, into a folder."""
    simulations = (
        f"[{{name: gadget4, folder: {ROOT}/examples/gadget4_L50, region: region_000*, snapshots: [104, 105, 106]}}]"
    )
    where = [f"runs={folder}/{name}", f"maps.file={folder}/{name}/maps.h5", f"simulations={simulations}"]
    return [str(ROOT / "jobs/make_maps.py"), str(ROOT / "configs/demo.yaml"), "maps.lines_of_sight=12", *where, *words]


def content(path: Path) -> dict[str, bytes]:
    """Every byte of the maps and tables; provenance tells which command made them and differs."""
    found = {part.name: part.read_bytes() for part in sorted(parts_folder(path).glob("*.h5"))}
    with h5py.File(path) as file:
        for name in (*(f"halo/{column}" for column in HALO_COLUMNS), "lines_of_sight", "digests", "skipped"):
            found[name] = repr(file[name][:].tolist()).encode()
        return found | {"digest": str(file.attrs["digest"]).encode()}


def test_a_job_that_is_killed_goes_on_on_other_ranks_to_the_same_bytes(tmp_path: Path, launch: Launch) -> None:
    done = launch(3, *maps_job(tmp_path, "undisturbed"))
    assert done.returncode == 0, done.stderr
    job = subprocess.Popen([sys.executable, *maps_job(tmp_path, "killed")], stdout=subprocess.DEVNULL)
    parts = parts_folder(tmp_path / "killed" / "maps.h5")
    wait_until(lambda: len(list(parts.glob("*.h5"))) >= 4, "four parts", every=0.005)
    job.send_signal(signal.SIGKILL)
    job.wait()
    finished = {part: part.stat().st_mtime_ns for part in parts.glob("*.h5")}
    assert not (tmp_path / "killed" / "maps.h5").exists()
    done = launch(2, *maps_job(tmp_path, "killed"))
    assert done.returncode == 0, done.stderr
    assert 4 <= len(finished) < len(list(parts.glob("*.h5")))
    assert finished == {part: part.stat().st_mtime_ns for part in finished}  # none was drawn again
    assert content(tmp_path / "killed" / "maps.h5") == content(tmp_path / "undisturbed" / "maps.h5")
    before = open_maps(tmp_path / "killed" / "maps.h5").digest
    done = launch(2, *maps_job(tmp_path, "killed"), "--consolidate")
    assert done.returncode == 0, done.stderr
    assert not parts.exists()
    assert open_maps(tmp_path / "killed" / "maps.h5", check_values=True).digest == before
