"""What every network of `model.network` must do, whatever is in it."""

from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hyperopt.pyll.stochastic import sample
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hpc_massmap.config import Config, Model, Network, load_config
from hpc_massmap.config.network import LACKS
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.jobs.paper import main as paper
from hpc_massmap.jobs.predict import main as predict
from hpc_massmap.metrics.predictions import read_predictions
from hpc_massmap.model.build import NETWORKS, Needs, build_model
from hpc_massmap.model.cost import cost_of
from hpc_massmap.model.transformer import LARGEST, Attention, apart, from_windows, in_windows, positions
from hpc_massmap.model.unet import Encoder
from hpc_massmap.pipeline.estimate import estimate
from hpc_massmap.pipeline.stages import write_configs
from hpc_massmap.posterior.kinds import network_of
from hpc_massmap.run import Run
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import BEST, LAST, Callbacks, fit
from hpc_massmap.train.ranks import CPU, Ranks
from hpc_massmap.train.trained import load_model
from hpc_massmap.tune.best import with_best, write_best
from hpc_massmap.tune.space import hyperopt_space
from hpc_massmap.yamlfile import dump_yaml
from tests.patience import within
from tests.synthetic import write_synthetic_maps
from tests.train.test_ranks import IN_DOUBLE, start, train_on
from tests.trained_run import write_model
from tests.tune.made_up import trial

torch.set_num_threads(1)
OUTPUTS = ["point", "quantiles", "flow"]
VIEWS = ["star", "sz", "xray"]
every_network = pytest.mark.parametrize("network", NETWORKS)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six maps that train, two that validate and two that test."""
    path = tmp_path_factory.mktemp("few") / "maps.h5"
    write_synthetic_maps(path, regions=10, snapshots=1, projections=1)
    return path


def described(network: str, **values: object) -> Model:
    return Model.model_validate({"network": network, "filters": 4, "layers": 3, **values})


def config_of(config: Config, network: str, **values: object) -> Config:
    tiny = {"filters": 4, "layers": 2, **values}
    return config.with_values("model", network=network, **tiny).with_values("train", batch_size=3, epochs=2)


@every_network
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_maps_keep_their_size_at_every_depth_and_width(network: str, layers: int) -> None:
    model = described(network, layers=layers, filters=3, targets=["mass", "gas"])
    with torch.no_grad():
        assert build_model(model, Needs(2)).eval()(torch.randn(1, 3, 80, 80)).shape == (1, 4, 80, 80)


@every_network
@pytest.mark.parametrize("encoders", ["one", "per_view"])
def test_any_views_give_maps_and_finite_gradients(network: str, encoders: str) -> None:
    for count in (1, 2, 3):
        for views in combinations(VIEWS, count):
            trained = build_model(described(network, views=list(views), encoders=encoders, layers=2), Needs())
            maps = trained(torch.randn(1, count, 80, 80))
            assert maps.shape == (1, 1, 80, 80)
            maps.square().mean().backward()
            gradients = [weight.grad for weight in trained.parameters() if weight.grad is not None]
            assert len(gradients) == len(list(trained.parameters()))
            assert all(torch.isfinite(values).all() for values in (maps, *gradients))


@every_network
def test_what_a_map_says_does_not_fade_on_the_way_down(network: str) -> None:
    """At first: from maps of scatter 1, features of a scatter of that order at every depth, or nothing is learnt."""
    torch.manual_seed(0)
    for layers in (1, 2, 3, 4):
        encoder = Encoder(described(network, filters=8, layers=layers), 1, NETWORKS[network])
        with torch.no_grad():
            latent, skips = encoder(torch.randn(4, 1, 80, 80))
        assert all(0.1 < maps.std((0, 2, 3)).mean() < 10 for maps in (latent, *skips))


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
    model = described(network, encoders=encoders, layers=3)
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


def test_the_documented_costs_are_those_of_the_code() -> None:
    table = Path("docs/networks.md").read_text()
    for network in NETWORKS:
        model = described(network, filters=16, layers=4, dropout=0.1)
        with torch.device("meta"):
            cost = cost_of(build_model(model, Needs()), model)
        assert f"| `{network}` | {cost.parameters:,} | {cost.flops / 1e9:.2f} | {cost.kept:.0f} |" in table


@pytest.mark.parametrize(("network", "output"), [*((network, "point") for network in NETWORKS), ("convnext", "flow")])
def test_it_resumes_and_is_loaded_to_the_bit(
    few: Path, config: Config, tmp_path: Path, network: str, output: str
) -> None:
    class Killed(Exception):
        pass

    def stop(epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == (1, 1):
            raise Killed

    maps = open_maps(few)
    own = config_of(config, network, output=output, dropout=0.1).with_values("train", ema=0.9, learning_rate=2e-3)
    rows = split_maps(maps, own.split)
    history = fit(maps, rows, own, Ranks(), tmp_path / "a").history
    assert output == "flow" or history[1].train_loss < history[0].train_loss
    with pytest.raises(Killed):
        fit(maps, rows, own, Ranks(), tmp_path / "b", Callbacks(on_step=stop))
    fit(maps, rows, own, Ranks(), tmp_path / "b")
    for name in (LAST, BEST):
        ours, resumed = (load_checkpoint(tmp_path / folder / name)["model"] for folder in "ab")
        assert all(torch.equal(ours[key], resumed[key]) for key in ours)
    model = load_model(tmp_path / "b")
    assert model.description.network == network
    kept = load_checkpoint(tmp_path / "b" / BEST)["model"]
    assert all(torch.equal(kept[key], value) for key, value in model.network.state_dict().items())


@every_network
def test_two_ranks_follow_one(few: Path, config: Config, tmp_path: Path, network: str) -> None:
    """To the rounding of double precision, on uneven shares; where there is no BatchNorm, nothing has to be shared."""
    shared = "per_rank" if network == "convnext" else "synchronised"
    own = config_of(config, network, dropout=0.0).with_values("train", batch_norm=shared, epochs=1)
    one, two = (train_on(world, own, few, tmp_path / str(world), IN_DOUBLE) for world in (1, 2))
    for alone, together in zip(one, two, strict=True):
        for loss in ("train_loss", "validation_loss"):
            assert together[loss] == pytest.approx(alone[loss], rel=1e-9)


TRAIN = """
import runpy, sys
sys.argv[0] = "jobs/train.py"
runpy.run_path("jobs/train.py", run_name="__main__")
"""


@every_network
def test_one_key_trains_it_and_predicts_with_an_ensemble(
    few: Path, config: Config, tmp_path: Path, network: str
) -> None:
    path, key = tmp_path / "c.yaml", f"model.network={network}"
    own = config_of(config, "unet").model_dump(mode="json") | {"runs": str(tmp_path), "maps": {"file": str(few)}}
    path.write_text(dump_yaml(own))
    (rank,) = start(1, TRAIN, path, key, folder=tmp_path)
    assert rank.wait(timeout=within(100)) == 0, (tmp_path / "stderr.0").read_text()
    described = load_config(path, [key])
    first = load_model(Run.of(described).model)
    assert first.description.network == network
    write_model(tmp_path / "second" / "model", described, described.model, seed=2)
    second = load_model(tmp_path / "second" / "model")
    predict([str(path), key, "predict.members=[small, second]"])
    found = read_predictions(Run.of(described).predictions, open_maps(few))
    samples = found.samples("mass", slice(len(found)))
    maps = np.stack([open_maps(few).maps[view][found.rows] for view in VIEWS], 1)
    views = first.normalisation.apply(torch.from_numpy(maps), VIEWS)
    for place, member in enumerate((first, second)):
        with torch.no_grad():
            said = member.normalisation.invert(member.network(views), ["mass"])[:, 0].numpy()
        np.testing.assert_allclose(samples[:, place], said, rtol=5e-4, atol=1e-4 * np.abs(said).max())


@every_network
def test_the_whole_paper_takes_it_by_one_key(tmp_path: Path, network: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["configs/paper.yaml", "name=other", f"runs={tmp_path}", f"model.network={network}"]
    paper([*words, "--models", "multi1", "multi3", "low_mass", "--dry-run"])
    assert f"train_low_mass: slurm/train.sh {tmp_path}/other/configs/low_mass.yaml" in capsys.readouterr().out
    for model in ("multi1", "multi3", "low_mass"):
        written = load_config(tmp_path / "other" / "configs" / f"{model}.yaml")
        assert (written.name, written.model.network) == (f"other_{model}", network)


@every_network
def test_the_estimate_counts_its_parameters_and_operations(tmp_path: Path, network: str) -> None:
    one = [f"space.{name}={{low: {n}, high: {n}}}" for name, n in (("filters", 4), ("layers", 1), ("dropout", 0.0))]
    words = [f"runs={tmp_path}", *one, f"model.network={network}", "train.batch_size=2"]
    kernel = [] if network == "convnext" else ["space.kernel={low: 3, high: 3}"]
    base = load_config(Path("configs/paper.yaml"), words + kernel)
    model = described(network, layers=1, views=["star"])
    weights = sum(weight.numel() for weight in build_model(model, Needs()).parameters())
    counted = FlopCounterMode(display=False)
    with counted, torch.no_grad(), torch.device("meta"):
        build_model(model, Needs())(torch.empty(1, 1, 80, 80))
    told = estimate(base, write_configs(base, ["star"]))
    assert f"; {weights / 1e6:.2f} million parameters, {counted.get_total_flops() / 1e9:.2f} x 10^9 operations" in told


def test_the_paper_s_network_is_not_named_in_what_was_kept_before() -> None:
    assert "network" not in Model().model_dump(mode="json")
    assert Model.model_validate({"network": "convnext"}).model_dump(mode="json")["network"] == "convnext"
    assert set(LACKS) == set(NETWORKS) == set(get_args(Network))


@every_network
def test_what_a_network_lacks_is_not_searched(tmp_path: Path, network: str) -> None:
    """The ranges of a file are of the network it is for; of another one, those that mean nothing to it go."""
    searched = load_config(Path("configs/demo.yaml"), [f"model.network={network}"])
    rng = np.random.default_rng(0)
    space = hyperopt_space(searched.space)
    drawn = [sample(space, rng=rng) for _ in range(40)]
    for name, most in (("filters", 5), ("kernel", 2), ("layers", 2), ("dropout", 40)):
        assert len({one[name] for one in drawn}) == (1 if (network, name) == ("convnext", "kernel") else most)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(dump_yaml(searched.model_dump(mode="json")))
    assert load_config(resolved) == searched


CONVNEXT = "extends: {parent}\nmodel: {{network: convnext}}\n"


@pytest.mark.parametrize(
    ("more", "words", "said"),
    [
        ("", ["model.kernel=5"], "command line: model: network = convnext has no kernel to choose; leave model.kernel"),
        ("", ["space.kernel.high=4"], "command line: space.kernel: model.network = convnext has no kernel to search; "),
        ("space: {kernel: {low: 2, high: 3}}\n", [], "own.yaml: space.kernel: model.network = convnext has no kernel"),
        ("space: {width: {low: 2, high: 3}}\n", [], "own.yaml: space.width: unknown key; allowed: "),
        ("", ["model.network=convnet"], "command line: model.network = \"convnet\": must be 'unet', 'convnext' or"),
    ],
)
def test_keys_of_another_network_are_refused_in_one_line(
    tmp_path: Path, more: str, words: list[str], said: str
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(CONVNEXT.format(parent=Path("configs/demo.yaml").resolve()) + more)
    with pytest.raises(InputError) as error:
        load_config(path, words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_study_of_another_network_is_not_taken(config: Config, tmp_path: Path) -> None:
    best = tmp_path / "best.yaml"
    for searched, asked in (("unet", "convnext"), ("convnext", "transformer"), ("transformer", "unet")):
        write_best(best, [trial(0)], config_of(config, searched))
        assert with_best(config_of(config, searched), best).model.network == searched
        with pytest.raises(InputError, match=f"best.yaml: found for model.network = {searched}, not {asked}; tune "):
            with_best(config_of(config, asked), best)


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
