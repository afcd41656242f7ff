"""The U-Net of section 3.1 (eq. 5 and 6, figs. 3 and 4), for any number of views and targets.

One encoder over all views stacked as channels (`multi1`), or one per view with latents and skips concatenated
(`multi3`). Sizes follow eq. 5 and 6: level n of N has F 2^(n-1) filters on the way down, F 2^(n-2) (at least F) up.
"""

import torch
from torch import nn

from hpc_massmap.config import Model


def convolution(channels: int, filters: int, kernel: int, dropout: float = 0.0) -> nn.Sequential:
    """C^F_KxK of the paper: K x K convolution, ReLU, BatchNorm; any K keeps the size of the map."""
    layers: list[nn.Module] = []
    if kernel % 2 == 0:  # an even kernel has no centre: the extra row and column go to the lower right
        layers.append(nn.ZeroPad2d(((kernel - 1) // 2, kernel // 2) * 2))
    padding = kernel // 2 if kernel % 2 else 0
    layers += [nn.Conv2d(channels, filters, kernel, padding=padding), nn.ReLU(inplace=True), nn.BatchNorm2d(filters)]
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """Eq. 5: (n, channels, s, s) to the latent (n, F 2^(N-1), s/2^N, s/2^N) and the skips of levels 1 to N."""

    def __init__(self, channels: int, filters: int, kernel: int, layers: int) -> None:
        super().__init__()
        widths = [filters * 2**n for n in range(layers)]
        self.blocks = nn.ModuleList()
        for width in widths:
            self.blocks.append(nn.Sequential(convolution(channels, width, kernel), convolution(width, width, kernel)))
            channels = width
        self.pool = nn.MaxPool2d(2)
        self.bottom = convolution(channels, channels, kernel)

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        skips = []
        for block in self.blocks:
            maps = block(maps)
            skips.append(maps)
            maps = self.pool(maps)
        return self.bottom(maps), skips


class Decoder(nn.Module):
    """Eq. 6: latent and skips of `encoders` encoders to (n, targets, s, s)."""

    def __init__(self, targets: int, encoders: int, filters: int, kernel: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.blocks = nn.ModuleList()
        channels = encoders * filters * 2 ** (layers - 1)
        for level in range(layers, 0, -1):
            width, skip = filters * 2 ** max(level - 2, 0), encoders * filters * 2 ** (level - 1)
            self.blocks.append(
                nn.Sequential(
                    convolution(channels + skip, width, kernel, dropout), convolution(width, width, kernel, dropout)
                )
            )
            channels = width
        self.head = nn.Sequential(convolution(channels, filters // 2, kernel), nn.Conv2d(filters // 2, targets, 1))

    def forward(self, latent: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        maps = latent
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            maps = block(torch.cat([self.up(maps), skip], dim=1))
        predicted: torch.Tensor = self.head(maps)
        return predicted


class UNet(nn.Module):
    """Maps of the views, (n, views, 80, 80), to maps of the targets, (n, targets, 80, 80), all normalised."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        views, per_view = len(model.views), model.encoders == "per_view"
        self.per_view = per_view
        self.encoders = nn.ModuleList(
            Encoder(1 if per_view else views, model.filters, model.kernel, model.layers)
            for _ in range(views if per_view else 1)
        )
        self.decoder = Decoder(
            len(model.targets), len(self.encoders), model.filters, model.kernel, model.layers, model.dropout
        )

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        inputs = torch.split(views, 1, dim=1) if self.per_view else [views]
        encoded = [encoder(view) for encoder, view in zip(self.encoders, inputs, strict=True)]
        latent = torch.cat([latent for latent, _ in encoded], dim=1)
        skips = [torch.cat(level, dim=1) for level in zip(*(skips for _, skips in encoded), strict=True)]
        predicted: torch.Tensor = self.decoder(latent, skips)
        return predicted
