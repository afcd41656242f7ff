"""A network of one's own is chosen in one place and then trained, rehearsed, estimated and loaded."""

from pathlib import Path

import pytest
import torch
from torch import nn

from hpc_massmap.config import Config, Model
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.model import build
from hpc_massmap.model.unet import Blocks
from hpc_massmap.pipeline.estimate import measure
from hpc_massmap.train.loop import fit
from hpc_massmap.train.memory import OutOfMemory, within_memory
from hpc_massmap.train.ranks import CPU, Ranks
from hpc_massmap.train.trained import load_model


class Pointwise(nn.Module):
    """Each pixel of the targets from the same one of the views."""

    def __init__(self, model: Model, maps_per_target: int, parts: Blocks) -> None:
        super().__init__()
        self.mix = nn.Conv2d(len(model.views), len(model.targets) * maps_per_target, 1)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.mix(views)
        return mixed


def test_another_network_is_taken_everywhere(
    map_path: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "UNet", Pointwise)
    maps = open_maps(map_path)
    config = config.with_values("train", epochs=2, ema=0.9)
    history = fit(maps, split_maps(maps, config.split), config, Ranks(), tmp_path).history
    assert history[1].train_loss < history[0].train_loss
    assert isinstance(load_model(tmp_path).network, Pointwise)
    assert measure(config, CPU).weights == 4  # three views and a bias

    def too_much() -> None:
        raise MemoryError

    with pytest.raises(OutOfMemory, match="; 4 fit"):
        within_memory(config, Ranks(), too_much)
