"""Processes that cannot outlive their owner, by the kernel's word instead of bookkeeping.

They live in a PID namespace whose first process waits for its standard input to end. The owner holds the other end:
when it closes it, or dies in whatever way, the first process ends and the kernel kills all the others, daemons and
jobs alike. Mounts and the host name are private to the namespace too, so nothing of them stays behind.
The network is not: whatever runs outside can talk to the daemons on loopback.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.patience import within

# Ignoring SIGCHLD makes the kernel bury the orphans that the first process inherits.
_FIRST = 'hostname "$1" && mount --bind "$2" /etc/hosts && echo ready && exec env --ignore-signal=CHLD cat >/dev/null'
_NODE = 'hostname "$1" && mount -t tmpfs tmpfs /dev/shm && shift && exec "$@"'
_PRIVATE = ("--mount", "--uts", "--propagation", "private")


def unavailable() -> str | None:
    """Why this machine does not let us make namespaces, or None if it does."""
    command = ["unshare", *_PRIVATE, "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=within(20))
    except FileNotFoundError:
        return "unshare (util-linux)"
    return None if probe.returncode == 0 else f"the right to make namespaces ({probe.stderr.strip()})"


class Namespace:
    """A private process table, host name, hosts file and set of mounts."""

    def __init__(self, hostname: str, hosts: Path) -> None:
        self._first = subprocess.Popen(
            [
                *("unshare", *_PRIVATE, "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", _FIRST, "first", hostname, str(hosts)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the owner, who may still want to ask the daemons something
        )
        assert self._first.stdout
        assert self._first.stderr
        if self._first.stdout.readline() != "ready\n":
            raise RuntimeError(f"no namespace: {self._first.stderr.read()}")
        self._entered: list[subprocess.Popen[bytes]] = []

    def command(self, command: Sequence[str], node: str | None = None) -> list[str]:
        """The command line that runs a command inside, or even on a node: a host name and /dev/shm of its own."""
        owner = f"/proc/{self._first.pid}/ns"
        inside = ["nsenter", f"--mount={owner}/mnt", f"--uts={owner}/uts", f"--pid={owner}/pid_for_children"]
        if node is not None:
            inside += ["unshare", *_PRIVATE, "sh", "-c", _NODE, "node", node]
        return [*inside, *command]

    def spawn(
        self, command: Sequence[str], env: Mapping[str, str], output: IO[bytes], node: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a daemon inside; it must stay in the foreground."""
        process = subprocess.Popen(
            self.command(command, node),
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._entered.append(process)
        return process

    def close(self) -> None:
        """End all that runs inside; the kernel lets the first process go only after all the others are gone."""
        assert self._first.stdin
        assert self._first.stdout
        assert self._first.stderr
        self._first.stdin.close()
        self._first.wait(within(30))
        self._first.stdout.close()
        self._first.stderr.close()
        for process in self._entered:
            process.wait(within(30))
