"""Batches hold the right maps, every rank its share, every epoch its own order."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpc_massmap.arrays import IntArray
from hpc_massmap.dataset.batches import Batches, turned
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation

VIEWS, TARGETS = ["star", "sz"], ["mass"]


def batches(
    maps: MapFile, rows: IntArray, batch_size: int, rank: int = 0, world: int = 1, augment: bool = False
) -> Batches:
    normalisation = fit_normalisation(maps, rows, VIEWS + TARGETS, "linear")
    return Batches(maps, rows, VIEWS, TARGETS, normalisation, batch_size, rank, world, augment)


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


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_the_gather_normalises_as_the_normalisation_does(map_path: Path, kind: str) -> None:
    maps, rows = open_maps(map_path), np.array([31, 2, 2, 17])
    fitted = fit_normalisation(maps, np.arange(40), VIEWS, kind)
    physical = torch.from_numpy(np.stack([maps.maps[name][rows] for name in VIEWS], axis=1))
    gathered = Batches(maps, rows, VIEWS, TARGETS, fitted, 4).gather(rows, VIEWS)
    torch.testing.assert_close(gathered, fitted.apply(physical, VIEWS), rtol=1e-5, atol=1e-5)


def test_the_eight_symmetries_are_those_of_the_square() -> None:
    square = torch.arange(9.0).reshape(1, 1, 3, 3)
    all_eight = turned(square.expand(8, 1, 3, 3), np.arange(8))
    assert len({tuple(one.flatten().tolist()) for one in all_eight}) == 8
    plain = square[0, 0].numpy()
    expected = [np.rot90(mirrored, turns) for mirrored in (plain, plain[:, ::-1]) for turns in range(4)]
    np.testing.assert_array_equal(all_eight[:, 0].numpy(), expected)
    again = turned(turned(square.expand(4, 1, 3, 3), np.arange(4)), -np.arange(4) % 4)
    assert torch.equal(again, square.expand(4, 1, 3, 3))


@pytest.mark.parametrize("world", [1, 2])
def test_maps_are_turned_with_their_targets_and_alike_on_any_ranks(map_path: Path, world: int) -> None:
    maps, rows = open_maps(map_path), np.arange(37)
    plain = list(batches(maps, rows, 8).shuffled(3, 1, None))
    shares = [list(batches(maps, rows, 8, rank, world, True).shuffled(3, 1, None)) for rank in range(world)]
    seen = []
    for n, parts in enumerate(zip(*shares, strict=True)):
        views, targets = torch.cat([p.views for p in parts]), torch.cat([p.targets for p in parts])
        for i in range(len(views)):
            which = np.arange(8)
            candidates = turned(plain[n].views[i].expand(8, -1, -1, -1), which)
            (symmetry,) = [s for s in range(8) if torch.equal(candidates[s], views[i])]
            assert torch.equal(turned(plain[n].targets[i][None], np.array([symmetry]))[0], targets[i])
            seen.append(symmetry)
    assert len(set(seen)) > 5  # of 8
    later = list(batches(maps, rows, 8, 0, world, True).shuffled(3, 1, None, first_step=2))
    assert all(torch.equal(a.views, b.views) for a, b in zip(later, shares[0][2:], strict=True))
