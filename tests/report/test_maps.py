"""The figure of a halo's maps shows the right pixels in the right place, and says what they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.patches import Circle

from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.report import style
from hpc_massmap.report.maps import PANEL, maps_figure
from hpc_massmap.views import VIEWS
from tests.synthetic import write_synthetic_maps


@pytest.fixture
def maps(tmp_path: Path) -> MapFile:
    write_synthetic_maps(tmp_path / "maps.h5", regions=3, snapshots=2, projections=2)
    return open_maps(tmp_path / "maps.h5")


def test_a_column_a_halo_a_row_a_map(maps: MapFile) -> None:
    halos, projection = [4, 0, 3], 1
    figure = maps_figure(maps, halos, projection)
    panels = np.array(figure.axes[:12]).reshape(4, 3)
    assert len(figure.axes) == 12 + 4  # and a colour bar a row
    for name, row in zip(VIEWS, panels, strict=True):
        scales = {panel.images[0].norm.vmax for panel in row}
        assert scales == {max(float(maps.maps[name][2 * halo + projection].max()) for halo in halos)}
        for halo, panel in zip(halos, row, strict=True):
            drawn = panel.images[0].get_array()
            np.testing.assert_array_equal(drawn, maps.maps[name][2 * halo + projection].T)  # x along the first axis
            radii = [patch.radius for patch in panel.patches if isinstance(patch, Circle)]
            assert radii == pytest.approx([1, 0.65])
    for halo, panel in zip(halos, panels[0], strict=True):
        m200, region = np.log10(maps.halos["m200"][halo]), maps.halos["region"][halo]
        for part in (f"synthetic, {region}", f"snapshot {100 + halo % 2}", "$z = 0.000$", f"= {m200:.2f}$"):
            assert part in panel.get_title()
        (kpc,) = panel.child_axes
        figure.canvas.draw()
        assert kpc.get_xlim() == pytest.approx((-maps.halos["r200"][halo], maps.halos["r200"][halo]))
    units = [axes.get_ylabel() for axes in figure.axes[12:]]
    assert units[0] == "Compton-$y$"
    assert all(
        style.unit_label(maps.units[name]) in label for name, label in zip(list(VIEWS)[1:], units[1:], strict=True)
    )


def test_a_halo_or_projection_that_is_not_there(maps: MapFile) -> None:
    with pytest.raises(InputError, match="has halos 0 to 5, no 6"):
        maps_figure(maps, [0, 6], 0)
    with pytest.raises(InputError, match="halo 1 has projections 0 to 1, no projection 2"):
        maps_figure(maps, [1], 2)


def test_the_job_writes_a_picture_of_the_right_size(maps: MapFile, tmp_path: Path) -> None:
    command = [sys.executable, "jobs/maps.py", "show", str(maps.path), "--halo", "0", "5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/maps_halo_0_5.png\n"), done.stderr
    height, width, _ = imread(tmp_path / "maps_halo_0_5.png").shape
    assert (height, width) == (round((4 * PANEL + 0.9) * style.DPI), round((2 * PANEL + 1.4) * style.DPI))
