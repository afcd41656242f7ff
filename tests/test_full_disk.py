"""A disk that is full or read-only, for real: each step says so in one line, loses nothing, and goes on afterwards."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc_massmap.errors import InputError
from tests.report.run_folder import training_log
from tests.test_docs import loaded
from tests.trained_run import write_run

MEGABYTES = 24
FREE = (0, 60_000)  # bytes left when a step begins; tests/test_failing_writes.py tries more
STEPS = ("predict", "evaluate", "report")


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk here (not root?): {done.stderr.strip()}")


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def leave(self, size: int) -> None:
        """Fill it but for so many bytes."""
        self._ballast.unlink(missing_ok=True)
        found = os.statvfs(self.folder)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_frsize - size))

    def empty(self) -> None:
        self._ballast.unlink()

    def content(self) -> dict[str, str]:
        """What is on it, each with its digest."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path != self._ballast]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Where the runs of `config` are."""
    folder = tmp_path / "runs"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={MEGABYTES}M", "tmpfs", str(folder))
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def config(disk: Disk, tmp_path: Path) -> Path:
    path = write_run(tmp_path)
    (disk.folder / "small" / "model" / "log.csv").write_text(training_log(2))
    (disk.folder / "small" / "trials.jsonl").touch()
    (disk.folder / "small" / "best.yaml").write_text("tid: 0\nfilters: 4\nkernel: 3\nlayers: 2\ndropout: 0.0\n")
    return path


def refusal(step: str, config: Path) -> str | None:
    """The line with which a step ends; None if it is done."""
    try:
        loaded(Path("jobs", f"{step}.py")).main([str(config)])
    except InputError as error:
        return str(error)
    return None


def test_a_disk_that_is_full_at_each_step(disk: Disk, config: Path) -> None:
    for step in STEPS:
        refused = 0
        for size in FREE:
            before = disk.content()
            disk.leave(size)
            line = refusal(step, config)
            disk.empty()
            if line is None:
                break
            refused += 1
            assert re.fullmatch(rf"{disk.folder}/\S+: no space left on the disk(; .*)?; free some and run again", line)
            after = disk.content()
            assert {path: after.get(path) for path in before} == before
            assert not [path for path in after if path.endswith(".tmp")]
        assert refused, step
        assert line is None or refusal(step, config) is None
    assert (disk.folder / "small" / "report" / "index.html").exists()


def test_a_disk_that_is_read_only_at_each_step(disk: Disk, config: Path) -> None:
    for step in STEPS:
        mount("-o", "remount,ro", str(disk.folder))
        line = refusal(step, config)
        mount("-o", "remount,rw", str(disk.folder))
        assert line is not None, step
        assert re.fullmatch(
            rf"{disk.folder}/\S+: cannot be written \(Read-only file system\); choose another folder", line
        )
        if step != STEPS[-1]:  # a report takes its time, and the disk that was full had one
            assert refusal(step, config) is None


def test_a_training_on_a_disk_that_is_full(disk: Disk, config: Path) -> None:
    command = [sys.executable, "jobs/train.py", str(config), "name=other", "train.epochs=3", "train.maps_per_epoch=16"]
    (disk.folder / "other").mkdir()
    (disk.folder / "other" / "best.yaml").write_text((disk.folder / "small" / "best.yaml").read_text())
    disk.leave(300_000)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no space left on the disk" in done.stderr
    assert "Traceback" not in done.stderr
    disk.empty()
    subprocess.run(command, capture_output=True, check=True)
    assert len((disk.folder / "other" / "model" / "log.csv").read_text().splitlines()) == 4
