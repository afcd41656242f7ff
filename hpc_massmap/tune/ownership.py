"""Who owns something that processes of several machines share: one at a time, decided on the shared file system.

Terms of ownership are numbered files. Whoever wants the next one links a file of its own to its name, which the file
system lets one succeed in, locks or not. An owner keeps raising a counter; others judge by whether it moves while they
look, by their own monotonic clock: no two clocks are ever compared. Of a process of the same machine the kernel knows.
"""

import errno
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hpc_massmap.errors import InputError
from hpc_massmap.progress import say

SECONDS_BETWEEN_BEATS = 2.0
SECONDS_STILL = 30.0  # after which an owner of another machine, whose counter stands still, is taken for gone
SECONDS_BETWEEN_LOOKS = 0.1
TERMS_KEPT = 20  # the last ones: whoever looks at a list that is old by some terms must not find their names free
NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)


class Owned(InputError):
    """Somebody else owns it."""


class OwnershipLost(InputError):
    """Somebody else has taken over, while this process was not heard of."""


@dataclass(frozen=True)
class Owner:
    """A process that holds a term."""

    host: str
    machine: str  # of one start of one kernel, and one table of processes
    pid: int
    started: str | None  # by the kernel's count: tells it from a later process of the same number
    token: str

    @property
    def is_here(self) -> bool:
        return self.machine == _machine()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone; of another machine nobody knows."""
        return self.is_here and (self.started is None or started(self.pid) != self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Ownership:
    """Terms of the ownership of one thing.

    Parameters
    ----------
    folder : of the terms, on a file system that all share
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held = 0  # the number of our term
        self._stop = threading.Event()
        self._seen: tuple[int, str] = (0, "")  # a term and its counter, as last seen
        self._moved = 0.0  # when they were not what they had been

    @contextmanager
    def hold(self, what: str, patience: float) -> Iterator["Ownership"]:
        """Own it within.

        Parameters
        ----------
        what : names the owner in what is told
        patience : seconds to wait for an owner that is alive

        Raises
        ------
        Owned
            If another process owns it, and goes on doing so; the line says which one.
        """
        self._take(what, patience)
        try:
            yield self
        finally:
            self._release()

    def check(self) -> None:
        """Raise `OwnershipLost` if somebody has taken over."""
        number = self._latest()
        if number != self._held:
            owner = self._owner(number)
            raise OwnershipLost(f"{self._folder}: {owner or 'another process'} has taken over; this one ends")

    def living(self) -> Owner | None:
        """The owner, unless it is gone: released, dead, or still for `SECONDS_STILL` since this was first asked."""
        number = self._latest()
        owner = self._owner(number)
        if owner is None or owner.is_dead or self._file(number, "released").exists():
            return None
        if owner.is_here:
            return owner
        seen = number, self._counter(number)
        if seen != self._seen:
            self._seen, self._moved = seen, time.monotonic()
        return owner if time.monotonic() - self._moved < SECONDS_STILL else None

    def moves(self) -> Owner | None:
        """The owner if it is surely alive, None if it is gone; looks for as long as it takes to know."""
        first: dict[int, str] = {}
        while (owner := self.living()) is not None and not self._is_seen_alive(owner, first):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return owner

    def _is_seen_alive(self, owner: Owner, first: dict[int, str]) -> bool:
        """Whether an owner is here, or its counter is not what it was at `first`, which is kept by term."""
        number = self._latest()
        counter = self._counter(number)
        return owner.is_here or first.setdefault(number, counter) != counter

    def _take(self, what: str, patience: float) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        mine = Owner(platform.node(), _machine(), os.getpid(), started(os.getpid()), uuid.uuid4().hex)
        start = time.monotonic()
        first: dict[int, str] = {}
        while True:
            number, owner = self._latest(), self.living()
            if owner is None:
                if self._claim(number + 1, mine):
                    break
                continue
            if not owner.is_here and number not in first:
                say(f"{what} was {owner}; {SECONDS_STILL:.0f} s tell whether it is still there")
            if self._is_seen_alive(owner, first) and time.monotonic() - start >= patience:
                raise Owned(f"{what} is at work already: {owner}")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        self._held, self._stop = number + 1, threading.Event()
        self._prune()
        counter = self._file(self._held, f"{mine.token}.beat")
        threading.Thread(target=_raise_counter, args=(counter, self._stop), daemon=True).start()

    def _claim(self, number: int, owner: Owner) -> bool:
        """Have the next term, unless another was faster."""
        counter, name = self._file(number, f"{owner.token}.beat"), self._file(number, "json")
        counter.write_text(f"{0:020d}", encoding="utf-8")
        text = json.dumps(asdict(owner))
        own = self._folder / f".{owner.token}"
        own.write_text(text, encoding="utf-8")
        try:
            os.link(own, name)
        except FileExistsError:
            pass  # ours, if the answer of a network file system was lost
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with suppress(FileExistsError), name.open("x", encoding="utf-8") as file:
                file.write(text)
        finally:
            own.unlink(missing_ok=True)
        won = self._owner(number)
        if won is None or won.token != owner.token:
            counter.unlink(missing_ok=True)
            return False
        return True

    def _release(self) -> None:
        self._stop.set()
        with suppress(OSError):  # a disk that is full: then the kernel or the counter says it
            self._file(self._held, "released").touch()

    def _counter(self, number: int) -> str:
        owner = self._owner(number)
        with suppress(OSError):
            return self._file(number, f"{owner.token}.beat").read_text(encoding="utf-8") if owner else ""
        return ""

    def _latest(self) -> int:
        return max((int(path.stem) for path in self._folder.glob("*.json") if path.stem.isdigit()), default=0)

    def _owner(self, number: int) -> Owner | None:
        """The owner of a term; one that has not been written yet, or is damaged, is nobody that is known."""
        path = self._file(number, "json")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return Owner(str(found["host"]), str(found["machine"]), int(found["pid"]), found["started"], found["token"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError):
            return Owner("an unknown machine", "", 0, None, "") if path.exists() else None

    def _file(self, number: int, kind: str) -> Path:
        return self._folder / f"{number:06d}.{kind}"

    def _prune(self) -> None:
        for path in self._folder.iterdir():
            number = path.name.partition(".")[0]
            if number.isdigit() and int(number) <= self._held - TERMS_KEPT:
                path.unlink(missing_ok=True)


def _raise_counter(path: Path, stop: threading.Event) -> None:
    count = 0
    while not stop.wait(SECONDS_BETWEEN_BEATS):
        count += 1
        with suppress(OSError):  # written in place: on a disk that is full too
            handle = os.open(path, os.O_WRONLY)
            try:
                os.pwrite(handle, f"{count:020d}".encode(), 0)
                os.fsync(handle)
            finally:
                os.close(handle)


def started(pid: object) -> str | None:
    """When a process was started, which tells it from a later one of the same number; None if there is none.

    In the kernel's ticks, not as a time: that would change with the clock.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _machine() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{platform.node()} {boot} {os.readlink('/proc/self/ns/pid')}"
    return platform.node()
