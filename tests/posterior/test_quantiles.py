"""Quantiles that never cross, at the levels they are called by, and a mean that is one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from hpc_massmap.config import Config, Model
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.posterior.kinds import KINDS
from hpc_massmap.posterior.quantiles import Quantiles, ordered, pinball, split

LEVELS = [0.05, 0.16, 0.5, 0.84, 0.95]
MODEL = Model(views=["sz"], output="quantiles")


def config_of(model: Model) -> Config:
    simulation = {"name": "s", "folder": Path("f"), "snapshots": [1]}
    return Config.model_validate({"name": "small", "simulations": [simulation], "model": model.model_dump()})


@pytest.mark.parametrize("k", [2, 3, 5, 6])
def test_no_numbers_make_them_cross(k: int) -> None:
    raw = 10 * torch.randn(50, 2, k, 3, 3)
    found = ordered(raw)
    assert found.shape == raw.shape
    assert bool((found.diff(dim=2) >= 0).all())
    assert torch.equal(found[:, :, k // 2], raw[:, :, k // 2])


def test_the_pinball_loss_is_its_definition() -> None:
    quantiles, true = torch.randn(2, 1, 5, 4, 4).double(), torch.randn(2, 1, 4, 4).double()
    total = 0.0
    for n, k, i, j in np.ndindex(2, 5, 4, 4):
        error = float(true[n, 0, i, j] - quantiles[n, 0, k, i, j])
        total += LEVELS[k] * error if error > 0 else (LEVELS[k] - 1) * error
    assert float(pinball(quantiles, true, LEVELS)) == pytest.approx(total / (2 * 5 * 16), rel=1e-6)


class Affine(nn.Module):
    """Channels that are each a line of the only view."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.line = nn.Conv2d(1, channels, 1)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.line(views)
        return answer


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_trained_on_a_known_distribution_levels_and_mean_are_right(kind: str) -> None:
    """Normalised pixels are normal about twice their view; their physical mean, in the log, is in closed form."""
    torch.manual_seed(0)
    std = 0.3  # of the log's normalisation: the mean lies well above the median
    normalisation = Normalisation(kind, {"mass": 0.0}, {"mass": std}, {"mass": 0.0})
    network = Affine(6)
    loss = KINDS["quantiles"].loss(config_of(MODEL), normalisation)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    scatter = 0.7
    for step in range(600):
        if step == 450:
            optimiser.param_groups[0]["lr"] = 0.002
        views = torch.randn(4, 1, 40, 40)
        true = 2 * views + scatter * torch.randn(4, 1, 40, 40)
        optimiser.zero_grad()
        loss(network, Batch(views, true, 4, np.arange(4))).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        means, quantiles = split(network(torch.zeros(1, 1, 1, 1)), MODEL)
    expected = scatter * norm.ppf(LEVELS)
    np.testing.assert_allclose(quantiles.flatten().numpy(), expected, atol=0.06)
    # log-normal: the mean is the median times exp(s^2 / 2), s in natural logarithms
    natural = scatter * std * np.log(10)
    of_log = natural**2 / 2 / np.log(10) / std
    assert float(means) == pytest.approx(of_log if kind == "log" else 0.0, abs=0.05)
    assert abs(of_log - expected[2]) > 0.15


def test_between_its_levels_it_is_linear_in_normal_deviates() -> None:
    shape = (2, 1, 3, 3)
    values = np.stack([np.full(shape, norm.ppf(level), np.float32) for level in LEVELS])
    said = Quantiles(np.zeros(shape), LEVELS, values)
    assert np.array_equal(said.quantiles(LEVELS), values)
    asked = [0.01, 0.3, 0.7, 0.99]
    np.testing.assert_allclose(said.quantiles(asked)[:, 0, 0, 0, 0], norm.ppf(asked), rtol=1e-5)
