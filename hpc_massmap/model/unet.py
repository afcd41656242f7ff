"""The U-Net of section 3.1 (eq. 5 and 6, figs. 3 and 4), for any number of views and targets.

One encoder over all views stacked as channels (`multi1`), or one per view with latents and skips concatenated
(`multi3`). Sizes follow eq. 5 and 6: level n of N has F 2^(n-1) filters on the way down, F 2^(n-2) (at least F) up.

The frame, `Encoder`, `Decoder` and `UNet`, is that of other networks too, which fill it with other `Blocks`.

On CPUs the decoder computes eq. 6 in another order, with the same parameters: see `on_upsampled`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hpc_massmap.config import Model

Change = Callable[[torch.Tensor], torch.Tensor]

SMALL = 8  # pixels a side of a coarse map below which summing the weights costs more than it saves


def convolution(channels: int, filters: int, kernel: int, dropout: float = 0.0) -> nn.Sequential:
    """C^F_KxK of the paper: K x K convolution, ReLU, BatchNorm; any K keeps the size of the map."""
    layers: list[nn.Module] = []
    if kernel % 2 == 0:
        layers.append(nn.ZeroPad2d(even_padding(kernel)))
    padding = kernel // 2 if kernel % 2 else 0
    layers += [nn.Conv2d(channels, filters, kernel, padding=padding), nn.ReLU(inplace=True), nn.BatchNorm2d(filters)]
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def even_padding(kernel: int) -> tuple[int, int, int, int]:
    """Left, right, top, bottom: an even kernel has no centre; the extra row and column go to the lower right."""
    return (kernel - 1) // 2, kernel // 2, (kernel - 1) // 2, kernel // 2


def on_upsampled(block: nn.Module, coarse: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
    """A `convolution` on coarse maps (n, c, s/2, s/2), upsampled by nearest neighbour, and skips (n, ..., s, s).

    On CPUs it is a sum of convolutions, so that nothing is copied to be stacked, and the coarse maps are convolved
    at their size. In bf16 each is rounded before it is added, where one convolution rounds once: against float64, the
    error of the predicted maps was 0 to 4 % larger, that of the gradient the same within 2 %.
    """
    layers = list(block.children())
    if coarse.device.type == "cpu":
        at = next(n for n, layer in enumerate(layers) if isinstance(layer, nn.Conv2d))
        maps = _convolved_apart(layers[at], coarse, skips)
        layers = layers[at + 1 :]
    else:
        maps = torch.cat([upsampled(coarse), *skips], dim=1)
    for layer in layers:
        maps = layer(maps)
    return maps


def _convolved_apart(conv: nn.Module, coarse: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
    assert isinstance(conv, nn.Conv2d)
    of_coarse, *of_skips = torch.split(conv.weight, [maps.shape[1] for maps in (coarse, *skips)], dim=1)
    if coarse.shape[2] < SMALL:
        convolved = same_convolved(upsampled(coarse), of_coarse, conv.bias)
    else:
        convolved = convolved_upsampled(coarse, of_coarse, conv.bias)
    for skip, weight in zip(skips, of_skips, strict=True):
        convolved = convolved + same_convolved(skip, weight)
    return convolved


def same_convolved(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The K x K convolution as `convolution` pads it: (n, c, s, s) to (n, F, s, s), by weights (F, c, K, K)."""
    kernel = weight.shape[2]
    if kernel % 2:
        return nn.functional.conv2d(maps, weight, bias, padding=kernel // 2)
    return nn.functional.conv2d(nn.functional.pad(maps, even_padding(kernel)), weight, bias)


def upsampled(maps: torch.Tensor) -> torch.Tensor:
    """Twice as many pixels a side, by nearest neighbour: (n, c, s, s) to (n, c, 2s, 2s)."""
    return nn.functional.interpolate(maps, scale_factor=2.0, mode="nearest")


def convolved_upsampled(coarse: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The K x K convolution of `upsampled(coarse)`, its four equal pixels met at once: 16 products for 36 if K = 3.

    (n, c, s, s) to (n, F, 2s, 2s), by weights (F, c, K, K).

    A pixel of the coarse map meets a pair of neighbouring weights in each direction, of which it needs the sum: it is
    a transposed convolution of stride 2 by the kernel of these sums, (K + 1) x (K + 1).
    """
    kernel = weight.shape[2]
    mirrored = weight.flip(2, 3).transpose(0, 1)
    sums = nn.functional.pad(mirrored, (1, 0)) + nn.functional.pad(mirrored, (0, 1))
    sums = nn.functional.pad(sums, (0, 0, 1, 0)) + nn.functional.pad(sums, (0, 0, 0, 1))
    return nn.functional.conv_transpose2d(
        coarse, sums, bias, stride=2, padding=kernel // 2, output_padding=1 - kernel % 2
    )


@dataclass(frozen=True)
class Blocks:
    """What a network in the frame of the U-Net has on each level: level 0 has 80 pixels a side, each next one half.

    Attributes
    ----------
    entry : of model, channels, width and dropout; a Sequential with one Conv2d, whose inputs are of any origin
    refined : of model, width, level and dropout; (n, width, s, s) to the same
    """

    entry: Callable[[Model, int, int, float], nn.Module]
    refined: Callable[[Model, int, int, float], nn.Module]


PAPER = Blocks(
    lambda model, channels, width, dropout: convolution(channels, width, model.kernel, dropout),
    lambda model, width, level, dropout: convolution(width, width, model.kernel, dropout),
)


def unchanged(maps: torch.Tensor) -> torch.Tensor:
    """Features of any shape as they are."""
    return maps


class Encoder(nn.Module):
    """Eq. 5: (n, channels, s, s) to the latent (n, F 2^(N-1), s/2^N, s/2^N) and the skips of levels 1 to N.

    The features of each level, and the latent, may be changed on their way: `changes`, N + 1 of them.
    """

    def __init__(self, model: Model, channels: int, parts: Blocks = PAPER) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for level in range(model.layers):
            width = model.filters * 2**level
            entry = parts.entry(model, channels, width, 0.0)
            self.blocks.append(nn.Sequential(entry, parts.refined(model, width, level, 0.0)))
            channels = width
        self.pool = nn.MaxPool2d(2)
        self.bottom = parts.refined(model, channels, model.layers, 0.0)

    def forward(
        self, maps: torch.Tensor, changes: Sequence[Change] | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        changes = changes or [unchanged] * (len(self.blocks) + 1)
        skips = []
        for block, change in zip(self.blocks, changes, strict=False):
            maps = change(block(maps))
            skips.append(maps)
            maps = self.pool(maps)
        return changes[-1](self.bottom(maps)), skips


class Decoder(nn.Module):
    """Eq. 6: latent and skips of `encoders` encoders to (n, targets, s, s).

    The features of each level may be changed on their way, those of the coarsest first: `changes`, N of them.
    """

    def __init__(self, model: Model, targets: int, encoders: int, parts: Blocks = PAPER) -> None:
        super().__init__()
        filters, layers, dropout = model.filters, model.layers, model.dropout
        self.blocks = nn.ModuleList()
        channels = encoders * filters * 2 ** (layers - 1)
        for level in range(layers, 0, -1):
            width, skip = filters * 2 ** max(level - 2, 0), encoders * filters * 2 ** (level - 1)
            entry = parts.entry(model, channels + skip, width, dropout)
            self.blocks.append(nn.Sequential(entry, parts.refined(model, width, level - 1, dropout)))
            channels = width
        self.head = nn.Sequential(parts.entry(model, channels, filters // 2, 0.0), nn.Conv2d(filters // 2, targets, 1))

    def forward(
        self, latent: torch.Tensor, skips: list[list[torch.Tensor]], changes: Sequence[Change] | None = None
    ) -> torch.Tensor:
        maps = latent
        changes = changes or [unchanged] * len(self.blocks)
        for block, of_level, change in zip(self.blocks, reversed(skips), changes, strict=True):
            first, second = block.children()
            maps = change(second(on_upsampled(first, maps, of_level)))
        predicted: torch.Tensor = self.head(maps)
        return predicted


class UNet(nn.Module):
    """Maps of the views, (n, views, 80, 80), to (n, targets x maps_per_target, 80, 80), all normalised."""

    def __init__(self, model: Model, maps_per_target: int = 1, parts: Blocks = PAPER) -> None:
        super().__init__()
        views, per_view = len(model.views), model.encoders == "per_view"
        self.per_view = per_view
        self.encoders = nn.ModuleList(
            Encoder(model, 1 if per_view else views, parts) for _ in range(views if per_view else 1)
        )
        self.decoder = Decoder(model, len(model.targets) * maps_per_target, len(self.encoders), parts)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        inputs = torch.split(views, 1, dim=1) if self.per_view else [views]
        encoded = [encoder(view) for encoder, view in zip(self.encoders, inputs, strict=True)]
        latent = torch.cat([latent for latent, _ in encoded], dim=1)
        skips = [list(level) for level in zip(*(skips for _, skips in encoded), strict=True)]
        predicted: torch.Tensor = self.decoder(latent, skips)
        return predicted
