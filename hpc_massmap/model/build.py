"""The one place that chooses the network of a model."""

from torch import nn

from hpc_massmap.config import Model
from hpc_massmap.model.unet import UNet


def build_model(model: Model) -> nn.Module:
    """An untrained network: (n, views, 80, 80) to (n, targets, 80, 80), both normalised; weights from torch's seed."""
    return UNet(model)
