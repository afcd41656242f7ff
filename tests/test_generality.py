"""What goes in and what comes out is the config's and the map file's affair: no code knows how many or which."""

from pathlib import Path

import pytest
import torch
from astropy.io import fits

from hpc_massmap.config import load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.metrics.results import read_metrics
from hpc_massmap.run import Run
from hpc_massmap.train.final import train_rank
from hpc_massmap.units import to_file
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
    follow(config, overrides, targets, map_path, tmp_path)


def test_two_bands_of_x_rays_from_snapshots_on(tmp_path: Path) -> None:
    folder = (
        f"{{name: gadget4, folder: {Path('examples/gadget4_L50').resolve()}, region: region_000*, snapshots: [106]}}"
    )
    where = [f"simulations=[{folder}]", "selection={m200_min: 1e13, uncontaminated: true, flat: null}"]
    drawn = [*where, "maps.lines_of_sight=2", "maps.kernel=cubic_spline", "maps.adaptive_smoothing=32"]
    path = tmp_path / "maps.h5"
    loaded(Path("jobs/make_maps.py")).main(["configs/multi4.yaml", *drawn, f"runs={tmp_path}", f"maps.file={path}"])
    follow("configs/multi4.yaml", [*drawn, "split.train=0.4", "split.validation=0.3"], ["mass"], path, tmp_path)
    loaded(Path("jobs/maps.py")).main(["show", str(path), "--halo", "0", "--out", str(tmp_path / "shown.png")])
    maps, own, out = open_maps(path), tmp_path / "own", tmp_path / "out"
    own.mkdir()
    for view in load_config(Path("configs/multi4.yaml")).model.views:
        header = fits.Header({"R200": "40 pix", "BUNIT": maps.units[view]})
        fits.PrimaryHDU(maps.maps[view][0], header).writeto(own / f"A_1_{view}.fits")
    words = ["configs/multi4.yaml", *drawn, f"runs={tmp_path}", f"maps.file={path}"]
    loaded(Path("jobs/predict.py")).main([*words, "--maps", str(own), "--out", str(out)])
    assert fits.getval(out / "A_1_mass.fits", "BUNIT") == to_file(maps.units["mass"])
    assert fits.getval(out / "A_1_mass.fits", "VIEWS") == "star, sz, xray_soft, xray_hard"


def follow(config: str, overrides: list[str], targets: list[str], map_path: Path, tmp_path: Path) -> None:
    """Train, predict and evaluate."""
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
