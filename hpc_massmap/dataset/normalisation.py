"""Standard normalisation of each map type over the training pixels alone (section 3.2), and back.

The statistics travel with the checkpoint, so validation, test and a user's own maps are treated the same.
`log` normalises log10(x + floor) instead, with a floor of a thousandth of the mean: maps span five decades.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from hpc_massmap.arrays import IntArray
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.errors import InputError
from hpc_massmap.views import UNITS

FLOOR_OF_MEAN = 1e-3
MAPS_PER_BLOCK = 512  # 13 MB of one map


@dataclass(frozen=True)
class Normalisation:
    """Per map type: z = (f(x) - mean) / std with f the identity or log10(x + floor)."""

    kind: str
    mean: dict[str, float]
    std: dict[str, float]
    floor: dict[str, float]
    unit: dict[str, str] = field(default_factory=UNITS.copy)  # a checkpoint without is of these maps

    def apply(self, maps: torch.Tensor, names: list[str]) -> torch.Tensor:
        """Normalise (n, channels, 80, 80) physical maps whose channels are `names`."""
        if self.kind == "log":
            maps = torch.log10(maps + self._channels(self.floor, names, maps))
        return (maps - self._channels(self.mean, names, maps)) / self._channels(self.std, names, maps)

    def invert(self, maps: torch.Tensor, names: list[str]) -> torch.Tensor:
        """Physical units again; (n, channels, 80, 80)."""
        physical = maps * self._channels(self.std, names, maps) + self._channels(self.mean, names, maps)
        if self.kind == "log":
            return (10.0**physical - self._channels(self.floor, names, maps)).clamp_min(0.0)
        return physical

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def _channels(values: dict[str, float], names: list[str], like: torch.Tensor) -> torch.Tensor:
        return torch.tensor([values[name] for name in names], dtype=like.dtype, device=like.device)[:, None, None]


def fit_normalisation(maps: MapFile, rows: IntArray, names: list[str], kind: str) -> Normalisation:
    """Mean and standard deviation over all pixels of some rows, (n,), of the file, in float64, a block at a time.

    Raises
    ------
    InputError
        If a map type is the same everywhere, so that it says nothing.
    """
    floor = dict.fromkeys(names, 0.0)
    if kind == "log":
        floor = {name: FLOOR_OF_MEAN * _moments(maps, rows, name, None)[0] for name in names}
    mean, std = {}, {}
    for name in names:
        mean[name], std[name] = _moments(maps, rows, name, floor[name] if kind == "log" else None)
        if not std[name] > 0:
            raise InputError(f"{maps.path}: the {name} maps of the training set are constant; nothing to learn from")
    return Normalisation(kind, mean, std, floor, {name: maps.units[name] for name in names})


def _moments(maps: MapFile, rows: IntArray, name: str, floor: float | None) -> tuple[float, float]:
    # shifted by the first block's mean: no cancellation however small the scatter is beside the mean
    count, total, squares, shift = 0, 0.0, 0.0, None
    for start in range(0, len(rows), MAPS_PER_BLOCK):
        block = maps.maps[name][rows[start : start + MAPS_PER_BLOCK]].astype(np.float64)
        if floor is not None:
            block = np.log10(block + floor)
        shift = block.mean() if shift is None else shift
        block -= shift
        count, total, squares = count + block.size, total + block.sum(), squares + np.square(block).sum()
    mean = total / count
    return float(mean + (shift or 0.0)), float(np.sqrt(max(squares / count - mean**2, 0.0)))
