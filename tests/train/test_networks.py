"""What every network of `model.network` must do, whatever is in it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hyperopt.pyll.stochastic import sample
from torch import nn

from hpc_massmap.config import Config, Model
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.model.build import NETWORKS, Needs, build_model
from hpc_massmap.model.cost import cost_of
from hpc_massmap.model.transformer import LARGEST, Attention, apart, from_windows, in_windows, positions
from hpc_massmap.posterior.kinds import network_of
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import BEST, LAST, Callbacks, fit
from hpc_massmap.train.ranks import CPU, Ranks
from hpc_massmap.train.trained import load_model
from hpc_massmap.tune.space import hyperopt_space

torch.set_num_threads(1)
OUTPUTS = ["point", "quantiles", "flow"]
every_network = pytest.mark.parametrize("network", NETWORKS)


def described(network: str, **values: object) -> Model:
    return Model.model_validate({"network": network, "filters": 4, "layers": 3, **values})


def config_of(config: Config, network: str, **values: object) -> Config:
    return config.with_values("model", network=network, **values)


@every_network
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_maps_keep_their_size_at_every_depth_and_width(network: str, layers: int) -> None:
    model = described(network, layers=layers, filters=3, targets=["mass", "gas"])
    with torch.no_grad():
        assert build_model(model, Needs(2)).eval()(torch.randn(1, 3, 80, 80)).shape == (1, 4, 80, 80)


@every_network
@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_reach_every_parameter(network: str, output: str) -> None:
    torch.manual_seed(0)
    trained = network_of(described(network, output=output))
    for scaling in [*getattr(trained, "down", []), *getattr(trained, "up", [])]:
        nn.init.normal_(scaling.of_time.weight)  # zero before the first step, which stops the gradient of the time
    inputs = [torch.randn(2, 3, 80, 80)]
    if output == "flow":
        inputs += [torch.randn(2, 1, 80, 80), torch.rand(2)]
    trained(*inputs).square().mean().backward()
    without = [name for name, weight in trained.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without


@every_network
def test_encoders_of_views_may_change_places_with_their_views(network: str) -> None:
    torch.manual_seed(0)
    model = build_model(described(network), Needs()).eval()
    views = torch.randn(1, 3, 80, 80)
    encoders = list(model.encoders)  # type: ignore[arg-type]
    alone = [encoder(views[:, n : n + 1])[0] for n, encoder in enumerate(encoders)]
    others = [encoder(views[:, 2 - n : 3 - n])[0] for n, encoder in enumerate(reversed(encoders))]
    assert all(torch.equal(one, other) for one, other in zip(alone, reversed(others), strict=True))
    assert not torch.equal(alone[0], encoders[1](views[:, :1])[0])


@every_network
@pytest.mark.parametrize("encoders", ["one", "per_view"])
def test_its_cost_is_the_sum_over_its_layers(network: str, encoders: str) -> None:
    """Two operations for each weight and pixel, and in windows for each pair of pixels and feature, twice."""
    model = described(network, encoders=encoders, layers=4)
    built = build_model(model, Needs())
    parameters, total = sum(weight.numel() for weight in built.parameters()), 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += 2 * output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += 2 * output.numel() * layer.in_features
        elif isinstance(layer, Attention):
            total += 4 * output.numel() * layer.window**2

    meta = build_model(model, Needs()).to("meta")
    for layer in meta.modules():
        layer.register_forward_hook(count)
    # the entry of a level in the decoder is called layer by layer off the CPU, so each has its hook called
    meta(torch.empty(1, 3, 80, 80, device="meta"))
    cost = cost_of(built, model)
    assert cost.parameters == parameters
    assert cost.flops == pytest.approx(total, rel=0.01)


def test_memory_is_what_the_gradient_needs() -> None:
    """Of a convolution its input, of ReLU in place its output, which is BatchNorm's input: counted by hand."""
    kept = cost_of(build_model(described("unet", encoders="one", layers=1), Needs()), described("unet")).kept
    full, half = 80 * 80 * 4 / 2**20, 40 * 40 * 4 / 2**20
    # views 3; down 4 + 4 and their BatchNorms 4 (the last is a skip, and pooled); bottom 4 of its input, 4, 4 at half
    least = full * (3 + 4 * 4) + half * 4 * 2
    assert least < kept < 3 * least


@every_network
@pytest.mark.parametrize("output", OUTPUTS)
def test_it_learns_and_resumes_to_the_bit(
    map_path: Path, config: Config, tmp_path: Path, network: str, output: str
) -> None:
    class Killed(Exception):
        pass

    def stop(epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == (1, 1):
            raise Killed

    maps = open_maps(map_path)
    own = config_of(config, network, output=output, filters=4, layers=2, dropout=0.1)
    own = own.with_values("train", epochs=2, ema=0.9, learning_rate=2e-3)
    rows = split_maps(maps, own.split)
    history = fit(maps, rows, own, Ranks(), tmp_path / "a").history
    assert history[1].train_loss < history[0].train_loss
    with pytest.raises(Killed):
        fit(maps, rows, own, Ranks(), tmp_path / "b", Callbacks(on_step=stop))
    fit(maps, rows, own, Ranks(), tmp_path / "b")
    for name in (LAST, BEST):
        ours, resumed = (load_checkpoint(tmp_path / folder / name)["model"] for folder in "ab")
        assert all(torch.equal(ours[key], resumed[key]) for key in ours)
    assert load_model(tmp_path / "b").description.network == network


def test_the_paper_s_network_is_not_named_in_what_was_kept_before() -> None:
    assert "network" not in Model().model_dump(mode="json")
    assert Model.model_validate({"network": "convnext"}).model_dump(mode="json")["network"] == "convnext"


def test_a_kernel_that_means_nothing_is_not_searched(config: Config) -> None:
    rng = np.random.default_rng(0)

    def kernels(network: str) -> set[int]:
        space = hyperopt_space(config_of(config, network, kernel=3).space)
        return {sample(space, rng=rng)["kernel"] for _ in range(30)}

    assert kernels("convnext") == {3}
    assert len(kernels("transformer")) > 1


def attention_by_loop(layer: Attention, pixels: torch.Tensor) -> torch.Tensor:
    """Each pixel asks each of its window, one by one: (side, side, width) to the same."""
    side, _, width = pixels.shape
    per_head, answer = width // layer.heads, torch.zeros_like(pixels)
    asked = layer.asked(pixels).reshape(side, side, 3, layer.heads, per_head)
    window, shift = layer.window, layer.shift
    place = [(at - shift) // window for at in range(side)]  # windows moved by `shift`, cut off at the edges
    for i, j in np.ndindex(side, side):
        near = [(k, m) for k, m in np.ndindex(side, side) if (place[k], place[m]) == (place[i], place[j])]
        for head in range(layer.heads):
            scores = []
            for k, m in near:
                number = (i - k + window - 1) * (2 * window - 1) + j - m + window - 1
                product = asked[i, j, 0, head] @ asked[k, m, 1, head] / per_head**0.5
                scores.append(product + layer.by_position[head, number])
            weights = torch.softmax(torch.stack(scores), 0)
            values = torch.stack([asked[k, m, 2, head] for k, m in near])
            answer[i, j, head * per_head : (head + 1) * per_head] = weights @ values
    result: torch.Tensor = layer.said(answer)
    return result


@pytest.mark.parametrize("moved", [False, True])
def test_attention_is_that_of_each_window_alone(moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_massmap.model.transformer.WINDOW", 4)
    torch.manual_seed(0)
    layer, pixels = Attention(8, 8, moved), torch.randn(2, 8, 8, 8)
    nn.init.normal_(layer.by_position)
    assert layer.shift == (2 if moved else 0)
    with torch.no_grad():
        said = layer(pixels)
        for n in range(2):
            torch.testing.assert_close(said[n], attention_by_loop(layer, pixels[n]), atol=1e-5, rtol=1e-4)


def test_windows_are_cut_and_put_together() -> None:
    pixels = torch.rand(2, LARGEST, LARGEST, 3)
    windows = in_windows(pixels, 10)
    assert windows.shape == (2, 4, 100, 3)
    assert torch.equal(windows[0, 1].reshape(10, 10, 3), pixels[0, :10, 10:])
    assert torch.equal(from_windows(windows, LARGEST), pixels)
    assert len(set(positions(10, CPU).flatten().tolist())) == 19**2
    assert (apart(20, 10, 5, CPU)[0] == 0).all()
