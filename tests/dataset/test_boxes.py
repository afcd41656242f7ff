"""A whole periodic box, read once for all its halos: the same maps to the bit as each halo of the whole snapshot."""

import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from mpi4py import MPI

from hpc_massmap.arrays import IntArray
from hpc_massmap.config import Maps, Selection, Simulation, Split
from hpc_massmap.dataset import boxes, build
from hpc_massmap.dataset.boxes import bytes_of, read_once
from hpc_massmap.dataset.build import make_maps
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.parts import parts_folder
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.maps.nearby import BEYOND
from hpc_massmap.maps.reach import reach_of
from hpc_massmap.sims import blocks
from hpc_massmap.sims.periodic import with_images
from hpc_massmap.sims.scratch import Scratch
from hpc_massmap.sims.selection import Halo, find_sources
from hpc_massmap.sims.snapshot import Asked, read_snapshot
from hpc_massmap.sims.subvolumes import in_subvolumes
from tests.conftest import ROOT, Launch
from tests.patience import wait_until
from tests.sims.files import all_candidates

EXAMPLE = Path("examples/gizmo_box/box")
SIDE = 50000.0  # comoving kpc/h
CENTRE = slice(5, 8)  # of a row of the catalogue
FILES, CHUNK, HALOS_PER_TASK = 3, 4000, 3
PLAIN = Maps(lines_of_sight=1, kernel="cubic_spline")
ADAPTIVE = PLAIN.model_copy(update={"adaptive_smoothing": 32})

Edit = Callable[[h5py.File], None]
Positions = npt.NDArray[np.float64]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a region that is a whole box, moved so that its heaviest halo is in a corner.

    Its snapshot is of several files, each with particles from everywhere.
    """
    monkeypatch.setattr(build, "HALOS_PER_TASK", HALOS_PER_TASK)
    monkeypatch.setattr(blocks, "CHUNK", CHUNK)
    folder = tmp_path / "regions" / "box"
    folder.mkdir(parents=True)
    catalogue = next(EXAMPLE.glob("*AHF_halos"))
    names, *rows = [line.split("\t") for line in catalogue.read_text().splitlines()]
    corner = np.array(rows[0][CENTRE], float)
    for row in rows:
        row[CENTRE] = [f"{x:.8g}" for x in (np.array(row[CENTRE], float) - corner) % SIDE]
    (folder / catalogue.name).write_text("\n".join("\t".join(row) for row in (names, *rows)) + "\n")
    with h5py.File(EXAMPLE / "snapshot_006.hdf5") as whole:
        for n in range(FILES):
            with h5py.File(folder / f"snapshot_006.{n}.hdf5", "w") as file:
                write_part(whole, file, n, corner)
    return folder


def write_part(whole: h5py.File, file: h5py.File, n: int, corner: Positions) -> None:
    """Every third particle, from the n-th on."""
    whole.copy("Header", file)
    file["Header"].attrs["NumFilesPerSnapshot"] = FILES
    counts = whole["Header"].attrs["NumPart_ThisFile"]
    file["Header"].attrs["NumPart_ThisFile"] = [len(range(n, count, FILES)) for count in counts]
    for kind in ("PartType0", "PartType1", "PartType4"):
        for name, block in whole[kind].items():
            values = block[n::FILES]
            file[f"{kind}/{name}"] = (values - corner) % SIDE if name == "Coordinates" else values


def simulation_of(box: Path, subvolumes: int = 1) -> Simulation:
    return Simulation(
        name="GIZMO",
        folder=box.parent,
        region="box",
        snapshot="snapshot_{snapshot:03d}.0.hdf5",
        catalogue="*snap_{snapshot:03d}.z*.AHF_halos",
        snapshots=[6],
        subvolumes=subvolumes,
    )


def halos_of(box: Path) -> list[Halo]:
    return all_candidates(find_sources([simulation_of(box)]), Selection(m200_min=3e13))


def draw(path: Path, halos: list[Halo], config: Maps) -> None:
    make_maps(path, halos, [], config, MPI.COMM_SELF, lambda _: None)


def edit_files(box: Path, edit: Edit) -> None:
    for path in box.glob("*.hdf5"):
        with h5py.File(path, "r+") as file:
            edit(file)


def slowly(halo: Halo, config: Maps) -> dict[str, Any]:
    """The maps of one halo from all particles that there are."""
    beyond = reach_of([halo]) * (BEYOND if config.adaptive_smoothing else 1)
    snapshot = with_images(read_snapshot(halo.source.snapshot_file), halo.centre[None], beyond)
    return halo_maps(snapshot, halo, config, rotations(config.lines_of_sight))


@pytest.mark.parametrize("config", [PLAIN, ADAPTIVE], ids=["plain", "adaptive"])
def test_the_maps_are_those_of_the_whole_snapshot_to_the_bit(config: Maps, box: Path, tmp_path: Path) -> None:
    path, halos = tmp_path / "maps.h5", halos_of(box)
    side = SIDE / halos[0].h
    beyond = [np.abs(halo.centre - side / 2) + reach_of([halo]) > side / 2 for halo in halos]
    assert len(halos) > 2 * HALOS_PER_TASK
    assert any(np.all(axes) for axes in beyond)  # one in a corner
    draw(path, halos, config)
    maps = open_maps(path, check_values=True)
    for row, halo in enumerate(halos):
        for name, stack in slowly(halo, config).items():
            np.testing.assert_array_equal(maps.maps[name][row : row + 1], stack)
    assert {part.suffix for part in parts_folder(path).iterdir()} == {".h5"}


def test_a_box_is_split_by_its_subvolumes_and_drawn_as_before(box: Path, tmp_path: Path) -> None:
    path, halos = tmp_path / "maps.h5", halos_of(box)
    draw(path, halos, PLAIN)
    before = open_maps(path)
    assert set(before.halos["region"].tolist()) == {"box"}
    with pytest.raises(InputError, match=r"its 1 regions leave no .* set"):
        split_maps(before, Split())
    cut = in_subvolumes(halos, halos, [simulation_of(box, 3)])
    draw(path, cut, PLAIN)
    maps = open_maps(path, check_values=True)
    assert maps.halos["region"].tolist() == [halo.region for halo in cut]
    np.testing.assert_array_equal(maps.maps["mass"][:], before.maps["mass"][:])
    rows = split_maps(maps, Split(train=0.5, validation=0.25))
    parts = [set(maps.halos["region"][maps.halo[part]].tolist()) for part in (rows.train, rows.validation, rows.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))


@pytest.mark.parametrize("config", [PLAIN, ADAPTIVE], ids=["plain", "adaptive"])
def test_every_particle_is_read_once_and_few_at_a_time(
    config: Maps, box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[str, IntArray] = {}
    most, plainly = 0, h5py.Dataset.__getitem__

    def counted(dataset: h5py.Dataset, rows: Any, **how: Any) -> Any:
        nonlocal most
        values = plainly(dataset, rows, **how)
        if Path(dataset.file.filename).parent == box:
            most = max(most, len(values))
            name = f"{dataset.file.filename}:{dataset.name}"
            read.setdefault(name, np.zeros(len(dataset), int))[rows] += 1
        return values

    halos = halos_of(box)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    draw(tmp_path / "maps.h5", halos, config)
    assert max(times.max() for times in read.values()) == 1
    assert 0 < most <= CHUNK
    assert sum(times.sum() for name, times in read.items() if name.endswith("Coordinates")) == 32372 + 32768 + 396


def test_memory_is_that_of_a_piece(box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def peak(chunk: int) -> int:
        monkeypatch.setattr(blocks, "CHUNK", chunk)
        tracemalloc.start()
        scratch = read_once(halos_of(box), tmp_path / str(chunk), ADAPTIVE, Asked(metallicity=False), MPI.COMM_SELF)
        assert isinstance(scratch, Scratch)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    monkeypatch.setattr(boxes, "own_threads", lambda _: 1)
    peak(10**6)  # what is imported and cached on the way
    assert peak(1000) < peak(2 * 10**6) / 3


def test_the_scratch_takes_about_what_is_said(box: Path, tmp_path: Path) -> None:
    halos = halos_of(box)
    for config in (PLAIN, ADAPTIVE):
        reading = boxes._planned(halos, tmp_path / str(config.adaptive_smoothing), config, Asked(metallicity=False))
        assert isinstance(reading, boxes.Reading)
        scratch = read_once(
            halos, tmp_path / str(config.adaptive_smoothing), config, Asked(metallicity=False), MPI.COMM_SELF
        )
        assert isinstance(scratch, Scratch)
        taken = 0
        for file in scratch.files:
            with h5py.File(file) as opened:
                taken += sum(kind["particles"].nbytes for kind in opened.values())
        assert 0.5 < taken / bytes_of(reading, halos) < 1.1


def test_a_disk_without_place_is_told_before_anything_is_read(
    box: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr(boxes, "read_piece", lambda *_: pytest.fail("read"))
    with pytest.raises(InputError, match=r"maps\.h5\.parts: to read .* once for its \d+ halos takes about .* GB there"):
        draw(tmp_path / "maps.h5", halos_of(box), PLAIN.model_copy(update={"bad_regions": "skip"}))


def spoil_gas(file: h5py.File) -> None:
    file["PartType0/Density"][:] = np.nan


def take_smoothing(file: h5py.File) -> None:
    if "006.1" in file.filename:
        del file["PartType0/SmoothingLength"]


def add_boundary(file: h5py.File) -> None:
    counts = file["Header"].attrs["NumPart_ThisFile"]
    counts[2] = counts[1]
    file["Header"].attrs["NumPart_ThisFile"] = counts
    total = file["Header"].attrs["NumPart_Total"]
    total[2] = total[1]
    file["Header"].attrs["NumPart_Total"] = total
    file.copy("PartType1", "PartType2")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (spoil_gas, "PartType0/Density has values that are not finite"),
        (take_smoothing, r"006\.1\.hdf5: has no PartType0/SmoothingLength"),
        (add_boundary, r"halo \d+: .* M200 of boundary particles"),
    ],
)
def test_a_box_that_cannot_be_drawn_is_one_line_and_leaves_no_scratch(
    edit: Edit, message: str, box: Path, tmp_path: Path
) -> None:
    edit_files(box, edit)
    path = tmp_path / "maps.h5"
    with pytest.raises(InputError, match=message):
        draw(path, halos_of(box), PLAIN)
    assert not list(parts_folder(path).glob("*.scratch"))
    (box / "snapshot_006.2.hdf5").unlink()
    with pytest.raises(InputError, match=r"none of the \d regions can be drawn; the first: .*2\.hdf5: missing"):
        draw(path, halos_of(box), PLAIN.model_copy(update={"bad_regions": "skip"}))


SCRIPT = f"""
import sys
from pathlib import Path
from mpi4py import MPI
sys.path.insert(0, {str(ROOT)!r})
from hpc_massmap.config import Maps
from hpc_massmap.dataset import build
from hpc_massmap.sims import blocks
from tests.dataset.test_boxes import ADAPTIVE, CHUNK, HALOS_PER_TASK, halos_of
build.HALOS_PER_TASK, blocks.CHUNK = HALOS_PER_TASK, CHUNK
halos = halos_of(Path(sys.argv[1]))
build.make_maps(Path(sys.argv[2]), halos, [], ADAPTIVE, MPI.COMM_WORLD, lambda _: None)
"""


def content(path: Path) -> dict[str, bytes]:
    return {part.name: part.read_bytes() for part in parts_folder(path).iterdir()}


def test_any_number_of_ranks_and_a_kill_in_the_midst_make_the_same_files(
    box: Path, tmp_path: Path, launch: Launch
) -> None:
    script, first = tmp_path / "script.py", tmp_path / "first" / "maps.h5"
    script.write_text(SCRIPT)
    draw(first, halos_of(box), ADAPTIVE)
    for ranks, kill_at in ((2, ".scratch"), (3, ".h5")):
        path = tmp_path / str(ranks) / "maps.h5"
        job = subprocess.Popen([sys.executable, script, box, path], cwd=ROOT, stdout=subprocess.DEVNULL)
        ready = lambda: list(parts_folder(path).glob(f"[!.]*{kill_at}"))  # noqa: B023, E731
        wait_until(ready, f"a file {kill_at}", every=0.002)
        job.send_signal(signal.SIGKILL)
        job.wait()
        assert not path.exists()
        done = launch(ranks, script, box, path)
        assert done.returncode == 0, done.stderr
        assert content(path) == content(first)
        assert open_maps(path).digest == open_maps(first).digest
