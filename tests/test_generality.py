"""What goes in and what comes out is the config's and the map file's affair: no code knows how many or which."""

from pathlib import Path

import pytest
import torch

from hpc_massmap.config import load_config
from hpc_massmap.metrics.results import read_metrics
from hpc_massmap.run import Run
from hpc_massmap.train.final import train_rank
from tests.synthetic import write_synthetic_maps
from tests.test_docs import loaded


@pytest.fixture(scope="module")
def map_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    write_synthetic_maps(path, regions=20, snapshots=1, projections=2, hard_xray=True)
    return path


@pytest.mark.parametrize(
    ("config", "overrides", "targets"),
    [
        ("configs/paint_gas.yaml", [], ["sz", "xray"]),
        ("configs/multi3.yaml", ["model.views=[star, sz, xray, xray_hard]"], ["mass"]),
    ],
    ids=["the inverse problem", "a fourth view"],
)
def test_other_views_and_targets(
    config: str, overrides: list[str], targets: list[str], map_path: Path, tmp_path: Path
) -> None:
    small = ["train.epochs=1", "train.batch_size=8", "model.filters=8", "model.layers=1"]
    words = [config, *overrides, *small, f"runs={tmp_path}", f"maps.file={map_path}"]
    run = Run.open(load_config(Path(config), words[1:]))
    threads = torch.get_num_threads()
    train_rank(run.config, run.maps, run.model)
    torch.set_num_threads(threads)
    for job in ("predict", "evaluate"):
        loaded(Path("jobs", f"{job}.py")).main(words)
    metrics = read_metrics(run.metrics)
    assert list(metrics.targets) == targets
