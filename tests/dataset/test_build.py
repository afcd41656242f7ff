"""From real snapshots to a map file, and what does not belong together is refused."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.config import Maps, Selection, Simulation
from hpc_massmap.dataset.build import make_maps
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.sims.selection import Halo, find_sources, select_halos
from hpc_massmap.sims.snapshot import read_snapshot

EXAMPLES = Path("examples/gadget4_L50")
SELECTION = Selection(m200_min=1e13)
CONFIG = Maps(lines_of_sight=3, kernel="cubic_spline", adaptive_smoothing=32)


def simulation(folder: Path, snapshots: list[int]) -> Simulation:
    return Simulation(name="gadget4", folder=folder, region="region_000[12]", snapshots=snapshots)


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    for region in ("region_0001", "region_0002"):
        shutil.copytree(EXAMPLES / region, tmp_path / region)
    return tmp_path


def selected(folder: Path, snapshots: list[int]) -> list[Halo]:
    return select_halos(find_sources([simulation(folder, snapshots)]), SELECTION)


def test_real_halos_become_a_valid_map_file(tmp_path: Path) -> None:
    halos = selected(EXAMPLES, [106, 104])
    drawn: list[int] = []
    make_maps(tmp_path / "maps.h5", halos, CONFIG, lambda: drawn.append(1))
    assert len(drawn) == len(halos) == 4
    maps = open_maps(tmp_path / "maps.h5", check_values=True)
    assert len(maps) == 12
    assert maps.halos["halo_id"].tolist() == [halo.halo_id for halo in halos]
    views = rotations(3)
    np.testing.assert_array_equal(maps.rotations, views)
    pixel_area = (maps.halos["r200"][maps.halo] / 40) ** 2
    total = {name: maps.maps[name].sum((1, 2), dtype=np.float64) * pixel_area for name in maps.maps}
    for row, (h, p) in enumerate(zip(maps.halo, maps.projection, strict=True)):
        particles = read_snapshot(halos[h].source.snapshot_file)
        by_type = []
        for kind in (particles.gas, particles.dark_matter, particles.stars):
            inside = np.all(np.abs((kind.positions - halos[h].centre) @ views[p].T) <= halos[h].r200, axis=1)
            by_type.append(kind.masses[inside].sum())
        assert total["mass"][row] == pytest.approx(sum(by_type), rel=1e-5)  # float32 pixels
        assert total["star"][row] == pytest.approx(by_type[2], rel=1e-5)
        assert total["mass"][row] > halos[h].m200
    assert np.all(maps.maps["star"] <= maps.maps["mass"] * (1 + 1e-5))


def test_threads_and_repetition_change_nothing(tmp_path: Path) -> None:
    halos = selected(EXAMPLES, [106])
    for name in ("a", "b"):
        make_maps(tmp_path / name, halos, CONFIG, lambda: None)
    with h5py.File(tmp_path / "a") as one, h5py.File(tmp_path / "b") as other:
        assert one.attrs["digest"] == other.attrs["digest"]


def test_a_halo_that_is_not_in_its_snapshot(regions: Path) -> None:
    catalogue = next(regions.glob("region_0001/*snap_106*AHF_halos"))
    catalogue.write_text(catalogue.read_text().replace("25000.000", "45000.000"))
    halo = selected(regions, [106])[0]
    with pytest.raises(InputError, match=r"AHF_halos: halo 106\d+ has 0 particles of .*snap_106\.hdf5 inside R200"):
        halo_maps(read_snapshot(halo.source.snapshot_file), halo, CONFIG, rotations(1))


def test_a_mass_in_other_units(regions: Path) -> None:
    with h5py.File(regions / "region_0001" / "snap_106.hdf5", "r+") as file:
        file["PartType0/Masses"][:] *= 0.1
        file["Header"].attrs["MassTable"] = file["Header"].attrs["MassTable"] * 0.1
    halo = selected(regions, [106])[0]
    with pytest.raises(InputError, match="check units and centre of both"):
        halo_maps(read_snapshot(halo.source.snapshot_file), halo, CONFIG, rotations(1))


def test_a_broken_snapshot_leaves_the_old_map_file(regions: Path, tmp_path: Path) -> None:
    target = tmp_path / "maps.h5"
    make_maps(target, selected(regions, [106])[:1], CONFIG, lambda: None)
    before = target.read_bytes()
    halos = selected(regions, [106])
    with h5py.File(regions / "region_0002" / "snap_106.hdf5", "r+") as file:
        file["PartType0/Density"][0] = np.nan
    with pytest.raises(InputError, match=r"region_0002/snap_106\.hdf5: PartType0/Density has values that are not"):
        make_maps(target, halos, CONFIG, lambda: None)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".maps*"))
