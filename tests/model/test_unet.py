"""The architecture is the paper's: shapes, widths and parameter counts at every corner of table 3."""

from itertools import product

import pytest
import torch
from torch import nn

from hpc_massmap.config import Model
from hpc_massmap.model.unet import UNet, convolution, upsampled

CORNERS = [*product((8, 32), (1, 2, 6), (1, 4)), (9, 3, 2), (21, 5, 3)]
ENCODERS = ["one", "per_view"]


def count_by_formula(views: int, targets: int, encoders: int, filters: int, kernel: int, layers: int) -> int:
    """Sum over the convolutions of eq. 5 and 6, written as they stand in the paper."""

    def conv(channels: int, width: int) -> int:  # weights and biases, and BatchNorm's two numbers a filter
        return kernel * kernel * channels * width + width + 2 * width

    total = 0
    for _ in range(encoders):
        channels = views if encoders == 1 else 1
        for n in range(1, layers + 1):
            width = filters * 2 ** (n - 1)
            total += conv(channels, width) + conv(width, width)
            channels = width
        total += conv(channels, channels)
    channels = encoders * filters * 2 ** (layers - 1)
    for level in range(layers, 0, -1):
        width = filters if level == 1 else filters * 2 ** (level - 2)
        skip = encoders * filters * 2 ** (level - 1)
        total += conv(channels + skip, width) + conv(width, width)
        channels = width
    return total + conv(channels, filters // 2) + (filters // 2) * targets + targets


@pytest.mark.parametrize("encoders", ENCODERS)
@pytest.mark.parametrize(("filters", "kernel", "layers"), CORNERS)
def test_shape_and_parameters_at_the_corners(filters: int, kernel: int, layers: int, encoders: str) -> None:
    description = {"filters": filters, "kernel": kernel, "layers": layers, "encoders": encoders, "dropout": 0.5}
    network = UNet(Model.model_validate(description))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == count_by_formula(3, 1, 1 if encoders == "one" else 3, filters, kernel, layers)
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 80, 80)).shape == (1, 1, 80, 80)


@pytest.mark.parametrize("encoders", ENCODERS)
@pytest.mark.parametrize(("views", "targets"), [(1, 1), (2, 1), (4, 1), (1, 2)])
def test_any_number_of_views_and_targets(views: int, targets: int, encoders: str) -> None:
    names = [f"v{n}" for n in range(views)]
    description = {"views": names, "targets": [f"t{n}" for n in range(targets)], "encoders": encoders, "filters": 4}
    network = UNet(Model.model_validate(description))
    assert network(torch.randn(2, views, 80, 80)).shape == (2, targets, 80, 80)


def test_dropout_is_in_the_decoder_s_blocks_only() -> None:
    network = UNet(Model(filters=4, layers=2, dropout=0.3))
    where = [name for name, module in network.named_modules() if isinstance(module, nn.Dropout)]
    assert len(where) == 4
    assert all(name.startswith("decoder.blocks") for name in where)


def test_one_encoder_per_view_sees_its_view_alone() -> None:
    torch.manual_seed(0)
    network = UNet(Model(filters=8, layers=2)).eval()
    views = torch.randn(1, 3, 80, 80)
    changed = views.clone()
    changed[:, 1] += 1
    latents = [[encoder(x[:, n : n + 1])[0] for n, encoder in enumerate(network.encoders)] for x in (views, changed)]
    assert torch.equal(latents[0][0], latents[1][0])
    assert not torch.equal(latents[0][1], latents[1][1])
    assert not torch.equal(network(views), network(changed))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6])
def test_a_kernel_that_copies_its_middle_keeps_the_map(kernel: int) -> None:
    """'Same' padding: an impulse in the kernel's middle (left of it for even K) must not shift the map."""
    block = convolution(1, 1, kernel).eval()
    convolutions = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        convolutions[0].weight.zero_()
        convolutions[0].weight[0, 0, (kernel - 1) // 2, (kernel - 1) // 2] = 1
        assert convolutions[0].bias is not None
        convolutions[0].bias.zero_()
        maps = torch.rand(1, 1, 80, 80)
        torch.testing.assert_close(block(maps), maps / (1 + 1e-5) ** 0.5)


def test_upsampling_repeats_the_nearest_pixel() -> None:
    small = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert upsampled(small)[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
