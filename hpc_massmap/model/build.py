"""The one place that chooses the network of a model."""

from dataclasses import dataclass

from torch import nn

from hpc_massmap.config import Model
from hpc_massmap.model.convnext import CONVNEXT
from hpc_massmap.model.timed import TimedUNet
from hpc_massmap.model.transformer import TRANSFORMER
from hpc_massmap.model.unet import PAPER, Blocks, UNet

NETWORKS: dict[str, Blocks] = {"unet": PAPER, "convnext": CONVNEXT, "transformer": TRANSFORMER}
"""By the value of `model.network`; what is registered here is trained, tuned, predicted and compared."""


@dataclass(frozen=True)
class Needs:
    """What is asked of a network besides the maps that go in and out.

    Attributes
    ----------
    maps_per_target : that it gives
    timed : whether it takes maps on their way from noise to a target, and their times, after the views
    """

    maps_per_target: int = 1
    timed: bool = False


def build_model(model: Model, needs: Needs) -> nn.Module:
    """An untrained network, all its maps normalised; weights from torch's seed.

    (n, views, 80, 80) to (n, targets x maps_per_target, 80, 80); a timed one as `TimedUNet`.
    """
    parts = NETWORKS[model.network]
    return TimedUNet(model, parts) if needs.timed else UNet(model, needs.maps_per_target, parts)
