"""Statistics of the training pixels alone, exact, and undone exactly."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hpc_massmap.config import Split
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from tests.synthetic import NAMES


def test_moments_are_numpy_s_over_the_training_pixels_only(map_path: Path) -> None:
    maps = open_maps(map_path)
    rows = split_maps(maps, Split())
    fitted = fit_normalisation(maps, rows.train, NAMES, "linear")
    for name in NAMES:
        pixels = np.array(maps.maps[name][rows.train], np.float64)
        assert fitted.mean[name] == pytest.approx(pixels.mean(), rel=1e-12)
        assert fitted.std[name] == pytest.approx(pixels.std(), rel=1e-10)
        assert fitted.mean[name] != pytest.approx(np.array(maps.maps[name], np.float64).mean(), rel=1e-6)


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_apply_standardises_and_invert_undoes(map_path: Path, kind: str) -> None:
    maps = open_maps(map_path)
    rows = np.arange(len(maps))
    fitted = fit_normalisation(maps, rows, NAMES, kind)
    physical = torch.from_numpy(np.stack([maps.maps[name][:] for name in NAMES], 1)).double()
    normalised = fitted.apply(physical, NAMES)
    assert normalised.mean((0, 2, 3)).numpy() == pytest.approx(np.zeros(4), abs=1e-9)
    assert normalised.std((0, 2, 3), correction=0).numpy() == pytest.approx(np.ones(4), rel=1e-9)
    back = fitted.invert(normalised, NAMES)
    for channel in range(4):
        scale = physical[:, channel].mean().item()
        np.testing.assert_allclose(back[:, channel], physical[:, channel], rtol=1e-9, atol=1e-9 * scale)


def test_constant_maps_teach_nothing(map_path: Path) -> None:
    with h5py.File(map_path, "r+") as file:
        file["maps/star"][:] = 3.0
    maps = open_maps(map_path)
    with pytest.raises(InputError, match="the star maps of the training set are constant"):
        fit_normalisation(maps, np.arange(len(maps)), NAMES, "linear")
