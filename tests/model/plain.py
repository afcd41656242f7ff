"""Eq. 5 and 6 as they stand, on the layers of a UNet: the slow twin of its forward pass."""

import torch
from torch import nn

from hpc_massmap.model.unet import Encoder, UNet


class PlainUNet(UNet):
    """The same parameters under the same names; each map of the equations is computed at its size, each layer alone."""

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        inputs = torch.split(views, 1, dim=1) if self.per_view else [views]
        latents, skips = [], []
        for encoder, maps in zip(self.encoders, inputs, strict=True):
            assert isinstance(encoder, Encoder)
            of_encoder = []
            for block in encoder.blocks:
                maps = plain(block, maps)
                of_encoder.append(maps)
                maps = nn.functional.max_pool2d(maps, 2)
            latents.append(plain(encoder.bottom, maps))
            skips.append(of_encoder)
        maps = torch.cat(latents, dim=1)
        for block, level in zip(self.decoder.blocks, reversed(list(zip(*skips, strict=True))), strict=True):
            maps = nn.functional.interpolate(maps, scale_factor=2.0, mode="nearest")
            maps = plain(block, torch.cat([maps, *level], dim=1))
        return plain(self.decoder.head, maps)


def plain(module: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """The layers of a module one after the other, each as torch has it."""
    if not isinstance(module, nn.Sequential):
        result: torch.Tensor = module(maps)
        return result
    for layer in module:
        maps = plain(layer, maps)
    return maps
