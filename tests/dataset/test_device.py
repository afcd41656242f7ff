"""Where batches are held changes nothing of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.device import bytes_of, on_device, prefetched, preloaded
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation

CPU = torch.device("cpu")


@pytest.fixture
def batches(map_path: Path) -> Batches:
    maps, rows = open_maps(map_path), np.array([31, 2, 17, 5, 40, 8, 9])
    views, targets = ["star", "sz"], ["mass"]
    return Batches(
        maps, rows, views, targets, fit_normalisation(maps, rows, views + targets, "linear"), 3, augment=True
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_held_batches_are_those_of_the_file(batches: Batches, precision: str) -> None:
    """In bf16 views are what autocast makes of them; targets are the same to the last bit."""
    there = preloaded(batches, CPU, precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for pairs in (zip(batches.shuffled(1, 0, None), there.shuffled(1, 0, None), strict=True),
                  zip(batches.in_order(), there.in_order(), strict=True)):  # fmt: skip
        for one, other in pairs:
            assert other.views.dtype == dtype
            assert torch.equal(one.views.to(dtype), other.views)
            assert torch.equal(one.targets, other.targets)
            assert one.of_batch == other.of_batch


def test_what_they_take_is_counted(batches: Batches) -> None:
    assert bytes_of(batches, "bf16") == 7 * 6400 * (2 * 2 + 4)
    assert bytes_of(batches, "fp32") == 7 * 6400 * (2 * 4 + 4)


def test_on_cpus_the_page_cache_holds_them(batches: Batches) -> None:
    assert on_device(batches, CPU, "bf16") is batches
    first = next(prefetched(batches.in_order(), CPU))
    assert torch.equal(first.views, next(batches.in_order()).views)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: batches held and sent there are not tested")
def test_on_a_gpu_they_are_the_same(batches: Batches) -> None:
    device = torch.device("cuda")
    expected = list(batches.shuffled(1, 0, None))
    for data in (batches, on_device(batches, device, "fp32")):
        for one, other in zip(expected, prefetched(data.shuffled(1, 0, None), device), strict=True):
            assert other.views.device.type == "cuda"
            assert torch.equal(one.views, other.views.cpu())
            assert torch.equal(one.targets, other.targets.cpu())
