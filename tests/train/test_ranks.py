"""Two ranks over gloo follow one rank on the whole batches."""

import multiprocessing
import os
import socket
import subprocess
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from hpc_massmap.config import Config
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import LAST
from hpc_massmap.yamlfile import dump_yaml
from tests.patience import wait_until, within
from tests.train.test_loop import SCRIPT

# from which ranks are forked: to import PyTorch anew takes each of them longer than its training
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["hpc_massmap.train.final", "hpc_massmap.dataset.batches", "torch._dynamo"])


class Started(ForkServerProcess):
    """A rank that runs a script, to be waited for as for any other process."""

    def wait(self, timeout: float) -> int | None:
        self.join(timeout)
        return self.exitcode


def _run(script: str, words: list[str], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.dup2(os.open(words.pop(0), os.O_WRONLY | os.O_CREAT, 0o600), 2)
    sys.argv = ["-c", *words]
    torch.set_num_threads(1)
    exec(compile(script, "<rank>", "exec"), {"__name__": "__main__"})


def start(world: int, script: str, *words: object, folder: Path) -> list[Started]:
    """The ranks of a script; what they complain about is in the files `stderr.<rank>` of the folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    there = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        Started(
            target=_run,
            args=(script, [str(folder / f"stderr.{rank}"), *map(str, words)], {**there, "RANK": str(rank)}),
        )
        for rank in range(world)
    ]
    for rank in ranks:
        rank.start()
    return ranks


def start_on(world: int, config: Config, map_path: Path, folder: Path, before: str = "") -> list[Started]:
    folder.mkdir()
    (folder / "c.yaml").write_text(dump_yaml(config.model_dump(mode="json")))
    return start(world, before + SCRIPT, folder / "c.yaml", map_path, folder, folder=folder)


def train_on(world: int, config: Config, map_path: Path, folder: Path, before: str = "") -> list[dict[str, float]]:
    ranks = start_on(world, config, map_path, folder, before)
    assert [rank.wait(timeout=within(200)) for rank in ranks] == [0] * world
    history: list[dict[str, float]] = load_checkpoint(folder / LAST)["history"]
    return history


NORMALISE = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from hpc_massmap.train.batch_norm import synchronise
from hpc_massmap.train.ranks import join_ranks

with join_ranks(1) as ranks:
    torch.manual_seed(0)
    maps, weight = 3 + torch.randn(7, 5, 4, 4, dtype=torch.double), torch.randn(7, 5, 4, 4, dtype=torch.double)
    plain = nn.BatchNorm2d(5).double()
    nn.init.normal_(plain.weight), nn.init.normal_(plain.bias)
    ours = nn.Sequential(nn.BatchNorm2d(5).double())
    ours[0].load_state_dict(plain.state_dict())
    synchronise(ours, ranks.device)
    assert type(ours[0]) is not nn.BatchNorm2d
    own = slice(0, 2) if ranks.rank == 0 else slice(2, 7)
    whole, part = maps.clone().requires_grad_(), maps[own].clone().requires_grad_()
    for _ in range(3):
        expected, found = plain(whole), ours(part)
        torch.testing.assert_close(found, expected[own], rtol=1e-12, atol=1e-12)
    (expected * weight).sum().backward()
    (found * weight[own]).sum().backward()
    torch.testing.assert_close(part.grad, whole.grad[own], rtol=1e-10, atol=1e-12)
    for (name, value), (_, other) in zip(plain.named_parameters(), ours[0].named_parameters()):
        dist.all_reduce(other.grad)
        torch.testing.assert_close(other.grad, value.grad, rtol=1e-10, atol=1e-12)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours[0].state_dict()[name], value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.eval()(part), plain.eval()(whole)[own], rtol=1e-12, atol=1e-12)
"""


def test_synchronised_normalisation_is_that_of_the_joined_batch(tmp_path: Path) -> None:
    """Forward, backward and running statistics in double precision, shares of 2 and 5 maps."""
    ranks = start(2, NORMALISE, folder=tmp_path)
    assert [rank.wait(timeout=within(100)) for rank in ranks] == [0, 0]


IN_DOUBLE = """
import torch
from hpc_massmap.dataset.batches import Batches

torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double
gather = Batches.gather
Batches.gather = lambda *which: gather(*which).double()
"""


def test_two_ranks_with_uneven_batches_follow_one(map_path: Path, config: Config, tmp_path: Path) -> None:
    """To the rounding of double precision; loosely where each rank's BatchNorm sees its own share of a batch only.

    In fp32 rounding alone grows to 1e-4 of a loss within an epoch, and so it does by another number of threads.
    """
    config = config.with_values("model", dropout=0.0).with_values("train", batch_size=7, batch_norm="synchronised")
    one = train_on(1, config, map_path, tmp_path / "one", IN_DOUBLE)
    two = train_on(2, config, map_path, tmp_path / "two", IN_DOUBLE)
    loose = train_on(2, config.with_values("train", batch_norm="per_rank"), map_path, tmp_path / "per_rank")
    assert len(one) == len(two) == len(loose) == 3
    for alone, shared, loosely in zip(one, two, loose, strict=True):
        for loss in ("train_loss", "validation_loss"):
            assert shared[loss] == pytest.approx(alone[loss], rel=1e-11)
        assert loosely["train_loss"] == pytest.approx(alone["train_loss"], rel=0.15)


def test_a_flow_on_two_ranks_follows_one(map_path: Path, config: Config, tmp_path: Path) -> None:
    """The chance of a step is that of its maps, on whichever rank they are."""
    config = config.with_values("model", dropout=0.0, output="flow")
    config = config.with_values("train", batch_size=7, batch_norm="synchronised", epochs=2)
    one, two = (train_on(world, config, map_path, tmp_path / str(world), IN_DOUBLE) for world in (1, 2))
    for alone, shared in zip(one, two, strict=True):
        for loss in ("train_loss", "validation_loss"):
            assert shared[loss] == pytest.approx(alone[loss], rel=1e-11)


def test_a_rank_that_is_killed_ends_the_other(map_path: Path, config: Config, tmp_path: Path) -> None:
    ranks = start_on(2, config.with_values("train", epochs=1000, patience=1000), map_path, tmp_path / "two")
    wait_until((tmp_path / "two" / LAST).exists, "a first epoch", 100)
    ranks[1].kill()
    assert ranks[0].wait(timeout=within(20)) not in (0, None)


OLD_VIEW = """
import os
from pathlib import Path

from hpc_massmap.train.trainer import Trainer

if os.environ["RANK"] == "1":  # as a node whose file system has not looked again
    exists = Path.exists
    Path.exists = lambda path: path.name != "last.pt" and exists(path)
"""
KILLED = """
import os
from hpc_massmap.train.trainer import Trainer

epoch = Trainer.epoch
Trainer.epoch = lambda self, number, *more: epoch(self, number, *more) if number < 1 else os._exit(9)
"""


def test_all_ranks_go_on_with_the_checkpoint_of_the_first(map_path: Path, config: Config, tmp_path: Path) -> None:
    calm = train_on(2, config, map_path, tmp_path / "calm")
    killed = start_on(2, config, map_path, tmp_path / "killed", KILLED)
    assert [rank.wait(timeout=within(100)) for rank in killed] == [9, 9]
    folder = tmp_path / "killed"
    resumed = start(2, OLD_VIEW + SCRIPT, folder / "c.yaml", map_path, folder, folder=folder)
    assert [rank.wait(timeout=within(100)) for rank in resumed] == [0, 0]
    history = load_checkpoint(tmp_path / "killed" / LAST)["history"]
    assert [epoch["train_loss"] for epoch in history] == [epoch["train_loss"] for epoch in calm]


FAILING = """
import sys
from pathlib import Path
from hpc_massmap.config import load_config
from hpc_massmap.train import loop
from hpc_massmap.train.final import FinalTraining
from hpc_massmap.train.learner import Learner

def broken(self, *_):
    raise ValueError("a broken map on this rank")

if sys.argv[4] == __import__("os").environ["RANK"]:
    Learner.loss = broken
FinalTraining(load_config(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))()
"""


@pytest.mark.parametrize("which", ["0", "1"])
def test_only_the_rank_that_failed_shows_an_error(map_path: Path, config: Config, tmp_path: Path, which: str) -> None:
    (tmp_path / "c.yaml").write_text(dump_yaml(config.model_dump(mode="json")))
    ranks = start(2, FAILING, tmp_path / "c.yaml", map_path, tmp_path, which, folder=tmp_path)
    assert [rank.wait(timeout=within(60)) for rank in ranks] == [1, 1]
    told = [(tmp_path / f"stderr.{rank}").read_text() for rank in range(2)]
    failed, other = told if which == "0" else reversed(told)
    assert "ValueError: a broken map on this rank" in failed
    assert "another rank failed, see its error: " in other
    assert "Traceback" not in other


def torchrun(map_path: Path, config: Config, folder: Path, *more: str, **environment: str) -> str:
    """Train by two ranks of torchrun into the run `small` in `folder`; all that they print."""
    settings = config.model_copy(
        update={"runs": folder / "runs", "maps": config.maps.model_copy(update={"file": map_path})}
    )
    (folder / "c.yaml").write_text(dump_yaml(settings.model_dump(mode="json")))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, "jobs/train.py", str(folder / "c.yaml"), *more]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=within(120), env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


FORCED = """
import os, runpy, sys
{before}
sys.argv = ["jobs/train.py", sys.argv[1], "--force"]
runpy.run_path("jobs/train.py", run_name="__main__")
"""


def test_torchrun_starts_the_ranks_of_the_job(map_path: Path, config: Config, tmp_path: Path) -> None:
    torchrun(map_path, config, tmp_path)
    model = tmp_path / "runs" / "small" / "model"
    first = load_checkpoint(model / LAST)
    assert first["identity"]["world"] == 2
    assert len(first["history"]) == 3
    assert (tmp_path / "runs" / "small" / "provenance" / "train.json").exists()
    for before in ("os.environ['SLURM_RESTART_COUNT'] = '1'", ""):
        history = load_checkpoint(model / LAST)["history"]
        assert history == first["history"]
        ranks = start(2, FORCED.format(before=before), tmp_path / "c.yaml", folder=tmp_path)
        assert [rank.wait(timeout=within(100)) for rank in ranks] == [0, 0]
    assert load_checkpoint(model / LAST)["history"][0]["seconds"] != first["history"][0]["seconds"]
