"""The ranks of one worker: the first leads, the others do what it says; all through one small key-value store.

Nothing here trains: each rank's training process is a child of its own (attempt.py), so that a rank that fails, hangs
or dies can be told from one that works, and every other be stopped.

What is said bears a code made with a secret that only the job's ranks know, from their job's private file: whoever else
reaches the store can spoil a trial, but not tell a rank what to do.
"""

import hashlib
import hmac
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

from hpc_massmap.errors import InputError
from hpc_massmap.train.meeting import meet, own_rank
from hpc_massmap.tune.ownership import started

SECONDS_TO_ANSWER = 60.0
SECONDS_TO_PART = 5.0
SECONDS_BETWEEN_LOOKS = 0.1

Message = dict[str, Any]


class RankStore:
    """The ranks of this worker; of one rank it needs no store.

    Parameters
    ----------
    leaves : whether this rank was told to end, while it waits for the others
    secret : what makes a message one of this job's ranks

    Raises
    ------
    InputError, ToldToLeave
        As `meet` does.
    """

    def __init__(self, leaves: Callable[[], bool] = lambda: False, secret: str = "") -> None:
        self.rank, self.size = own_rank()
        self._secret = secret.encode()
        self._silent: set[int] = set()
        self._processes: dict[int, tuple[int, str]] = {}
        self._store: Any = None
        if self.size > 1:
            self._store = meet(self.rank, self.size, leaves, about=json.dumps(_this_process()))
            self._processes = self._of_this_machine()

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def write(self, key: str, message: Message) -> None:
        """Write a message for all ranks, once and for all."""
        if self._store is not None:
            text = json.dumps(message)
            self._store.set(key, f"{self._code(key, text)} {text}")

    def read(self, key: str) -> Message | None:
        """The message of a key; None if there is none yet.

        Raises
        ------
        InputError
            If it was said by nobody of this job.
        """
        if self._store is None or not self._store.check([key]):
            return None
        code, _, text = self._store.get(key).decode().partition(" ")
        if not hmac.compare_digest(code, self._code(key, text)):
            raise InputError(f"ranks: what was said as {key} is of none of them; somebody else writes at MASTER_PORT")
        message: Message = json.loads(text)
        return message

    def wait_for(self, key: str) -> Message:
        """Wait for the message of a key, as long as the first rank lives; raises a DistError when it is gone."""
        while (message := self.read(key)) is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return message

    def lost(self) -> list[int]:
        """The other ranks that have ended without a word, or did not answer in time."""
        gone = {rank for rank, (pid, start) in self._processes.items() if started(pid) != start}
        return sorted(gone | self._silent)

    def leave(self) -> None:
        """The first rank waits till all others have gone, so that none finds the store closed."""
        if not self.is_first:
            self.write(f"gone/{self.rank}", {})
        else:
            self.all_reports("gone", SECONDS_TO_PART)

    def reports(self, key: str) -> list[Message]:
        """What the other ranks have said under `key/rank` so far."""
        said = (self.read(f"{key}/{rank}") for rank in range(self.size) if rank != self.rank)
        return [message for message in said if message is not None]

    def all_reports(self, key: str, seconds: float = SECONDS_TO_ANSWER) -> list[Message]:
        """Wait until every other rank has said something under `key/rank`; for one that is lost, that it is."""
        deadline = time.monotonic() + seconds
        said: list[Message] = []
        for rank in (other for other in range(self.size) if other != self.rank):
            while (message := self.read(f"{key}/{rank}")) is None and rank not in self.lost():
                if time.monotonic() > deadline:
                    self._silent.add(rank)
                time.sleep(SECONDS_BETWEEN_LOOKS)
            how = "does not answer" if rank in self._silent else "has ended"
            said.append(message or {"kind": "lost", "reason": f"rank {rank} of {self.size} {how}"})
        return said

    def _code(self, key: str, text: str) -> str:
        return hmac.new(self._secret, f"{key} {text}".encode(), hashlib.sha256).hexdigest()

    def _of_this_machine(self) -> dict[int, tuple[int, str]]:
        """Process and its start of the other ranks that we can see here; Slurm ends a job of several nodes itself."""
        found = {}
        for rank in (other for other in range(self.size) if other != self.rank):
            host, pid, start = json.loads(self._store.get(f"here/{rank}"))
            if host == platform.node() and started(pid) == start:
                found[rank] = pid, start
        return found


def _this_process() -> tuple[str, int, str | None]:
    return platform.node(), os.getpid(), started(os.getpid())
