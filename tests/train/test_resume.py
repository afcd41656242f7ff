"""Training that is stopped at any moment, and ends as if it had not been."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.final import EXIT_REQUEUE
from hpc_massmap.train.loop import BEST, LAST, Callbacks, Pause, fit
from hpc_massmap.train.ranks import Ranks
from tests.patience import wait_until, within

KILLS = 20


def train(map_path: Path, config: Config, folder: Path, callbacks: Callbacks | None = None) -> None:
    torch.set_num_threads(1)
    maps = open_maps(map_path)
    fit(maps, split_maps(maps, config.split), config, Ranks(), folder, callbacks)


def result(folder: Path) -> dict[str, Any]:
    """Everything a training ends with but its durations."""
    last, best = load_checkpoint(folder / LAST), load_checkpoint(folder / BEST)
    timed = ("seconds", "images_per_second")
    history = [{key: value for key, value in epoch.items() if key not in timed} for epoch in last["history"]]
    return {"history": history, "model": last["model"], "best": best["model"], "optimiser": last["optimiser"]["state"]}


def assert_equal(found: Any, expected: Any) -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    else:
        assert found == expected


@pytest.fixture
def config(config: Config) -> Config:
    return config.with_values("train", epochs=6, checkpoint_seconds=1e-6)


@pytest.fixture
def calm(map_path: Path, config: Config, tmp_path: Path) -> dict[str, Any]:
    train(map_path, config.with_values("train", epochs=6, checkpoint_seconds=1e6), tmp_path / "calm")
    return result(tmp_path / "calm")


def written(path: Path) -> int | None:
    """When a file was written last."""
    return path.stat().st_mtime_ns if path.exists() else None


def has_gone_on(process: ForkServerProcess, path: Path, seen: int | None) -> bool:
    """Whether a training is at least a step further, or it would never end."""
    return written(path) != seen or not process.is_alive()


def test_killed_at_20_random_moments(map_path: Path, config: Config, calm: dict[str, Any], tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hpc_massmap.train.loop", "tests.train.test_resume"])
    rng = random.Random(4)
    within_an_epoch = 0
    for _ in range(KILLS):
        process = context.Process(target=train, args=(map_path, config, tmp_path / "killed"))
        process.start()
        seen = written(tmp_path / "killed" / LAST)
        wait_until(partial(has_gone_on, process, tmp_path / "killed" / LAST, seen), "a step", every=0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        within_an_epoch += load_checkpoint(tmp_path / "killed" / LAST)["begun"] is not None
    train(map_path, config, tmp_path / "killed")
    assert within_an_epoch >= KILLS // 4
    assert_equal(result(tmp_path / "killed"), calm)


def test_a_pause_writes_the_step_it_is_in(map_path: Path, config: Config, calm: dict[str, Any], tmp_path: Path) -> None:
    rarely = config.with_values("train", epochs=6, checkpoint_seconds=1e6)

    def pause(epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == (2, 3):
            raise Pause

    with pytest.raises(Pause):
        train(map_path, rarely, tmp_path / "paused", Callbacks(on_step=pause))
    progress = load_checkpoint(tmp_path / "paused" / LAST)["begun"]
    assert (progress["steps"], progress["maps"]) == (3, 24)
    train(map_path, config, tmp_path / "paused")  # how often it writes checkpoints is no matter of its losses
    assert_equal(result(tmp_path / "paused"), calm)


def test_a_pause_in_the_validation_repeats_no_step(
    map_path: Path, config: Config, calm: dict[str, Any], tmp_path: Path
) -> None:
    """Twice: a validation may take longer than Slurm waits, also when it is begun again."""
    rarely = config.with_values("train", epochs=6, checkpoint_seconds=1e6)
    steps_done: list[tuple[int, int]] = []

    def note(epoch: int, step: int, steps: int) -> None:
        steps_done.append((epoch, step))

    def pause() -> None:
        if steps_done[-1][0] == 2:
            raise Pause

    for _ in range(2):
        with pytest.raises(Pause):
            train(map_path, rarely, tmp_path / "paused", Callbacks(note, on_validation=pause))
        progress = load_checkpoint(tmp_path / "paused" / LAST)["begun"]
        assert progress["steps"] == steps_done[-1][1]
        assert progress["maps"] > 0
    train(map_path, config, tmp_path / "paused", Callbacks(note))
    assert len(steps_done) == len(set(steps_done))
    assert_equal(result(tmp_path / "paused"), calm)


JOB = """
import sys
from pathlib import Path
from hpc_massmap.config import load_config
from hpc_massmap.train.final import FinalTraining
FinalTraining(load_config(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_ends_a_training_after_its_step(
    map_path: Path, config: Config, tmp_path: Path, number: signal.Signals
) -> None:
    longer = config.with_values("train", epochs=500, patience=500, checkpoint_seconds=1e6)
    (tmp_path / "config.yaml").write_text(longer.model_dump_json())  # JSON is YAML
    command = [sys.executable, "-c", JOB, str(tmp_path / "config.yaml"), str(map_path), str(tmp_path / "model")]
    job = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()})
    wait_until((tmp_path / "model" / LAST).exists, "a first epoch", every=0.01)
    before = len(load_checkpoint(tmp_path / "model" / LAST)["history"])
    job.send_signal(number)
    assert job.wait(within(30)) == EXIT_REQUEUE
    state = load_checkpoint(tmp_path / "model" / LAST)
    assert state["begun"] is not None
    assert before <= len(state["history"]) < 500
