"""The U-Net of maps on their way from noise to a target: that of unet.py with one encoder more, and a time.

The views are encoded as there; the maps on their way (one for each target) have an encoder of their own, and its
features, and those of the decoder, are scaled and shifted by the time. So the views of a cluster are encoded once,
however many samples of it are drawn.
"""

import math
from functools import partial

import torch
from torch import nn

from hpc_massmap.config import Model
from hpc_massmap.model.unet import PAPER, Blocks, Decoder, Encoder, UNet

WIDTH = 64  # of the embedding of a time
LONGEST = 1e3  # of its periods over the shortest

Encoded = tuple[torch.Tensor, list[list[torch.Tensor]]]  # latents, and skips by level


class Embedding(nn.Module):
    """Times in [0, 1], (n,), as the sines and cosines of Vaswani et al. (2017) after two layers: (n, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU())
        shares = torch.arange(WIDTH // 2) / (WIDTH // 2 - 1)
        self.register_buffer("frequencies", 2 * math.pi * 50 * LONGEST**-shares, persistent=False)

    def forward(self, times: torch.Tensor) -> torch.Tensor:
        angles = times[:, None] * self.get_buffer("frequencies")
        embedded: torch.Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return embedded


class Scaling(nn.Module):
    """Each feature times 1 + a, plus b, both of the time (Perez et al. 2018): as it is before the first step."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.of_time = nn.Linear(WIDTH, 2 * features)
        nn.init.zeros_(self.of_time.weight)
        nn.init.zeros_(self.of_time.bias)

    def forward(self, maps: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        scale, shift = self.of_time(embedded)[:, :, None, None].chunk(2, dim=1)
        scaled: torch.Tensor = maps * (1 + scale) + shift
        return scaled


class TimedUNet(nn.Module):
    """Velocities of maps on their way, (n, targets, 80, 80), of the views, these maps and their times in [0, 1]."""

    def __init__(self, model: Model, parts: Blocks = PAPER) -> None:
        super().__init__()
        unet = UNet(model, parts=parts)
        self.per_view, self.encoders = unet.per_view, unet.encoders
        targets = len(model.targets)
        self.on_way = Encoder(model, targets, parts)
        self.decoder = Decoder(model, targets, len(self.encoders) + 1, parts)
        self.embedding = Embedding()
        down = [model.filters * 2**level for level in range(model.layers)]
        up = [model.filters * 2 ** max(level - 2, 0) for level in range(model.layers, 0, -1)]
        self.down = nn.ModuleList(Scaling(features) for features in (*down, down[-1]))
        self.up = nn.ModuleList(Scaling(features) for features in up)

    def forward(self, views: torch.Tensor, maps: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        return self.velocity(self.encoded(views), maps, times)

    def encoded(self, views: torch.Tensor) -> Encoded:
        """What there is to know of the views, (n, views, 80, 80), at all times."""
        inputs = torch.split(views, 1, dim=1) if self.per_view else [views]
        encoded = [encoder(view) for encoder, view in zip(self.encoders, inputs, strict=True)]
        latent = torch.cat([latent for latent, _ in encoded], dim=1)
        return latent, [list(level) for level in zip(*(skips for _, skips in encoded), strict=True)]

    def velocity(self, encoded: Encoded, maps: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """As `forward`, (n, targets, 80, 80), of views that are encoded."""
        embedded = self.embedding(times)
        own_latent, own_skips = self.on_way(maps, [partial(scaling, embedded=embedded) for scaling in self.down])
        latent = torch.cat([encoded[0], own_latent], dim=1)
        skips = [[*of_views, own] for of_views, own in zip(encoded[1], own_skips, strict=True)]
        changes = [partial(scaling, embedded=embedded) for scaling in self.up]
        velocity: torch.Tensor = self.decoder(latent, skips, changes)
        return velocity
