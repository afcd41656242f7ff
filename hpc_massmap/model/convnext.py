"""ConvNeXt's blocks (Liu et al. 2022, arXiv 2201.03545) in the frame of the U-Net.

On each level a 1 x 1 convolution and a GELU bring all features to the width, and two blocks follow. There is no
BatchNorm, so nothing depends on the batch. `model.kernel` means nothing here: the blocks see 7 x 7 pixels.
"""

import torch
from torch import nn

from hpc_massmap.config import Model
from hpc_massmap.model.unet import Blocks

KERNEL = 7  # pixels of the depthwise convolution
WIDER = 4  # times as many features between the two layers of each pixel
BLOCKS = 2  # of a level, each way
AT_FIRST = 0.1  # what a block adds, times this: as in shallow networks (Touvron et al. 2021, arXiv 2103.17239)


class Block(nn.Module):
    """x + scale (two layers of each pixel) (LayerNorm of the features) (7 x 7, each feature alone) x."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.across = nn.Conv2d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width, WIDER * width), nn.GELU(), nn.Linear(WIDER * width, width))
        self.scale = nn.Parameter(torch.full((width,), AT_FIRST))
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        pixels = self.across(maps).permute(0, 2, 3, 1)
        added = self.dropout(self.layers(self.norm(pixels)) * self.scale)
        result: torch.Tensor = maps + added.permute(0, 3, 1, 2)
        return result


def entry(model: Model, channels: int, width: int, dropout: float) -> nn.Module:
    """(n, channels, s, s) to (n, width, s, s), each pixel alone; dropout is the blocks'."""
    mixed = nn.Conv2d(channels, width, 1)
    # nothing normalises between levels, so that maps keep their brightness; from torch's own start they fade to nothing
    nn.init.kaiming_normal_(mixed.weight, nonlinearity="relu")
    assert mixed.bias is not None
    nn.init.zeros_(mixed.bias)
    return nn.Sequential(mixed, nn.GELU())


def refined(model: Model, width: int, level: int, dropout: float) -> nn.Module:
    """The blocks of a level."""
    return nn.Sequential(*(Block(width, dropout) for _ in range(BLOCKS)))


CONVNEXT = Blocks(entry, refined)
