"""Ports for one cluster that no other cluster on this machine takes, not even one that starts at the same moment."""

import random
import socket

_BLOCK = 200
_BLOCKS = range(16_000, 32_000, _BLOCK)  # below the ports that the kernel hands out by itself


class Ports:
    """A block of free loopback ports, ours until closed.

    The claim is its first port, which stays bound: the kernel knows no two owners of it, and forgets a dead one.
    """

    def __init__(self) -> None:
        for start in random.sample(_BLOCKS, len(_BLOCKS)):
            claim = socket.socket()
            try:
                claim.bind(("127.0.0.1", start))
                if all(map(_free, range(start + 1, start + _BLOCK))):
                    self._claim, self._free = claim, range(start + 1, start + _BLOCK)
                    return
            except OSError:
                pass
            claim.close()
        raise RuntimeError(f"no {_BLOCK} free ports in a row on 127.0.0.1 between {_BLOCKS.start} and {_BLOCKS.stop}")

    def take(self, count: int = 1) -> str:
        """The next ports, as Slurm writes them: `16001`, `16002-16005`."""
        taken, self._free = self._free[:count], self._free[count:]
        return f"{taken[0]}-{taken[-1]}" if count > 1 else str(taken[0])

    def take_rest(self) -> str:
        """All ports that are left."""
        return self.take(len(self._free))

    def close(self) -> None:
        """Give the block back."""
        self._claim.close()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
