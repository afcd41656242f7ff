"""Files are whole or not there, whatever happens while they are written."""

import ast
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import new_hdf5
from hpc_massmap.storage import read_json, replacing, write_json, write_text
from hpc_massmap.train.checkpoint import save_checkpoint
from tests.synthetic import write_synthetic_maps


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


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_follow_the_umask_but_secrets_are_secret(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "secret", {"password": "x"}, mode=0o600)
        for _ in range(2):  # also one that is replaced
            write_text(tmp_path / "file", "x")
        with new_hdf5(tmp_path / "maps.h5") as file:
            file["x"] = 1
        write_synthetic_maps(tmp_path / "synthetic.h5", regions=1, snapshots=1, projections=1)
        save_checkpoint(tmp_path / "best.pt", {"x": 1})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    plain = ("file", "maps.h5", "synthetic.h5", "best.pt")
    assert modes == {"secret": 0o600, **dict.fromkeys(plain, mode)}


def test_a_secret_is_never_open_to_others_while_it_is_written(tmp_path: Path) -> None:
    with replacing(tmp_path / "secret", 0o600) as temporary:
        assert temporary.stat().st_mode & 0o777 == 0o600


def opens_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text: `open`, or a method of paths."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    if name in ("read_text", "write_text"):
        return isinstance(function, ast.Attribute)
    owner = getattr(getattr(function, "value", None), "id", None)
    modes = [
        arg.value for arg in (*call.args, *(word.value for word in call.keywords)) if isinstance(arg, ast.Constant)
    ]
    of_others = owner in ("os", "fits", "Run", "run", "gzip", "webbrowser")
    return name == "open" and not of_others and not any("b" in mode for mode in modes if isinstance(mode, str))


def test_all_text_is_utf8_whatever_the_locale() -> None:
    found = [
        f"{path}:{node.lineno}"
        for folder in ("hpc_massmap", "benchmarks", "docs")
        for path in Path(folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and opens_text(node) and "encoding" not in [word.arg for word in node.keywords]
    ]
    assert found == []


@pytest.fixture(scope="module")
def latin_1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a person whose texts are of ISO 8859-1."""
    folder = tmp_path_factory.mktemp("locale")
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", folder / "en_US.ISO-8859-1"], capture_output=True, check=False
    )
    if not (folder / "en_US.ISO-8859-1").is_dir():
        pytest.skip(f"the locale cannot be made here ({made})")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "PYTHON"))}
    return {**plain, "LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


PRINT_AND_KEEP = """
import locale, sys
from pathlib import Path
from hpc_massmap.cli import run_job
from hpc_massmap.errors import InputError
from hpc_massmap.progress import say
from hpc_massmap.storage import read_json, write_json

def main():
    write_json(Path(sys.argv[1]), {"limit": "é ≤ 1"})
    assert read_json(Path(sys.argv[1])) == {"limit": "é ≤ 1"}
    print(locale.getencoding(), "é ≤ 1")
    say("é ≤ 1")
    raise InputError("é ≤ 1")

run_job(main)
"""


def test_what_a_locale_does_not_have_is_written_and_printed(latin_1: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    script = tmp_path / "script.py"
    script.write_text(PRINT_AND_KEEP, encoding="utf-8")
    environment = {**latin_1, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, script, path], env=environment, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    told = "é \\u2264 1".encode("latin-1")
    assert done.stdout == b"ISO-8859-1 " + told + b"\n" + told + b"\n"
    assert done.stderr == b"error: " + told + b"\n"
    assert read_json(path) == {"limit": "é ≤ 1"}


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
