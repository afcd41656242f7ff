from pathlib import Path

import pytest

from tests.synthetic import write_synthetic_maps


@pytest.fixture
def map_path(tmp_path: Path) -> Path:
    path = tmp_path / "maps.h5"
    write_synthetic_maps(path, regions=30, snapshots=2, projections=2)
    return path
