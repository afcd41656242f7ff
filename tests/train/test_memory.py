"""Out of memory is told with the batch that fits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.model.unet import UNet
from hpc_massmap.train.loop import fit
from hpc_massmap.train.memory import OutOfMemory, is_out_of_memory, peak_memory, within_memory
from hpc_massmap.train.ranks import CPU, Ranks


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


def test_of_several_ranks_each_has_its_share(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    a_memory_of(2, monkeypatch)

    def step() -> None:
        raise MemoryError

    with pytest.raises(OutOfMemory, match=r"with 3 maps a rank; 1 fit: set train\.batch_size=3,"):
        within_memory(config, Ranks(world=3), step)  # a batch of 8


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
