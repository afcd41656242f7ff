"""The ranks of one worker: the first leads, the others do what it says; all through one small key-value store.

Nothing here trains: each rank's training process is a child of its own (attempt.py), so that a rank that fails, hangs
or dies can be told from one that works, and every other be stopped.
"""

import json
import os
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

SECONDS_TO_MEET = 300
SECONDS_TO_ANSWER = 60.0
SECONDS_TO_PART = 5.0
SECONDS_BETWEEN_LOOKS = 0.1

Message = dict[str, Any]


class RankStore:
    """The ranks of this worker; of one rank it needs no store."""

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self._store: TCPStore | None = None
        if self.size > 1:
            address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            meeting = timedelta(seconds=SECONDS_TO_MEET)
            self._store = TCPStore(address, port, None, self.rank == 0, meeting, wait_for_workers=False)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def say(self, key: str, message: Message) -> None:
        """Tell all ranks, once and for all."""
        if self._store is not None:
            self._store.set(key, json.dumps(message))

    def heard(self, key: str) -> Message | None:
        """What was said under a key; None if nothing yet."""
        if self._store is None or not self._store.check([key]):
            return None
        message: Message = json.loads(self._store.get(key))
        return message

    def hear(self, key: str) -> Message:
        """Wait for what is said under a key, as long as the first rank lives; raises a DistError when it is gone."""
        while (message := self.heard(key)) is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return message

    def part(self) -> None:
        """The first rank waits till all others have gone, so that none finds the store closed."""
        if not self.is_first:
            self.say(f"gone/{self.rank}", {})
        else:
            with suppress(TimeoutError):
                self.all_reports("gone", SECONDS_TO_PART)

    def reports(self, key: str) -> list[Message]:
        """What the other ranks have said under `key/rank` so far."""
        said = (self.heard(f"{key}/{rank}") for rank in range(self.size) if rank != self.rank)
        return [message for message in said if message is not None]

    def all_reports(self, key: str, seconds: float = SECONDS_TO_ANSWER) -> list[Message]:
        """Wait until every other rank has said something under `key/rank`.

        Raises
        ------
        TimeoutError
            If one does not: its process is gone or hangs.
        """
        deadline = time.monotonic() + seconds
        while len(said := self.reports(key)) < self.size - 1:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(said)} of the {self.size - 1} other ranks answer")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return said
