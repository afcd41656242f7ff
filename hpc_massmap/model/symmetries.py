"""What a network says, averaged over the symmetries of the square: a cluster turned or mirrored is as likely a one."""

import numpy as np
import torch
from torch import nn

from hpc_massmap.dataset.batches import SYMMETRIES, turned


class OverSymmetries(nn.Module):
    """A network that is asked of a map in all eight ways; its answers are turned back and averaged.

    What it says of a map turned is then what it says of the map, turned, which the network itself knows only about.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, maps: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        """Maps (n, c, 80, 80) to (n, c', 80, 80); the others are of no direction, and given as they are."""
        total: torch.Tensor = self.network(maps, *others).float()
        for way in range(1, SYMMETRIES):
            said = self.network(turned(maps, np.full(len(maps), way)), *others).float()
            total = total + turned(said, np.full(len(maps), inverse(way)))
        return total / SYMMETRIES


def inverse(way: int) -> int:
    """Which of the symmetries takes back another: a mirror image turned is a mirror image in another line."""
    return -way % 4 if way < 4 else way
