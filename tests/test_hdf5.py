"""Data that are not there are not zeros: what HDF5 would make up is refused by name."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import check_sources, names_in, opened
from tests.sims.files import write_snapshot
from tests.synthetic import write_synthetic_maps

VALUES = np.arange(1.0, 41.0).reshape(10, 4)


def virtual(file: h5py.File, source: h5py.VirtualSource, rows: slice = slice(None)) -> None:
    layout = h5py.VirtualLayout((10, 4), float)
    layout[rows] = source
    file.create_virtual_dataset("x", layout)


def of_another_file(file: h5py.File) -> None:
    virtual(file, h5py.VirtualSource("source.h5", "values", (10, 4)))


def of_this_file(file: h5py.File) -> None:
    file["values"] = VALUES
    virtual(file, h5py.VirtualSource(file["values"]))


def of_a_virtual_one(file: h5py.File) -> None:
    virtual(file, h5py.VirtualSource("between.h5", "x", (10, 4)))


def without_an_end(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10, 4), float, maxshape=(None, 4))
    source = h5py.VirtualSource("source.h5", "growing", (10, 4), maxshape=(None, 4))
    layout[0 : h5py.h5s.UNLIMITED] = source[0 : h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("x", layout)


def outside(file: h5py.File) -> None:
    file.create_dataset("x", (10, 4), float, external=[("raw.bin", 8, h5py.h5f.UNLIMITED)])


def in_one_piece(file: h5py.File) -> None:
    file["x"] = VALUES


def compressed(file: h5py.File) -> None:
    file.create_dataset("x", data=VALUES, chunks=(3, 4), compression="gzip")


def nothing(file: h5py.File) -> None:
    file.create_dataset("x", (0, 4), float, chunks=(3, 4), maxshape=(None, 4))


def half_from_nowhere(file: h5py.File) -> None:
    virtual(file, h5py.VirtualSource("source.h5", "values", (5, 4)), slice(5))


def longer_than_its_source(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10, 4), float)
    layout[:] = h5py.VirtualSource("source.h5", "values", (15, 4))[5:15]
    file.create_virtual_dataset("x", layout)


def another_name(file: h5py.File) -> None:
    virtual(file, h5py.VirtualSource("source.h5", "other", (10, 4)))


def numbered(file: h5py.File) -> None:
    """One row of each of as many files as there are."""
    space, row = h5py.h5s.create_simple((10, 4), (h5py.h5s.UNLIMITED, 4)), h5py.h5s.create_simple((1, 4))
    space.select_hyperslab((0, 0), (h5py.h5s.UNLIMITED, 1), (1, 1), (1, 4))
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_virtual(space, b"source%b.h5", b"values", row)
    h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_DOUBLE, space, how)


def never_written(file: h5py.File) -> None:
    file.create_dataset("x", (10, 4), float)


def partly_written(file: h5py.File) -> None:
    file.create_dataset("x", (10, 4), float, chunks=(1, 4))[:9] = VALUES[:9]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the datasets above take their values from."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("source.h5", "w") as file:
        file["values"] = VALUES
        file.create_dataset("growing", data=VALUES, chunks=(1, 4), maxshape=(None, 4))
    Path("raw.bin").write_bytes(bytes(8) + VALUES.tobytes())
    with h5py.File("between.h5", "w", libver="latest") as file:
        of_another_file(file)
    return tmp_path


def made(make: Callable[[h5py.File], None], folder: Path) -> Path:
    path = folder / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        make(file)
    return path


def check(path: Path) -> None:
    with h5py.File(path, "r", locking=False) as file:
        check_sources(file["x"])


WHOLE = (of_another_file, of_this_file, of_a_virtual_one, without_an_end, outside, in_one_piece, compressed)


@pytest.mark.parametrize("make", [*WHOLE, nothing])
def test_what_is_there_is_read(make: Callable[[h5py.File], None], folder: Path) -> None:
    path = made(make, folder)
    check(path)
    with h5py.File(path, "r", locking=False) as file:
        assert np.array_equal(file["x"][:], VALUES[: len(file["x"])])


@pytest.mark.parametrize(
    ("make", "gone", "says"),
    [
        (of_another_file, "source.h5", r"takes values from source\.h5, which is not there; put it back"),
        (of_a_virtual_one, "source.h5", r"between\.h5: /x takes values from source\.h5, which is not there"),
        (of_a_virtual_one, "between.h5", r"takes values from between\.h5, which is not there"),
        (without_an_end, "source.h5", r"takes values from source\.h5, which is not there"),
        (outside, "raw.bin", r"takes values from raw\.bin, which is not there or cut off; put it back"),
    ],
)
def test_what_is_gone_is_named(make: Callable[[h5py.File], None], gone: str, says: str, folder: Path) -> None:
    path = made(make, folder)
    (folder / gone).unlink()
    with pytest.raises(InputError, match=f"^{folder}/.*{says}"):
        check(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (half_from_nowhere, "has 20 values of no file, where HDF5 would read zeros"),
        (longer_than_its_source, r"source\.h5, which lacks values; put back the right one"),
        (another_name, r"source\.h5, which lacks other; put back the right one"),
        (numbered, "takes values from numbered files, which may lack one; make it one file"),
        (never_written, "was not written to its end, and HDF5 would read zeros; make the file again"),
        (partly_written, "was not written to its end"),
    ],
)
def test_what_never_was_is_refused(make: Callable[[h5py.File], None], says: str, folder: Path) -> None:
    with pytest.raises(InputError, match=f"^{folder}/x.h5: /x .*{says}"):
        check(made(make, folder))


def test_sources_that_were_cut_off(folder: Path) -> None:
    path = made(outside, folder)
    os.truncate("raw.bin", 300)
    with pytest.raises(InputError, match=r"raw\.bin, which is not there or cut off"):
        check(path)
    path = made(of_another_file, folder)
    os.truncate("source.h5", 300)
    with pytest.raises(InputError, match=r"source\.h5, which is not readable HDF5 \("):
        check(path)


@pytest.mark.parametrize("absolute", [False, True])
def test_sources_are_looked_for_where_hdf5_does(absolute: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the file, where a link to it leads, in the working folder, in the prefix: each in turn is the only one."""
    store = folder / "store"
    store.mkdir()
    source = str(store / "source.h5") if absolute else "source.h5"
    (folder / "source.h5").rename(store / "source.h5")
    path = made(lambda file: virtual(file, h5py.VirtualSource(source, "values", (10, 4))), store)
    link = folder / "link.h5"
    link.symlink_to(path)
    check(link)
    moved = folder / "moved"
    moved.mkdir()
    path = path.rename(moved / "x.h5")
    if absolute:
        check(path)
        (store / "source.h5").rename(moved / "source.h5")
        check(path)
        return
    with pytest.raises(InputError, match="which is not there"):
        check(path)
    monkeypatch.setenv("HDF5_VDS_PREFIX", str(store))
    check(path)
    monkeypatch.delenv("HDF5_VDS_PREFIX")
    monkeypatch.chdir(store)
    check(path)
    with h5py.File(path, "r", locking=False) as file:
        assert np.array_equal(file["x"][:], VALUES)


HOLDER = "import sys, h5py\nfile = h5py.File(sys.argv[1], 'r+')\nprint('open', flush=True)\nsys.stdin.read()\n"


@contextmanager
def open_elsewhere(path: Path) -> Iterator[None]:
    """Another process has the file open to write."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder.stdout, holder.stdin:
        assert holder.stdout.readline() == b"open\n"
        yield
        holder.stdin.close()
        holder.wait()


READ = """
import sys
from pathlib import Path
from hpc_massmap.cli import run_job
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.sims.snapshot import read_snapshot
run_job(lambda: (open_maps if "maps" in sys.argv[1] else read_snapshot)(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("kind", ["maps", "snapshot"])
def test_a_file_that_another_program_has_open(kind: str, tmp_path: Path) -> None:
    """It is read, as nothing is locked to be read; where HDF5 is made to lock it, the lock is what is told."""
    path = tmp_path / f"{kind}.h5"
    if kind == "maps":
        write_synthetic_maps(path, regions=1, snapshots=1, projections=1)
    else:
        path = write_snapshot(path)
    command = [sys.executable, "-c", READ, str(path)]
    plain = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
    with open_elsewhere(path):
        for environment, code, told in (
            (plain, 0, ""),
            (
                {**plain, "HDF5_USE_FILE_LOCKING": "TRUE"},
                2,
                f"error: {path}: HDF5 cannot lock it (Resource temporarily unavailable): another program writes it, or "
                "its file system knows no locks; unset HDF5_USE_FILE_LOCKING, without which we lock nothing to read\n",
            ),
        ):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (code, told)


def test_a_file_of_the_latest_format_that_another_program_writes(tmp_path: Path) -> None:
    path = made(in_one_piece, tmp_path)
    with (
        open_elsewhere(path),
        pytest.raises(InputError, match=rf"^{path}: another program has it open for writing; close it there \(if"),
        opened(path, f"{path}: damaged; make it again"),
    ):
        pass
    with opened(path, "damaged") as file:
        assert names_in(file) == ["x"]


@pytest.mark.parametrize(("number", "says"), [(errno.EIO, "Input/output error"), (errno.ESTALE, "Stale file handle")])
def test_what_the_system_refuses_is_no_damage(
    number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(in_one_piece, tmp_path)

    def refuse(*args: object, **how: object) -> None:
        raise OSError(number, "Unable to synchronously open file (file read failed)")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(InputError, match=rf"^{path}: cannot be read \({says}\)$"), opened(path, "make it again"):
        pass


def test_every_reader_opens_hdf5_in_one_way() -> None:
    """Else one would lock, and HDF5 refuses to open a file twice with and without a lock."""
    places = [path for path in Path("hpc_massmap").rglob("*.py") if "h5py.File(" in path.read_text(encoding="utf-8")]
    assert places == [Path("hpc_massmap/hdf5.py")]
