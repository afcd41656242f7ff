"""Averaged over the symmetries of the square, a network says of a map turned what it says of the map, turned."""

import numpy as np
import torch

from hpc_massmap.config import Model
from hpc_massmap.dataset.batches import SYMMETRIES, turned
from hpc_massmap.model.build import Needs, build_model
from hpc_massmap.model.symmetries import OverSymmetries, inverse


def test_each_symmetry_has_an_inverse_among_them() -> None:
    maps = torch.rand(1, 2, 6, 6)
    images = [turned(maps, np.array([way])) for way in range(SYMMETRIES)]
    assert len({tuple(image.flatten().tolist()) for image in images}) == SYMMETRIES
    for way, image in enumerate(images):
        assert torch.equal(turned(image, np.array([inverse(way)])), maps)


def test_the_mean_of_eight_answers_turns_with_the_map() -> None:
    torch.manual_seed(0)
    network = build_model(Model(filters=8, kernel=3, layers=2), Needs()).eval()
    averaged, maps = OverSymmetries(network), torch.randn(2, 3, 80, 80)
    with torch.inference_mode():
        said, plain = averaged(maps), network(maps)
        by_hand = torch.zeros_like(plain)
        for mirrored in (False, True):
            for turns in range(4):
                image = torch.rot90(maps.flip(-1) if mirrored else maps, turns, (-2, -1))
                back = torch.rot90(network(image), -turns, (-2, -1))
                by_hand += (back.flip(-1) if mirrored else back) / 8
        torch.testing.assert_close(said, by_hand)
        assert not torch.allclose(said, plain, atol=1e-3)
        for way in range(SYMMETRIES):
            ways = np.full(len(maps), way)
            torch.testing.assert_close(averaged(turned(maps, ways)), turned(said, ways))
            assert not way or not torch.allclose(network(turned(maps, ways)), turned(plain, ways), atol=1e-3)
