"""Maps that lie in several files, as if they were one array."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]


class Stack(Protocol):
    """Maps of one kind, (n_maps, 80, 80) float32, read when they are indexed by a row, a slice or an array of rows."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class PartedStack:
    """A stack whose rows lie one after the other in several memory maps.

    Parameters
    ----------
    parts : each (k, 80, 80); the first has the first rows
    """

    def __init__(self, parts: list[Maps]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: Any, /) -> Maps:
        """A copy of some maps: (80, 80) of one row, (k, 80, 80) of a slice or of k rows in any order."""
        asked = np.arange(len(self))[rows]
        wanted = np.atleast_1d(asked)
        found = np.empty((len(wanted), *self.shape[1:]), np.float32)
        holder = np.searchsorted(self._starts, wanted, side="right") - 1
        for part in np.unique(holder):
            here = holder == part
            found[here] = self._parts[part][wanted[here] - self._starts[part]]
        return found.reshape(*np.shape(asked), *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)
