"""Files are whole or not there, whatever happens while they are written."""

import errno
import os
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.storage import replacing, write_json, write_text


def test_a_failure_while_writing_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_text(target, "old")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for target in (pipe, link):
        with pytest.raises(
            InputError, match=f"^{target}: a device or a pipe, which a file would replace; name a file$"
        ):
            write_text(target, "new")
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_mode_of_a_secret_file(tmp_path: Path) -> None:
    write_json(tmp_path / "secret", {"password": "x"}, mode=0o600)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_disk_full_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "maps.h5"
    write_text(target, "old")

    def fill() -> None:
        with replacing(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match=r"maps\.h5: no space left on the disk; the previous file is intact"):
        fill()
    assert target.read_text() == "old"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a real full disk needs the right to mount: {mounted.stderr.strip()}")
    return disk


def test_a_really_full_disk_under_hdf5(tiny_disk: Path) -> None:
    target = tiny_disk / "maps.h5"
    try:
        write_text(target, "old")

        def overfill() -> None:
            with replacing(target) as temporary, h5py.File(temporary, "w") as file:
                file["x"] = np.zeros(200_000)

        with pytest.raises(InputError, match="no space left on the disk"):
            overfill()
        assert target.read_text() == "old"
    finally:
        subprocess.run(["umount", str(tiny_disk)], check=True)
