"""Where the ranks of a job find each other: a store at MASTER_ADDR and MASTER_PORT, held by the first.

Who waits says so within seconds, obeys signals, and gives up after minutes: RANK and WORLD_SIZE that are left over in a
shell describe ranks that nobody started.

Nobody has to prove to the store who they are: see docs/cluster.md for who can say what in it. It listens where the
ranks are told to come, not on every interface, if that address is one of this machine.
"""

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from hpc_massmap.errors import InputError
from hpc_massmap.progress import say

SECONDS_TO_MEET = 300.0
SECONDS_TO_SAY = 5.0  # before the others are said to be missing
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_CONNECT = 10.0  # to a port that somebody listens at
SECONDS_TO_ANSWER = 300.0


class ToldToLeave(Exception):
    """The ranks have not met, and this one was told to end."""


def own_rank() -> tuple[int, int]:
    """This process' rank and how many there are, as torchrun and submitit say it; 0 and 1 if nobody does.

    Raises
    ------
    InputError
        If they are no such numbers.
    """
    rank, world = (_number(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not 0 <= rank < world:
        raise InputError(
            f"RANK = {rank}, WORLD_SIZE = {world}: must be a rank below the size; unset both for one process"
        )
    return rank, world


def _number(name: str, default: str | None = None) -> int:
    text = os.environ.get(name, default)
    if text is None:
        raise InputError(f"{name}: missing, though WORLD_SIZE tells of several ranks; unset that for one process")
    if not text.isdigit():
        raise InputError(f"{name} = {text}: must be a whole number")
    return int(text)


def meet(
    rank: int, world: int, leaves: Callable[[], bool] = lambda: False, name: str | None = None, about: str = ""
) -> Any:
    """The store of these ranks, when all of them have come.

    Parameters
    ----------
    leaves : whether this rank was told to end
    name : where the store is another process', the name under which these ranks find each other there
    about : what this rank tells of itself, which the others find under `here/RANK`

    Raises
    ------
    InputError
        If one does not come within minutes, or the first finds its port taken.
    ToldToLeave
        If this rank was told to end meanwhile.
    """
    address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), _number("MASTER_PORT")
    if not 0 < port < 65536:
        raise InputError(f"MASTER_PORT = {port}: must be from 1 to 65535")
    patience = _Patience(rank, world, f"{address}:{port}", leaves)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun holds one, for all its attempts
        name = name or f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    store: Any = _listen(address, port) if rank == 0 and name is None else _reach(address, port, patience)
    store.set_timeout(timedelta(seconds=SECONDS_TO_ANSWER))
    if name is not None:
        store = PrefixStore(name, store)
    store.set(f"here/{rank}", about)
    while missing := [other for other in range(world) if not store.check([f"here/{other}"])]:
        patience.wait(missing)
    return store


class _Patience:
    """How long a rank waits, and what it says of it."""

    def __init__(self, rank: int, world: int, where: str, leaves: Callable[[], bool]) -> None:
        self._rank, self._world, self._where, self._leaves = rank, world, where, leaves
        self._start, self._said = time.monotonic(), False

    def wait(self, missing: list[int]) -> None:
        """A moment for the ranks that are missing."""
        if self._leaves():
            raise ToldToLeave
        who = f"rank {', '.join(map(str, missing[:8]))}{' ...' if len(missing) > 8 else ''} of {self._world}"
        waited = time.monotonic() - self._start
        if waited > SECONDS_TO_MEET:
            raise InputError(
                f"{who} did not come to {self._where} in {SECONDS_TO_MEET:.0f} s; see its log, or unset RANK and "
                "WORLD_SIZE if nobody started it"
            )
        if waited > SECONDS_TO_SAY and not self._said and (self._rank == 0 or 0 in missing):
            self._said = True
            say(
                f"rank {self._rank} waits at {self._where} for {who}, as RANK and WORLD_SIZE tell, for at most "
                f"{SECONDS_TO_MEET:.0f} s"
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _listen(address: str, port: int) -> TCPStore:
    """A store that listens where the others are told to come; everywhere if that is not an address of this machine."""
    timeout = timedelta(seconds=SECONDS_TO_CONNECT)
    try:
        if (own := _own_address(address)) is None:
            return TCPStore(address, port, None, True, timeout, False)
        family, host = own
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, dist.DistError) as error:
        why = getattr(error, "strerror", None) or "it is in use"
        raise InputError(f"MASTER_PORT = {port}: cannot listen there ({why}); take another") from None
    return TCPStore(host, port, None, True, timeout, False, master_listen_fd=listener.detach())


def _own_address(name: str) -> tuple[socket.AddressFamily, str] | None:
    """The address of this machine that a name means to the other ranks, too; None if it is another's, or uncertain."""
    try:
        family, _, _, _, found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0]
        host = str(found[0])
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        return None
    # a host's own name may mean loopback to itself, and its network to others
    return None if ip_address(host).is_loopback and name not in ("localhost", host) else (family, host)


def _reach(address: str, port: int, patience: _Patience) -> TCPStore:
    """The store of the first rank, as soon as it listens."""
    while True:
        try:
            socket.create_connection((address, port), timeout=1.0).close()
            return TCPStore(address, port, None, False, timedelta(seconds=SECONDS_TO_CONNECT), False)
        except (OSError, dist.DistError):
            patience.wait([0])
