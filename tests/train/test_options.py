"""Named options of the training: off unless asked for, and what each does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from hpc_massmap.config import Config, Train, load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.model.unet import UNet
from hpc_massmap.train.average import averaged
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import BEST, LAST, Callbacks, Pause, fit
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.recipe import Epoch, learning_rate, optimiser_of


def train(map_path: Path, config: Config, folder: Path, callbacks: Callbacks | None = None) -> list[Epoch]:
    torch.set_num_threads(1)
    maps = open_maps(map_path)
    return fit(maps, split_maps(maps, config.split), config, Ranks(), folder, callbacks).history


@pytest.mark.parametrize("name", ["star", "sz", "xray", "multi1", "multi3", "gas2"])
def test_the_paper_s_configs_turn_every_option_off(name: str) -> None:
    recipe = load_config(Path(f"configs/{name}.yaml")).train
    assert (recipe.learning_rate, recipe.late_learning_rate, recipe.late_after) == (1e-4, 1e-5, 50)
    assert (recipe.patience, recipe.epochs, recipe.normalisation) == (5, 100, "linear")
    assert (recipe.optimiser, recipe.schedule, recipe.warmup, recipe.ema) == ("adam", "step", 0, None)
    assert not recipe.compile
    assert not recipe.augment
    assert recipe.loss == "l1"


def test_a_cosine_falls_from_the_first_rate_to_the_late_one_after_a_warm_up() -> None:
    train = Train(schedule="cosine", warmup=4, epochs=24, learning_rate=1e-3, late_learning_rate=1e-5)
    assert [learning_rate(train, 0, done) for done in (0.25, 0.5, 1.0)] == pytest.approx([6.25e-5, 1.25e-4, 2.5e-4])
    assert learning_rate(train, 3) == pytest.approx(1e-3)
    assert learning_rate(train, 13) == pytest.approx((1e-3 + 1e-5) / 2)
    assert learning_rate(train, 23) == pytest.approx(1e-5)
    falling = [learning_rate(train, epoch, done) for epoch in range(4, 24) for done in (0.5, 1.0)]
    assert (np.diff(falling) < 0).all()


def test_the_steps_of_the_recipe_can_be_warmed_up_too() -> None:
    train = Train(warmup=2)
    assert [learning_rate(train, *at) for at in ((0, 0.5), (1, 0.5), (2, 0.1), (50, 0.1))] == pytest.approx(
        [2.5e-5, 7.5e-5, 1e-4, 1e-5]
    )


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ValidationError, match="warmup = 5 must be less than epochs = 5"):
        Train(warmup=5, epochs=5)


def test_the_rate_of_a_step_is_what_the_optimiser_uses(map_path: Path, config: Config, tmp_path: Path) -> None:
    """Adam's first step is as long as its rate, so with a warm-up of two epochs of s steps it is 1 / 2s of that."""
    steps_of_epoch = 0

    def pause(epoch: int, step: int, steps: int) -> None:
        nonlocal steps_of_epoch
        steps_of_epoch = steps
        raise Pause

    torch.manual_seed(config.seed)
    before = UNet(config.model).state_dict()["decoder.head.1.bias"]
    first = []
    for warmup in (0, 2):
        folder = tmp_path / str(warmup)
        with pytest.raises(Pause):
            train(map_path, config.with_values("train", warmup=warmup), folder, Callbacks(on_step=pause))
        after = load_checkpoint(folder / LAST)["model"]["decoder.head.1.bias"]
        first.append(float((after - before).abs().sum()))
    assert first[1] / first[0] == pytest.approx(1 / (2 * steps_of_epoch), rel=1e-2)


def test_the_average_is_the_sum_written_out() -> None:
    """To the last bit, so that the average of an old checkpoint goes on as it was."""
    linear, normalise = nn.Linear(2, 2), nn.BatchNorm1d(2)
    model = nn.Sequential(linear, normalise)
    average = averaged(model, 0.5)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(1, 13):
        nn.init.normal_(linear.weight)
        model(torch.randn(4, 2))
        average.update_parameters(model)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            expected[name] = value.clone() if name.endswith("tracked") else expected[name].lerp(value, 1 - decay)
    for name, value in average.module.state_dict().items():
        assert torch.equal(value, expected[name])
    assert expected["1.num_batches_tracked"] == 12
    assert not torch.equal(expected["0.weight"], linear.weight)
    assert not torch.equal(expected["1.running_mean"], model.state_dict()["1.running_mean"])


def test_the_averaged_network_is_what_is_validated_and_kept(map_path: Path, config: Config, tmp_path: Path) -> None:
    """It changes nothing of the training itself."""
    plain = train(map_path, config, tmp_path / "plain")
    averaged = train(map_path, config.with_values("train", ema=0.9), tmp_path / "ema")
    assert [epoch.train_loss for epoch in averaged] == [epoch.train_loss for epoch in plain]
    assert all(one.validation_loss != other.validation_loss for one, other in zip(averaged, plain, strict=True))
    last, best = load_checkpoint(tmp_path / "ema" / LAST), load_checkpoint(tmp_path / "ema" / BEST)
    assert last["average"]["steps"] == 3 * 4  # epochs, steps
    assert averaged[-1] == min(averaged, key=lambda epoch: epoch.validation_loss)
    for name, weight in best["model"].items():
        assert torch.equal(weight, last["average"]["model"][name])
    assert any(not torch.equal(weight, last["model"][name]) for name, weight in best["model"].items())


class Killed(Exception):
    pass


def kill(epoch: int, step: int, steps: int) -> None:
    if (epoch, step) == (1, 3):
        raise Killed


@pytest.mark.parametrize(
    "options",
    [
        {"ema": 0.9, "schedule": "cosine", "warmup": 1},
        {"optimiser": "adam_fused", "augment": True},
    ],
)
def test_every_option_resumes_to_the_bit(
    map_path: Path, config: Config, tmp_path: Path, options: dict[str, object]
) -> None:
    config = config.with_values("train", checkpoint_seconds=1e-6, **options)
    train(map_path, config, tmp_path / "calm")
    with pytest.raises(Killed):
        train(map_path, config, tmp_path / "killed", Callbacks(on_step=kill))
    train(map_path, config, tmp_path / "killed")
    for name in (LAST, BEST):
        calm, resumed = (load_checkpoint(tmp_path / which / name)["model"] for which in ("calm", "killed"))
        assert all(torch.equal(weight, resumed[key]) for key, weight in calm.items())


def test_the_fused_optimiser_is_the_same_adam(map_path: Path, config: Config, tmp_path: Path) -> None:
    fused = config.with_values("train", optimiser="adam_fused")
    assert optimiser_of(fused.train, [nn.Parameter(torch.zeros(1))]).defaults["fused"]
    assert not optimiser_of(config.train, [nn.Parameter(torch.zeros(1))]).defaults["fused"]
    plain = train(map_path, config, tmp_path / "plain")
    for one, other in zip(train(map_path, fused, tmp_path / "fused"), plain, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)  # rounding


def test_the_compiled_network_trains_as_the_eager_one(
    map_path: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and replayed without generating code, which takes a minute; weights are kept under their own names."""
    compiled: list[nn.Module] = []

    real: Any = torch.compile

    def trace(module: nn.Module) -> Any:
        compiled.append(module)
        return real(module, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", trace)
    config = config.with_values("model", dropout=0.0).with_values("train", epochs=2)
    plain = train(map_path, config, tmp_path / "plain")
    assert not compiled
    faster = train(map_path, config.with_values("train", compile=True), tmp_path / "compiled")
    assert len(compiled) == 1
    for one, other in zip(faster, plain, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
    names = [load_checkpoint(tmp_path / which / BEST)["model"].keys() for which in ("plain", "compiled")]
    assert names[0] == names[1]
