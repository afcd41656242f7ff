"""Out of memory is told with the batch that fits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_massmap.config import Config
from hpc_massmap.dataset.batches import Batch
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.model.unet import UNet
from hpc_massmap.train.learner import Learner
from hpc_massmap.train.loop import fit
from hpc_massmap.train.memory import OutOfMemory, is_out_of_memory, peak_memory, within_memory
from hpc_massmap.train.ranks import CPU, Ranks
from hpc_massmap.yamlfile import dump_yaml
from tests.patience import within
from tests.train.test_ranks import start


def a_memory_of(n_maps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a device: its allocations fail, as torch's do, for more maps than that."""
    forward = UNet.forward

    def limited(self: UNet, views: torch.Tensor) -> torch.Tensor:
        if len(views) > n_maps:
            torch.empty(1 << 52, dtype=torch.uint8)
        return forward(self, views)

    monkeypatch.setattr(UNet, "forward", limited)


@pytest.mark.parametrize(("room", "fitting"), [(7, 4), (3, 2), (1, 1)])
def test_a_training_that_does_not_fit_says_which_batch_does(
    map_path: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, fitting: int
) -> None:
    a_memory_of(room, monkeypatch)
    maps = open_maps(map_path)
    rows = split_maps(maps, config.split)
    with pytest.raises(OutOfMemory, match=f"on cpu with 8 maps a rank; {fitting} fit: set train.batch_size={fitting},"):
        fit(maps, rows, config, Ranks(), tmp_path / "too_large")
    smaller = config.with_values("train", batch_size=fitting, epochs=1, maps_per_epoch=8)
    assert len(fit(maps, rows, smaller, Ranks(), tmp_path / "as_told").history) == 1


def test_what_is_tried_is_the_step_of_the_training(
    map_path: Path, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its loss, its optimiser and its averaged weights, which take memory, too."""
    real, seen = Learner.step, []

    def limited(self: Learner, batch: Batch, rate: float) -> torch.Tensor:
        seen.append((len(batch.views), self.average is not None))
        if len(batch.views) > 3:
            raise MemoryError
        return real(self, batch, rate)

    monkeypatch.setattr(Learner, "step", limited)
    maps = open_maps(map_path)
    config = config.with_values("train", ema=0.9, loss="relative", optimiser="adam_fused")
    with pytest.raises(OutOfMemory, match="; 2 fit"):
        fit(maps, split_maps(maps, config.split), config, Ranks(), tmp_path)
    assert seen == [(8, True), (4, True), (2, True)]


ALONE = """
import sys
from pathlib import Path
import pytest
import torch.distributed as dist
from hpc_massmap.config import load_config
from hpc_massmap.train.memory import OutOfMemory, within_memory
from hpc_massmap.train.ranks import join_ranks
from tests.train.test_memory import a_memory_of

def too_much():
    raise MemoryError

config = load_config(Path(sys.argv[1]))
with join_ranks(1) as ranks:
    if ranks.rank == 1:
        a_memory_of(3, pytest.MonkeyPatch())
        with pytest.raises(OutOfMemory, match="with 4 maps a rank; 2 fit: set train.batch_size=4,"):
            within_memory(config, ranks, too_much)
    dist.barrier()
"""


def test_of_several_ranks_one_tries_its_share_without_the_others(config: Config, tmp_path: Path) -> None:
    """Under DDP and a synchronised BatchNorm, which ask the others at each step; here they wait for something else."""
    path = tmp_path / "c.yaml"
    config = config.with_values("train", batch_size=7, batch_norm="synchronised", ema=0.9)
    path.write_text(dump_yaml(config.model_dump(mode="json")))
    ranks = start(2, ALONE, path, folder=tmp_path)
    assert [rank.wait(timeout=within(100)) for rank in ranks] == [0, 0]


def test_a_model_that_never_fits_is_told_so(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    a_memory_of(0, monkeypatch)
    with pytest.raises(OutOfMemory, match="one map does not fit either; take a smaller model"):
        within_memory(config, Ranks(), lambda: UNet(config.model)(torch.zeros(8, 3, 80, 80)))


def test_other_errors_are_left_as_they_are(config: Config) -> None:
    with pytest.raises(RuntimeError, match="channels"):
        within_memory(config, Ranks(), lambda: UNet(config.model).decoder.head(torch.zeros(1, 99, 80, 80)))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(MemoryError) as numpy_s:
        np.empty(1 << 60, np.uint8)
    assert is_out_of_memory(numpy_s.value)
    assert not is_out_of_memory(ValueError("x"))


def test_the_peak_is_that_of_the_process() -> None:
    before = peak_memory(CPU)
    held = np.ones(int((before + 0.25) * 2**30), np.uint8)  # more than ever before
    assert peak_memory(CPU) - before > 0.2
    del held
