"""One mongod process: launched on its data, known by them, ended.

Processes are told apart by the data folder on their command line, never by a number alone, which may be another's.
"""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hpc_massmap.errors import InputError

START_SECONDS = 60.0
STOP_SECONDS = 30.0
IS_STARTING = 4615611  # the number of the entry with which mongod's log of a start begins
ABORTS = "aborting after fassert"  # an entry after the one with the reason
# what keeps mongod from its files without their being damaged
NO_DAMAGE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENOMEM)
OPTIONS = (
    "--noscripting",  # none of our calls has JavaScript in it
    "--wiredTigerCacheSizeGB=0.25",
    "--networkMessageCompressors=disabled",  # CVE-2025-14847
    "--setParameter=diagnosticDataCollectionEnabled=false",
    "--wiredTigerEngineConfigString=log=(file_max=8MB,prealloc=false)",
)


def launch(command: list[str], data: Path, where: list[str]) -> subprocess.Popen[bytes]:
    """Start a mongod that outlives us; `where` says what it listens on."""
    return subprocess.Popen(
        [*command, f"--dbpath={data}", f"--logpath={data / 'log'}", "--logappend", *where, *OPTIONS],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def serves(pid: int, data: Path) -> bool:
    """Whether this process of this machine is the mongod of these data."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")  # any program's, which may be no text
    except OSError:
        return False
    return os.fsencode(f"--dbpath={data}") in words


def pid_of(data: Path) -> int | None:
    """The mongod of these data by its own word: that of an image may be a child of what we started."""
    with suppress(OSError, ValueError):
        pid = int((data / "mongod.lock").read_text(encoding="utf-8"))
        return pid if serves(pid, data) else None
    return None


def free_port(bind: str) -> int:
    """A port that nobody listens on at the moment."""
    try:
        with socket.socket() as probe:
            probe.bind((bind, 0))
            port: int = probe.getsockname()[1]
            return port
    except OSError as error:
        raise InputError(f"database.bind = {bind}: no free port there ({error.strerror})") from None


def wait_for_port(process: subprocess.Popen[bytes], data: Path, bind: str, port: int) -> int | None:
    """The mongod of these data as soon as it listens; None if it ends instead, or is ended for taking too long."""
    deadline = time.monotonic() + START_SECONDS
    try:
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1" if bind == "0.0.0.0" else bind, port), 1):
                if pid := pid_of(data):  # else another program has the port, and ours is about to find out
                    return pid
            time.sleep(0.05)
    except BaseException:  # we are told to end: nobody would know of it
        end(process, data)
        raise
    end(process, data)
    return None


def terminate(pid: int, data: Path) -> None:
    """End the mongod `pid` cleanly if it is the one of these data, and wait until it is gone."""
    if not serves(pid, data):
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while serves(pid, data) and time.monotonic() < deadline:
        time.sleep(0.05)
    with suppress(ChildProcessError):  # ours to bury only if we started it
        os.waitpid(pid, os.WNOHANG)


def end(process: subprocess.Popen[bytes], data: Path) -> None:
    """End what we launched and wait until none of it has its data, by force if need be.

    An image's runtime may be gone before the mongod that is its child: the next one would find the data locked.
    """
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None and not _left(process.pid, data):
                return
            time.sleep(0.02)


def _left(group: int, data: Path) -> bool:
    """Whether a process of this group still has the data; another server of the same data is not ours to wait for."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if serves(int(entry.name), data) and os.getpgid(int(entry.name)) == group:
                return True
    return False


def why_not_started(data: Path) -> tuple[str, bool]:
    """What mongod's log says of its last start, and whether that is of damaged files."""
    errors = _errors(data)
    of_files = next((entry for entry in errors if entry.get("c") in ("WT", "STORAGE")), None)
    if of_files is None or any(os.strerror(number) in str(errors) for number in NO_DAMAGE):
        return _words(errors[-1]) if errors else "it gives no reason", False
    return _words(of_files), True


def _errors(data: Path) -> list[dict[str, Any]]:
    """The errors in mongod's log since it was last started; it has a JSON document a line."""
    errors: list[dict[str, Any]] = []
    for line in (
        (data / "log").read_text(encoding="utf-8", errors="replace").splitlines() if (data / "log").exists() else []
    ):
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("id") == IS_STARTING:
                errors = []
            elif isinstance(entry, dict) and entry.get("s") in ("E", "F") and ABORTS not in str(entry.get("msg")):
                errors.append(entry)
    return errors


def _words(entry: dict[str, Any]) -> str:
    """An entry's message, and the error in it; WiredTiger wraps its own."""
    attributes = entry.get("attr")
    detail: Any = attributes.get("error", "") if isinstance(attributes, dict) else ""
    inner = attributes.get("message") if isinstance(attributes, dict) else None
    if isinstance(inner, dict) and "msg" in inner:
        return re.sub(r"^__\w+:\d+:", "", str(inner["msg"]))  # without where in its code
    return f"{entry.get('msg')} {detail.get('errmsg', '') if isinstance(detail, dict) else detail}".strip()
