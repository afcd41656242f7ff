"""What a point model is must not depend on there being others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hpc_massmap.config import Config
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.errors import InputError
from hpc_massmap.model.unet import UNet
from hpc_massmap.posterior.point import Point
from hpc_massmap.train.learner import Learner
from hpc_massmap.train.loop import settings_of
from hpc_massmap.train.ranks import Ranks

ONES = Normalisation("linear", {"mass": 1.0}, {"mass": 1.0}, {"mass": 0.0})


@pytest.fixture
def config() -> Config:
    return Config.model_validate(
        {
            "name": "small",
            "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}],
            "model": {"filters": 4, "layers": 2},
            "train": {"precision": "fp32"},
        }
    )


def test_its_steps_are_those_of_the_paper_s_recipe_to_the_bit(config: Config) -> None:
    torch.set_num_threads(1)
    views, true = torch.randn(4, 3, 80, 80), torch.randn(4, 1, 80, 80)
    learner = Learner(config, Ranks(), ONES)
    torch.manual_seed(config.seed)
    network = UNet(config.model)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        loss = nn.functional.l1_loss(network(views.contiguous(memory_format=torch.channels_last)), true)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        assert learner.step(Batch(views, true, 4, np.arange(4)), 1e-3) == loss
    for ours, plain in zip(learner.model.parameters(), network.parameters(), strict=True):
        assert torch.equal(ours, plain)


def test_its_identity_is_that_of_checkpoints_from_before_there_were_others(config: Config) -> None:
    before = {"views", "targets", "encoders", "filters", "kernel", "layers", "dropout"}
    assert settings_of(config)["model"].keys() == before
    assert settings_of(config.with_values("model", output="quantiles"))["model"].keys() == before | {"output"}


def test_it_says_no_more_than_a_map() -> None:
    point = Point(np.ones((2, 1, 80, 80)))
    assert point.mean().sum() == 12800
    with pytest.raises(InputError, match="without quantiles; train with quantiles or flow"):
        point.quantiles([0.5])
    with pytest.raises(InputError, match="without samples; train with flow"):
        point.samples(3, 0)
