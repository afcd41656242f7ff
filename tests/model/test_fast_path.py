"""What the network computes is eq. 5 and 6, however it computes them: against its plain twin, and in bf16."""

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from hpc_massmap.config import Config, Model
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.model.unet import UNet
from hpc_massmap.train import precision
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.trainer import Trainer
from tests.model.plain import PlainUNet
from tests.synthetic import write_synthetic_maps

DESCRIPTIONS = [*product((1, 2, 3, 4, 5, 6), (1, 4)), (3, 2), (3, 3)]  # table 3's K and N
VIEWS = 3


def both(dtype: torch.dtype, **description: object) -> tuple[UNet, PlainUNet]:
    """The network and its twin, with the same weights."""
    torch.manual_seed(1)
    model = Model.model_validate({"filters": 4, **description})
    ours, plain = UNet(model).to(dtype), PlainUNet(model).to(dtype)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize(("kernel", "layers"), DESCRIPTIONS)
@pytest.mark.parametrize("encoders", ["one", "per_view"])
def test_maps_gradients_and_statistics_are_those_of_the_plain_network(kernel: int, layers: int, encoders: str) -> None:
    ours, plain = both(torch.float64, kernel=kernel, layers=layers, encoders=encoders)
    for parameter, same in zip(ours.parameters(), plain.parameters(), strict=True):
        same.data = nn.init.normal_(parameter, std=0.3).detach().clone()  # BatchNorm's too, some negative
    views = torch.randn(3, VIEWS, 32, 32, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(3, 1, 32, 32, dtype=torch.float64)
    results = []
    for network in (ours, plain):
        predicted = network(views)
        gradients = torch.autograd.grad(predicted, [views, *network.parameters()], direction)
        results.append([predicted, *gradients, *network.buffers(), network.eval()(views)])
    largest = max(float(gradient.abs().max()) for gradient in gradients)  # some are sums that cancel to nothing
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11 * largest)


@pytest.mark.parametrize("encoders", ["one", "per_view"])
def test_the_parts_of_a_sum_rounded_to_bf16_cost_little(encoders: str) -> None:
    """Against float64, the error of the maps and of the gradient is that of the plain network in bf16 and a tenth."""
    ours, plain = both(torch.float32, filters=8, encoders=encoders)
    exact = both(torch.float64, filters=8, encoders=encoders)[1]
    views, direction = torch.randn(2, VIEWS, 48, 48), torch.randn(2, 1, 48, 48)
    results = []
    for network, dtype in ((ours, torch.float32), (plain, torch.float32), (exact, torch.float64)):
        with torch.autocast("cpu", torch.bfloat16, enabled=network is not exact):
            predicted = network(views.to(dtype))
        gradients = torch.autograd.grad(predicted, [*network.parameters()], direction.to(predicted.dtype))
        results.append([predicted.double(), torch.cat([gradient.double().flatten() for gradient in gradients])])
    for of_ours, of_plain, of_exact in zip(*results, strict=True):
        assert (of_ours - of_exact).norm() < 1.1 * (of_plain - of_exact).norm()


def losses(path: Path, precision: str, *, plain: bool = False) -> torch.Tensor:
    """Training and validation losses of the first epochs, (epochs, 2)."""
    values = {
        "name": "first_epochs",
        "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}],
        "model": {"filters": 4, "layers": 2},
        "train": {"batch_size": 4, "learning_rate": 1e-3, "precision": precision},
    }
    config = Config.model_validate(values)
    maps = open_maps(path)
    rows = split_maps(maps, config.split)
    names = [*config.model.views, *config.model.targets]
    trainer = Trainer(maps, rows, config, Ranks(), fit_normalisation(maps, rows.train, names, "linear"))
    if plain:
        trainer.learner.model.__class__ = PlainUNet
        trainer.learner.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    epochs = [trainer.epoch(epoch, lambda *_: None) for epoch in range(3)]
    return torch.tensor([(epoch.train_loss, epoch.validation_loss) for epoch in epochs])


def test_losses_of_the_first_epochs_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: True)  # where it is emulated, too
    path = tmp_path / "maps.h5"
    write_synthetic_maps(path, regions=20, snapshots=1, projections=1)
    plain = losses(path, "fp32", plain=True)
    assert plain[-1, 0] < 0.9 * plain[0, 0]  # it does learn
    torch.testing.assert_close(losses(path, "fp32"), plain, rtol=1e-3, atol=0)
    torch.testing.assert_close(losses(path, "bf16"), plain, rtol=0.03, atol=0)


@pytest.mark.parametrize("encoders", ["one", "per_view"])
def test_nothing_waits_for_a_value(encoders: str) -> None:
    """On the device without values, where asking for one raises: a GPU's queue is never drained to go on."""
    network = UNet(Model.model_validate({"filters": 4, "encoders": encoders, "dropout": 0.2})).to("meta")
    predicted = network(torch.empty(2, VIEWS, 80, 80, device="meta"))
    torch.autograd.backward(predicted.mean())
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("encoders", "kernel"), [("one", 3), ("per_view", 3), ("per_view", 2)])
def test_maps_stay_in_channels_last_order(encoders: str, kernel: int) -> None:
    network = UNet(Model.model_validate({"filters": 4, "encoders": encoders, "kernel": kernel}))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    orders = []

    def note(_module: nn.Module, _maps: object, result: torch.Tensor) -> None:
        orders.append(result.is_contiguous(memory_format=torch.channels_last))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d):
            module.register_forward_hook(note)
    network(torch.randn(2, VIEWS, 80, 80).to(memory_format=torch.channels_last))
    assert orders
    assert all(orders)
