"""The U-Net with windowed attention on its lower levels (Swin: Liu et al. 2021, arXiv 2103.14030).

Levels of at most 20 pixels a side, and the bottom, have two blocks of attention where the U-Net has its second
convolution: within windows of 10 pixels a side, then within windows moved by half of one. All else is the U-Net's.
"""

import math

import torch
from torch import nn

from hpc_massmap.arrays import PIXELS
from hpc_massmap.config import Model
from hpc_massmap.model.unet import PAPER, Blocks

LARGEST = 20  # pixels a side of a map, above which attention costs more than it sees
WINDOW = 10  # pixels a side
HEADS = 4  # or fewer, if they do not divide the width
WIDER = 4  # times as many features between the two layers of each pixel


class Attention(nn.Module):
    """Each pixel asks those of its window; how much depends on where they are, too (Swin's relative positions)."""

    def __init__(self, width: int, side: int, moved: bool) -> None:
        super().__init__()
        self.window = min(WINDOW, side)
        self.shift = self.window // 2 if moved and side > self.window else 0
        self.heads = math.gcd(width, HEADS)
        self.asked = nn.Linear(width, 3 * width)
        self.said = nn.Linear(width, width)
        self.by_position = nn.Parameter(torch.zeros(self.heads, (2 * self.window - 1) ** 2))
        nn.init.trunc_normal_(self.by_position, std=0.02)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, side, side, width) to the same."""
        n, side, _, width = pixels.shape
        if self.shift:
            pixels = pixels.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = in_windows(pixels, self.window)  # (n, windows, pixels, width)
        split = self.asked(windows).reshape(*windows.shape[:3], 3, self.heads, width // self.heads)
        query, key, value = split.permute(3, 0, 1, 4, 2, 5)  # each (n, windows, heads, pixels, width / heads)
        # not buffers, of which an average of the weights would make averages
        bias = self.by_position[:, positions(self.window, pixels.device)]  # (heads, pixels, pixels)
        bias = (bias + apart(side, self.window, self.shift, pixels.device)[:, None]).to(query.dtype)
        answer = nn.functional.scaled_dot_product_attention(
            query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), bias.repeat(n, 1, 1, 1)
        )
        said = self.said(answer.transpose(1, 2).flatten(2))
        whole = from_windows(said.reshape(n, -1, self.window**2, width), side)
        return whole.roll((self.shift, self.shift), dims=(1, 2)) if self.shift else whole


def positions(window: int, device: torch.device) -> torch.Tensor:
    """Number of the offset between each two pixels of a window: (window^2, window^2)."""
    pixel = torch.arange(window**2, device=device)
    row, column = pixel // window, pixel % window
    down, right = (at[:, None] - at[None, :] + window - 1 for at in (row, column))
    return down * (2 * window - 1) + right


def apart(side: int, window: int, shift: int, device: torch.device) -> torch.Tensor:
    """0 for pixels that may ask each other, else -inf, by window: (windows, window^2, window^2).

    A map that was rolled by `shift` has its far edges side by side.
    """
    strip = torch.zeros(side, device=device)
    if shift:
        strip[-window:-shift], strip[-shift:] = 1, 2
    part = in_windows((3 * strip[:, None] + strip[None, :])[None, :, :, None], window)[0, :, :, 0]
    return torch.zeros(1, device=device).where(part[:, :, None] == part[:, None, :], -torch.inf)


def in_windows(pixels: torch.Tensor, window: int) -> torch.Tensor:
    """(n, side, side, width) to (n, windows, window^2, width)."""
    many = pixels.shape[1] // window
    n, _, _, width = pixels.shape
    cut = pixels.reshape(n, many, window, many, window, width).transpose(2, 3)
    return cut.reshape(n, many**2, window**2, width)


def from_windows(windows: torch.Tensor, side: int) -> torch.Tensor:
    """What `in_windows` has cut, put together: (n, windows, window^2, width) to (n, side, side, width)."""
    n, _, pixels, width = windows.shape
    window = math.isqrt(pixels)
    many = side // window
    cut = windows.reshape(n, many, many, window, window, width).transpose(2, 3)
    return cut.reshape(n, side, side, width)


class Block(nn.Module):
    """x plus attention, plus two layers of each pixel, each of the LayerNorm of what it is added to."""

    def __init__(self, width: int, side: int, moved: bool, dropout: float) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, side, moved), nn.Dropout(dropout))
        self.layers = nn.Sequential(
            *(nn.LayerNorm(width), nn.Linear(width, WIDER * width), nn.GELU()),
            *(nn.Linear(WIDER * width, width), nn.Dropout(dropout)),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        pixels = maps.permute(0, 2, 3, 1)
        pixels = pixels + self.attention(pixels)
        pixels = pixels + self.layers(pixels)
        result: torch.Tensor = pixels.permute(0, 3, 1, 2)
        return result


def refined(model: Model, width: int, level: int, dropout: float) -> nn.Module:
    """Attention on the lower levels and at the bottom, the U-Net's convolution on the others."""
    side = PIXELS // 2**level
    if side > LARGEST and level < model.layers:
        return PAPER.refined(model, width, level, dropout)
    return nn.Sequential(*(Block(width, side, moved, dropout) for moved in (False, True)))


TRANSFORMER = Blocks(PAPER.entry, refined)
