"""Every writer with its disk failing at every step: one line that names the file, and nothing lost or left behind.

A limit on the size of files has the kernel refuse a write at any byte we like; the other steps are made to fail by
replacing the call. tests/test_full_disk.py fills real disks.
"""

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.parts import digests_of_part, write_part
from hpc_massmap.errors import InputError
from hpc_massmap.storage import read_json, write_json, write_text
from hpc_massmap.train.checkpoint import load_checkpoint, save_checkpoint
from hpc_massmap.train.logs import events
from hpc_massmap.train.recipe import Epoch
from tests.synthetic import write_synthetic_maps

MAPS = {name: np.ones((2, 80, 80)) for name in ("sz", "xray", "star", "mass")}
Write = Callable[[Path], None]
Read = Callable[[Path], Any]
# of each kind of file: a writer, a reader that refuses what is not whole
KINDS: dict[str, tuple[Write, Read]] = {
    "text": (lambda path: write_text(path, "a line\n" * 3000), lambda path: path.read_text()),
    "json": (lambda path: write_json(path, list(range(3000)), 0o600), read_json),
    "checkpoint": (
        lambda path: save_checkpoint(path, {"model": torch.arange(5000)}),
        lambda path: load_checkpoint(path)["digest"],
    ),
    "maps": (
        lambda path: write_synthetic_maps(path, regions=2, snapshots=1, projections=1),
        lambda path: open_maps(path, check_values=True).digest,
    ),
    "part": (lambda path: write_part(path, "key", [MAPS]), lambda path: digests_of_part(path, "key")),
}
STEPS: dict[str, tuple[Any, str]] = {
    "create": (os, "open"),
    "fsync": (os, "fsync"),
    "rename": (Path, "replace"),
}


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def failing(call: Callable[..., Any], at: int, number: int) -> Callable[..., Any]:
    """The call, the n-th time of which the disk refuses."""
    left = [at]

    def refused(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(number, os.strerror(number))
        return call(*args, **kwargs)

    return refused


def refusal(write: Write, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        write(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert list(path.parent.glob(".*.tmp")) == []
    return line


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_is_refused_at_any_byte(kind: str, tmp_path: Path) -> None:
    write, read = KINDS[kind]
    path = tmp_path / "folder" / "file"
    write(path)
    before, size = read(path), path.stat().st_size
    for limit in np.linspace(0, size - 1, 25, dtype=int).tolist():
        with no_file_larger_than(limit):
            assert refusal(write, path).endswith("cannot be written (File too large)")
        assert read(path) == before
    write(path)
    assert read(path) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_is_refused(
    kind: str, step: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, read = KINDS[kind]
    path = tmp_path / "file"
    write(path)
    before = read(path)
    for at in (1, 2) if step == "fsync" else (1,):  # of the file, then of its folder
        with monkeypatch.context() as patch:
            owner, name = STEPS[step]
            patch.setattr(owner, name, failing(getattr(owner, name), at, number))
            line = refusal(write, path)
        full = number in (errno.ENOSPC, errno.EDQUOT)
        assert ("no space left on the disk" if full else f"cannot be written ({os.strerror(number)})") in line
        assert read(path) == before
    write(path)
    assert read(path) == before


def test_events_that_cannot_be_written(tmp_path: Path) -> None:
    history = [Epoch(n, 0.5, 0.5, 1e-3, 1.0, 1.0) for n in range(1, 200)]
    for size in (0, 100, 5000):
        with no_file_larger_than(size), pytest.raises(InputError, match=rf"{tmp_path}/new: cannot be written \(File"):
            events(tmp_path / "new", torch.device("cpu"))(history)
    events(tmp_path / "new", torch.device("cpu"))(history)


@pytest.mark.parametrize("name", ["file/inside", "x" * 300, "folder"], ids=["inside", "long", "folder"])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert "cannot be written" in refusal(KINDS["text"][0], tmp_path / name)


RAISE = "from hpc_massmap.cli import run_job\ndef main():\n    {}\nrun_job(main)"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("open('/proc/nowhere/file', 'w')", "error: /proc/nowhere/file: No such file or directory\n"),
        ("open('/dev/full', 'w').write('x' * 100_000)", "error: No space left on device\n"),
    ],
)
def test_any_other_error_of_a_disk_is_one_line_of_a_job(statement: str, told: str) -> None:
    done = subprocess.run([sys.executable, "-c", RAISE.format(statement)], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(told, done.stderr.split("Exception ignored")[0])
