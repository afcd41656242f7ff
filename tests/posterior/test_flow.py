"""A flow against a posterior in closed form, its chance, and the whole of a training with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Config, Model
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.model.timed import TimedUNet
from hpc_massmap.pipeline.estimate import measure
from hpc_massmap.posterior.distribution import Asked
from hpc_massmap.posterior.flow import STEPS, TIMES, chance
from hpc_massmap.posterior.kinds import KINDS
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import BEST, LAST, Callbacks, fit
from hpc_massmap.train.memory import OutOfMemory, within_memory
from hpc_massmap.train.ranks import CPU, Ranks
from hpc_massmap.train.trained import load_model
from tests.synthetic import write_synthetic_maps

SIDE, CLUSTERS, DRAWS = 8, 100, 40
ONES = Normalisation("linear", {"mass": 0.0}, {"mass": 1.0}, {"mass": 0.0})
FREQUENCY = np.hypot(np.fft.fftfreq(SIDE)[:, None] * SIDE, np.fft.fftfreq(SIDE)[None, :] * SIDE)
POWER = 4 / (1 + FREQUENCY) ** 2  # of the field, by mode
BLUR = np.exp(-((FREQUENCY / 2.5) ** 2))
NOISE = 0.3  # standard deviation of a pixel


def config_of(**model: object) -> Config:
    simulation = {"name": "s", "folder": Path("f"), "snapshots": [1]}
    model = {"filters": 4, "layers": 1, "output": "flow", **model}
    train = {"batch_size": 8, "epochs": 2, "learning_rate": 1e-3, "precision": "fp32"}
    return Config.model_validate({"name": "small", "simulations": [simulation], "model": model, "train": train})


def filtered(maps: FloatArray, multipliers: FloatArray) -> FloatArray:
    return np.asarray(np.fft.ifft2(np.fft.fft2(maps) * multipliers).real)


def field_and_view(n: int, stream: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A Gaussian random field, and what is seen of it: blurred, with white noise; (n, 1, 8, 8) each."""
    field = filtered(stream.standard_normal((n, 1, SIDE, SIDE)), np.sqrt(POWER))
    return field, filtered(field, BLUR) + NOISE * stream.standard_normal(field.shape)


# of the posterior of the field, by mode (Wiener's filter)
VARIANCE = 1 / (1 / POWER + BLUR**2 / NOISE**2)
TO_MEAN = VARIANCE * BLUR / NOISE**2


class Filter(nn.Module):
    """Multiplies each mode of the maps and of the view by numbers of the time, as the true velocity does."""

    def __init__(self) -> None:
        super().__init__()
        modes = (SIDE, SIDE // 2 + 1)
        self.of_time = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 80))
        self.shape = (2, 1, *modes)

    def forward(self, views: torch.Tensor, maps: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        features = torch.stack([times, (1 - times + 0.05).log(), (times + 0.05).log()], dim=1)
        of_maps, of_views = self.of_time(features).view(-1, *self.shape).unbind(1)
        modes = of_maps * torch.fft.rfft2(maps) + of_views * torch.fft.rfft2(views)
        velocity: torch.Tensor = torch.fft.irfft2(modes)
        return velocity

    def encoded(self, views: torch.Tensor) -> torch.Tensor:
        return views

    def velocity(self, encoded: torch.Tensor, maps: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        velocity: torch.Tensor = self(encoded, maps, times)
        return velocity


@contextmanager
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def asked(views: FloatArray, rows: IntArray | None = None) -> Asked:
    rows = np.arange(len(views)) if rows is None else rows
    return Asked(torch.from_numpy(views).float(), rows, Model(views=["sz"], output="flow"), ONES, without_gradients)


@pytest.fixture(scope="module")
def trained() -> Filter:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network, stream = Filter(), np.random.default_rng(0)
    loss = KINDS["flow"].loss(config_of(), ONES)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    steps = 800
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        field, view = (torch.from_numpy(maps).float() for maps in field_and_view(64, stream))
        optimiser.zero_grad()
        loss(network, Batch(view, field, 64, np.arange(64), (0, step))).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network


def faults(samples: FloatArray, views: FloatArray) -> set[str]:
    """What is wrong with samples, (draws, n, 1, 8, 8), beyond five times the error of so many.

    A deviation from the mean of the posterior is whitened by its covariance: its modes are then independent, of
    variance 1 and mean 0, which also says that correlations of pixels are right.
    """
    deviations = np.fft.fft2(samples - filtered(views, TO_MEAN)) / np.sqrt(VARIANCE) / SIDE
    n, found = len(samples) * len(views), set()
    rings = [(low <= FREQUENCY) & (low + 1 > FREQUENCY) for low in range(5)]
    for ring in rings:
        modes = deviations[..., ring]
        power = np.mean(np.abs(modes) ** 2)
        if abs(power - 1) > 5 * np.sqrt(2 / n / ring.sum()) + LEARNT:
            found.add("variance")
        of_clusters = np.abs(modes.mean(0)) ** 2 * len(samples)  # 1 if the mean is that of the posterior
        if of_clusters.mean() > 1 + 5 * np.sqrt(2 / len(views) / ring.sum()) + len(samples) * LEARNT**2:
            found.add("mean")
    pixels, covariance = samples - filtered(views, TO_MEAN), np.fft.ifft2(VARIANCE).real
    for lag in np.ndindex(3, 3):
        correlation = np.mean(pixels * np.roll(pixels, lag, (-2, -1))) / np.mean(pixels**2)
        if abs(correlation - covariance[lag] / covariance[0, 0]) > 5 / np.sqrt(n * SIDE) + LEARNT / 5:
            found.add("correlation")
    return found


LEARNT = 0.05  # what a network trained in seconds may be off by, of the width of the posterior


def test_samples_have_mean_variance_and_correlations_of_the_posterior(trained: Filter) -> None:
    field, views = field_and_view(CLUSTERS, np.random.default_rng(1))
    said = KINDS["flow"].says(trained, asked(views))
    samples = np.stack(list(said.samples(DRAWS, seed=3)))
    assert samples.shape == (DRAWS, CLUSTERS, 1, SIDE, SIDE)
    assert faults(samples, views) == set()
    mean = filtered(views, TO_MEAN)
    assert "variance" in faults(mean + 0.8 * (samples - mean), views)
    assert "mean" in faults(samples + 0.5 * np.sqrt(VARIANCE.mean()), views)
    assert "mean" in faults(np.roll(samples, 1, axis=1), views)  # those of another cluster
    assert "correlation" in faults(mean + np.random.default_rng(2).permuted(samples - mean, axis=-1), views)
    # the truth is one more draw
    inside = (samples < field).sum(0)
    assert abs(inside.mean() / DRAWS - 0.5) < 0.05
    assert abs(np.mean((inside >= 0.16 * DRAWS) & (inside <= 0.84 * DRAWS)) - 0.7) < 0.05


def test_a_sample_follows_from_seed_row_and_number_alone(trained: Filter) -> None:
    _, views = field_and_view(6, np.random.default_rng(1))
    says = KINDS["flow"].says
    whole = list(says(trained, asked(views, np.arange(10, 16))).samples(3, seed=5))
    part = list(says(trained, asked(views[2:4], np.array([12, 13]))).samples(4, seed=5))
    for sample, other in zip(whole, part, strict=False):
        np.testing.assert_allclose(other, sample[2:4], atol=1e-5)
    (again,) = says(trained, asked(views, np.arange(10, 16))).samples(1, seed=5)
    assert np.array_equal(again, whole[0])
    (of_another_seed,) = says(trained, asked(views, np.arange(10, 16))).samples(1, seed=6)
    assert np.abs(of_another_seed - whole[0]).min() > 0
    assert np.abs(whole[0] - whole[1]).min() > 0
    assert np.abs(whole[0][0] - whole[0][1]).min() > 0


def test_twenty_calls_reach_the_width_of_a_normal_distribution() -> None:
    """Of width s the velocity is known; each call is one of the network's."""
    for width, allowed in ((1.0, 0.01), (0.2, 0.01), (0.05, 0.01), (0.02, 0.035)):
        calls: list[float] = []

        def velocity(
            encoded: object, maps: torch.Tensor, times: torch.Tensor, s: float = width, calls: list[float] = calls
        ) -> torch.Tensor:
            t = float(times[0])
            calls.append(t)
            return maps * (t * s**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * s**2)

        network = nn.Module()
        network.encoded, network.velocity = (lambda views: views), velocity  # type: ignore[assignment]
        views = np.zeros((1, 1, 4, 4))
        (sample,) = KINDS["flow"].says(network, asked(views)).samples(1, seed=0)
        noise, _ = chance([(1, 0, 0, 0)], (1, 4, 4))
        np.testing.assert_allclose(sample, width * noise, rtol=allowed)
        assert len(calls) == 2 * STEPS == 20
        assert (calls[0], TIMES[-1]) == (0.0, 1.0)


def test_chance_is_of_each_map_alone() -> None:
    keys = [(0, 1, 2, row) for row in range(5)]
    noise, times = chance(keys, (1, 40, 40))
    other, others = chance(keys[3:], (1, 40, 40))
    assert np.array_equal(noise[3:], other)
    assert np.array_equal(times[3:], others)
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert abs(noise.std() - 1) < 5 / np.sqrt(2 * noise.size)
    assert len(set(times.tolist())) == 5


@pytest.fixture(scope="module")
def map_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    write_synthetic_maps(path, regions=20, snapshots=1, projections=2)
    return path


def run(map_path: Path, folder: Path, callbacks: Callbacks | None = None) -> list[float]:
    torch.set_num_threads(1)
    maps, config = open_maps(map_path), config_of(dropout=0.2).with_values("train", ema=0.9)
    history = fit(maps, split_maps(maps, config.split), config, Ranks(), folder, callbacks).history
    return [loss for epoch in history for loss in (epoch.train_loss, epoch.validation_loss)]


class Killed(Exception):
    pass


@pytest.mark.parametrize("place", [(0, 2), (1, 1)])
def test_resumed_after_a_crash_it_ends_bit_for_bit_the_same(
    map_path: Path, tmp_path: Path, place: tuple[int, int]
) -> None:
    def on_step(epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == place:
            raise Killed

    undisturbed = run(map_path, tmp_path / "a")
    with pytest.raises(Killed):
        run(map_path, tmp_path / "b", Callbacks(on_step=on_step))
    assert run(map_path, tmp_path / "b") == undisturbed
    for name in (LAST, BEST):
        ours, resumed = (load_checkpoint(tmp_path / folder / name)["model"] for folder in "ab")
        assert all(torch.equal(ours[key], resumed[key]) for key in ours)


def test_it_is_loaded_estimated_and_kept_within_memory(map_path: Path, tmp_path: Path) -> None:
    run(map_path, tmp_path)
    assert isinstance(load_model(tmp_path).network, TimedUNet)
    one = {"low": 4, "high": 4}
    config = config_of().with_values("space", filters=one, kernel={"low": 3, "high": 3}, layers={"low": 1, "high": 1})
    assert measure(config, CPU).weights > measure(config.with_values("model", output="point"), CPU).weights

    def too_much() -> None:
        raise MemoryError

    with pytest.raises(OutOfMemory, match="; 4 fit"):
        within_memory(config, Ranks(), too_much)


def test_views_are_encoded_once_and_time_matters() -> None:
    network = TimedUNet(Model(filters=4, layers=2, output="flow")).eval()
    views, maps = torch.randn(2, 3, 80, 80), torch.randn(2, 1, 80, 80)
    early, late = torch.zeros(2), torch.ones(2)
    with torch.no_grad():
        assert torch.equal(network(views, maps, early), network(views, maps, late))  # before the first step
        for scaling in (*network.down, *network.up):
            nn.init.normal_(scaling.of_time.weight)
        assert not torch.allclose(network(views, maps, early), network(views, maps, late))
        encoded = network.encoded(views)
        assert torch.equal(network.velocity(encoded, maps, late), network(views, maps, late))
