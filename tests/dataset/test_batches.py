"""Batches hold the right maps, every rank its share, every epoch its own order."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_massmap.arrays import IntArray
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation

VIEWS, TARGETS = ["star", "sz"], ["mass"]


def batches(maps: MapFile, rows: IntArray, batch_size: int, rank: int = 0, world: int = 1) -> Batches:
    normalisation = fit_normalisation(maps, rows, VIEWS + TARGETS, "linear")
    return Batches(maps, rows, VIEWS, TARGETS, normalisation, batch_size, rank, world)


def test_a_batch_is_what_a_loop_over_its_maps_gives(map_path: Path) -> None:
    maps, rows = open_maps(map_path), np.arange(10, 47)
    data = batches(maps, rows, 8)
    seen = list(data.in_order())
    assert [len(batch.views) for batch in seen] == [8, 8, 8, 8, 5]
    for n, row in enumerate(rows):
        batch, i = divmod(n, 8)
        for channel, name in enumerate(VIEWS):
            expected = (maps.maps[name][row] - data.normalisation.mean[name]) / data.normalisation.std[name]
            np.testing.assert_allclose(seen[batch].views[i, channel], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("world", "part"), [(1, None), (2, None), (3, 20), (2, 17)])
def test_ranks_share_every_batch_of_an_epoch(map_path: Path, world: int, part: int | None) -> None:
    maps, rows = open_maps(map_path), np.arange(37)
    whole = list(batches(maps, rows, 8).shuffled(5, 2, part))
    shares = [list(batches(maps, rows, 8, rank, world).shuffled(5, 2, part)) for rank in range(world)]
    assert {len(share) for share in shares} == {batches(maps, rows, 8, 0, world).steps(part)}
    for n, parts in enumerate(zip(*shares, strict=True)):
        together = torch.cat([share.views for share in parts])
        assert torch.equal(together, whole[n].views)
        assert all(len(share.views) > 0 and share.of_batch == len(together) for share in parts)
    left_out = sum(len(batch.views) for batch in whole) - sum(len(b.views) for share in shares for b in share)
    assert 0 <= left_out < world


def test_an_epoch_is_a_permutation_and_the_next_another(map_path: Path) -> None:
    maps, rows = open_maps(map_path), np.arange(32)
    first, again, second = (
        torch.cat([batch.targets for batch in batches(maps, rows, 8).shuffled(1, epoch, None)]) for epoch in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(first.sum((1, 2, 3)).sort().values, second.sum((1, 2, 3)).sort().values)


def test_ranks_cover_validation_once(map_path: Path) -> None:
    maps, rows = open_maps(map_path), np.arange(37)
    seen = [batch.targets for rank in range(3) for batch in batches(maps, rows, 8, rank, 3).in_order()]
    assert torch.equal(torch.cat(seen), torch.cat([batch.targets for batch in batches(maps, rows, 8).in_order()]))
