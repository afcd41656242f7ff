"""Two ranks over gloo follow one rank on the whole batches."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_massmap.config import Config
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import LAST
from hpc_massmap.yamlfile import dump_yaml
from tests.train.test_loop import SCRIPT


def train_on(world: int, config: Config, map_path: Path, folder: Path) -> list[dict[str, float]]:
    folder.mkdir()
    (folder / "c.yaml").write_text(dump_yaml(config.model_dump(mode="json")))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SCRIPT, str(folder / "c.yaml"), str(map_path), str(folder)]
    ranks = [
        subprocess.Popen(
            command,
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
        for rank in range(world)
    ]
    assert [rank.wait(timeout=200) for rank in ranks] == [0] * world
    history: list[dict[str, float]] = load_checkpoint(folder / LAST)["history"]
    return history


def test_two_ranks_with_uneven_batches_follow_one(map_path: Path, config: Config, tmp_path: Path) -> None:
    """BatchNorm normalises each rank's share by its own statistics, so the curves agree closely, not to rounding."""
    config = config.with_values("model", dropout=0.0).with_values("train", batch_size=7)
    one = train_on(1, config, map_path, tmp_path / "one")
    two = train_on(2, config, map_path, tmp_path / "two")
    assert len(one) == len(two) == 3
    for alone, shared in zip(one, two, strict=True):
        assert shared["train_loss"] == pytest.approx(alone["train_loss"], rel=0.15)
