from pathlib import Path

import pytest

from hpc_massmap.config import Config
from tests.synthetic import write_synthetic_maps


@pytest.fixture(scope="session")
def map_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    write_synthetic_maps(path, regions=20, snapshots=1, projections=2)
    return path


@pytest.fixture
def config() -> Config:
    """A small network in fp32: what is exact must be exact."""
    return Config.model_validate(
        {
            "name": "small",
            "simulations": [{"name": "s", "folder": Path("f"), "snapshots": [1]}],
            "model": {"filters": 4, "layers": 1, "dropout": 0.2},
            "train": {"batch_size": 8, "epochs": 3, "learning_rate": 1e-3, "precision": "fp32"},
        }
    )
