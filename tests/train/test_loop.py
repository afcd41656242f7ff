"""The recipe, and training that resumes to the bit."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

from hpc_massmap.config import Config, Train
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.model.unet import UNet
from hpc_massmap.run import Step
from hpc_massmap.train import final, loop, precision
from hpc_massmap.train.checkpoint import load_checkpoint, save_checkpoint
from hpc_massmap.train.final import is_trained, train_rank
from hpc_massmap.train.loop import BEST, LAST, Callbacks, Fit, fit
from hpc_massmap.train.ranks import Ranks
from hpc_massmap.train.recipe import Epoch, is_over, learning_rate
from hpc_massmap.train.trained import load_model
from hpc_massmap.train.trainer import Diverged
from tests.patience import wait_until


def run(map_path: Path, config: Config, folder: Path, callbacks: Callbacks | None = None) -> Fit:
    torch.set_num_threads(1)
    maps = open_maps(map_path)
    return fit(maps, split_maps(maps, config.split), config, Ranks(), folder, callbacks)


def weights(folder: Path, name: str = LAST) -> list[torch.Tensor]:
    return list(load_checkpoint(folder / name)["model"].values())


def epochs(*losses: float) -> list[Epoch]:
    return [Epoch(n + 1, 1.0, loss, 1e-4, 1.0, 1.0) for n, loss in enumerate(losses)]


def test_the_rate_drops_after_epoch_50() -> None:
    assert [learning_rate(Train(), epoch) for epoch in (0, 49, 50, 99)] == [1e-4, 1e-4, 1e-5, 1e-5]


def test_early_stopping_after_five_epochs_without_a_better_loss() -> None:
    assert not is_over(epochs(), Train())
    assert not is_over(epochs(3, 2, 1, 2, 2, 2, 2), Train())
    assert is_over(epochs(3, 2, 1, 2, 2, 2, 2, 2), Train())
    assert is_over(epochs(3, 2, 1, 1, 1, 1, 1, 1), Train())  # an equal loss is not better
    assert is_over(epochs(*np.linspace(2, 1, 100)), Train())
    assert not is_over(epochs(*np.linspace(2, 1, 99)), Train())


def test_training_learns_and_keeps_the_best(map_path: Path, config: Config, tmp_path: Path) -> None:
    longer = config.with_values("train", epochs=6, learning_rate=5e-3)
    result = run(map_path, longer, tmp_path)
    losses = [epoch.validation_loss for epoch in result.history]
    assert len(losses) == 6
    assert min(losses) < 0.8 * losses[0]
    kept = load_checkpoint(tmp_path / BEST)
    assert kept["history"][-1]["validation_loss"] == min(losses) == result.best.validation_loss
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 7


def test_the_loop_is_the_plain_one(map_path: Path, config: Config, tmp_path: Path) -> None:
    """Three epochs against a loop a student would write: same maps, same order, fp32."""
    config = config.with_values("model", dropout=0.0)
    result = run(map_path, config, tmp_path)
    maps = open_maps(map_path)
    rows = split_maps(maps, config.split)
    names = ["star", "sz", "xray", "mass"]
    normalisation = fit_normalisation(maps, rows.train, names, "linear")
    data = np.stack(
        [(maps.maps[name][:] - normalisation.mean[name]) / normalisation.std[name] for name in names], axis=1
    )
    inputs, truth = torch.from_numpy(data[:, :3]).float(), torch.from_numpy(data[:, 3:]).float()
    torch.manual_seed(config.seed)
    network = UNet(config.model)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(3):
        network.train()
        order = np.random.default_rng([config.seed, epoch]).permutation(rows.train)
        for start in range(0, len(order), 8):
            batch = order[start : start + 8]
            optimiser.zero_grad()
            nn.functional.l1_loss(network(inputs[batch]), truth[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        network.eval()
        with torch.no_grad():
            loss = nn.functional.l1_loss(network(inputs[rows.validation]), truth[rows.validation]).item()
        assert result.history[epoch].validation_loss == pytest.approx(loss, rel=1e-3)  # rounding, grown by Adam


class Killed(Exception):
    pass


def kill_at(epoch: int, step: int) -> Callbacks:
    def on_step(e: int, s: int, steps: int) -> None:
        if (e, s) == (epoch, step):
            raise Killed

    return Callbacks(on_step=on_step)


@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (1, 2), (2, 4)])
def test_resumed_after_a_crash_it_ends_bit_for_bit_the_same(
    map_path: Path, config: Config, tmp_path: Path, epoch: int, step: int
) -> None:
    undisturbed = run(map_path, config, tmp_path / "a")
    with pytest.raises(Killed):
        run(map_path, config, tmp_path / "b", kill_at(epoch, step))
    resumed = run(map_path, config, tmp_path / "b")
    assert all(map(torch.equal, weights(tmp_path / "a"), weights(tmp_path / "b")))
    assert all(map(torch.equal, weights(tmp_path / "a", BEST), weights(tmp_path / "b", BEST)))
    assert [e.validation_loss for e in resumed.history] == [e.validation_loss for e in undisturbed.history]


def test_a_crash_at_the_last_checkpoint_leaves_no_epoch_untold(
    map_path: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    save, telling = save_checkpoint, Callbacks(on_epoch=lambda history: told.append(len(history)))

    def killed(path: Path, state: dict[str, Any]) -> None:
        save(path, state)
        if path.name == LAST and len(state["history"]) == 3:
            raise Killed

    monkeypatch.setattr(loop, "save_checkpoint", killed)
    with pytest.raises(Killed):
        run(map_path, config, tmp_path, telling)
    monkeypatch.undo()
    run(map_path, config, tmp_path, telling)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert told == [1, 2, 3]


SCRIPT = """
import sys
from pathlib import Path
from hpc_massmap.config import load_config
from hpc_massmap.train.final import train_rank
train_rank(load_config(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_kill_9_of_a_real_process_then_resume(map_path: Path, config: Config, tmp_path: Path) -> None:
    from hpc_massmap.yamlfile import dump_yaml

    config = config.with_values("train", epochs=6)
    (tmp_path / "c.yaml").write_text(dump_yaml(config.model_dump(mode="json")))
    undisturbed = run(map_path, config, tmp_path / "a")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "c.yaml"), str(map_path), str(tmp_path / "b")]
    process = subprocess.Popen(command)
    wait_until(lambda: (tmp_path / "b" / LAST).exists() or process.poll() is not None, "a first epoch", every=0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(load_checkpoint(tmp_path / "b" / LAST)["history"]) < 6
    subprocess.run(command, check=True)
    assert all(map(torch.equal, weights(tmp_path / "a"), weights(tmp_path / "b")))
    after = load_checkpoint(tmp_path / "b" / LAST)["history"]
    assert [e["validation_loss"] for e in after] == [e.validation_loss for e in undisturbed.history]


def test_two_trainings_do_not_write_into_one_folder(map_path: Path, config: Config, tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"), pytest.raises(InputError, match="another process trains here"):
        train_rank(config, map_path, tmp_path)
    train_rank(config, map_path, tmp_path)
    assert (tmp_path / LAST).exists()


def test_nothing_is_discarded_under_a_training(
    map_path: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(final, "SECONDS_TO_LEAVE", 0.1)
    model = tmp_path / "model"
    train_rank(config, map_path, model)
    step = Step("train", tmp_path / "train.json", {}, {}, [model])
    step.finish()
    with FileLock(model / "lock"):
        with pytest.raises(InputError, match="another process trains here"):
            is_trained(step, model, force=True)
        assert is_trained(step, model, force=False)
    assert (model / LAST).exists()
    assert not is_trained(step, model, force=True)
    assert not model.exists()


def test_what_a_killed_process_was_writing_is_removed(map_path: Path, config: Config, tmp_path: Path) -> None:
    (tmp_path / ".last.pt.abcdefgh.tmp").write_bytes(b"half")
    train_rank(config, map_path, tmp_path)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


@pytest.mark.parametrize("less", [{"batch_size": 2}, {"maps_per_epoch": 2}])
def test_more_ranks_than_maps_in_a_batch_are_refused(
    map_path: Path, config: Config, tmp_path: Path, less: dict[str, int]
) -> None:
    maps = open_maps(map_path)
    few = config.with_values("train", **less)
    with pytest.raises(InputError, match="3 ranks cannot share batches of 2 maps"):
        fit(maps, split_maps(maps, few.split), few, Ranks(world=3), tmp_path)


def test_a_loss_that_is_no_number_ends_the_training(map_path: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="in epoch 1; set a smaller"):
        run(map_path, config.with_values("train", learning_rate=1e30), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.with_values("model", filters=6),
        lambda config: config.with_values("train", batch_size=4),
        lambda config: config.model_copy(update={"seed": 3}),
    ],
)
def test_a_checkpoint_of_something_else_is_not_resumed(
    map_path: Path, config: Config, tmp_path: Path, change: Callable[[Config], Config]
) -> None:
    run(map_path, config, tmp_path)
    with pytest.raises(InputError, match="a checkpoint of another model, recipe or map file"):
        run(map_path, change(config), tmp_path)


def test_bf16_follows_fp32(map_path: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: True)  # where it is emulated, too
    exact = run(map_path, config, tmp_path / "a")
    fast = run(map_path, config.with_values("train", precision="bf16"), tmp_path / "b")
    for one, other in zip(exact.history, fast.history, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=0.05)


def test_the_model_comes_back_with_all_it_needs(map_path: Path, config: Config, tmp_path: Path) -> None:
    config = config.with_values("split", log_m200=(13.0, 16.0))  # in a checkpoint a list
    run(map_path, config, tmp_path)
    model = load_model(tmp_path)
    assert model.description == config.model
    assert model.split == config.split
    assert not model.network.training
    assert set(model.normalisation.mean) == {"star", "sz", "xray", "mass"}
