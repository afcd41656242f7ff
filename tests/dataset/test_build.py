"""From real snapshots to a map file: parts, how they are joined, and what does not belong together is refused."""

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from hpc_massmap.config import Maps, Selection, Simulation
from hpc_massmap.dataset import build, stacks
from hpc_massmap.dataset.build import make_maps, plan, read_candidates
from hpc_massmap.dataset.mapfile import halo_stacks, open_maps
from hpc_massmap.dataset.parts import digests_of_part, parts_folder, write_part
from hpc_massmap.dataset.writing import consolidate, write_virtual_file
from hpc_massmap.errors import InputError
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.sims.selection import Halo, find_sources, siblings
from hpc_massmap.sims.snapshot import read_snapshot
from tests.sims.files import all_candidates
from tests.synthetic import write_synthetic_maps

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
    return all_candidates(find_sources([simulation(folder, snapshots)]), SELECTION)


def draw(path: Path, halos: list[Halo], config: Maps = CONFIG) -> list[int]:
    done: list[int] = []
    make_maps(path, halos, [], config, MPI.COMM_SELF, done.append)
    return done


def break_gas(regions: Path, region: str) -> None:
    with h5py.File(regions / region / "snap_106.hdf5", "r+") as file:
        file["PartType0/Density"][0] = np.nan


def test_real_halos_become_a_valid_map_file(tmp_path: Path) -> None:
    halos = selected(EXAMPLES, [106, 104])
    done = draw(tmp_path / "maps.h5", halos)
    assert sum(done) == len(halos) == 4
    maps = open_maps(tmp_path / "maps.h5", check_values=True)
    assert len(maps) == 12
    assert maps.halos["halo_id"].tolist() == [halo.halo_id for halo in halos]
    views = rotations(3)
    np.testing.assert_array_equal(maps.rotations, views)
    pixel_area = (maps.halos["r200"][maps.halo] / 40) ** 2
    total = {name: maps.maps[name][:].sum((1, 2), dtype=np.float64) * pixel_area for name in maps.maps}
    for row, (h, p) in enumerate(zip(maps.halo, maps.projection, strict=True)):
        particles = read_snapshot(halos[h].source.snapshot_file)
        by_type = []
        for kind in (particles.gas, particles.dark_matter, particles.stars):
            inside = np.all(np.abs((kind.positions - halos[h].centre) @ views[p].T) <= halos[h].r200, axis=1)
            by_type.append(kind.masses[inside].sum())
        assert total["mass"][row] == pytest.approx(sum(by_type), rel=1e-5)  # float32 pixels
        assert total["star"][row] == pytest.approx(by_type[2], rel=1e-5)
        assert total["mass"][row] > halos[h].m200
    assert np.all(maps.maps["star"][:] <= maps.maps["mass"][:] * (1 + 1e-5))


def test_a_virtual_file_reads_like_the_contiguous_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "first"
    folder.mkdir()
    draw(folder / "maps.h5", selected(EXAMPLES, [106, 104]))
    folder.rename(tmp_path / "moved")  # parts are found beside the file, wherever both are
    path = tmp_path / "moved" / "maps.h5"
    virtual = open_maps(path, check_values=True)
    before = {name: stack[:] for name, stack in virtual.maps.items()}
    rows = np.array([7, 0, 11, 7, 3])
    for name in before:
        with h5py.File(path) as file:  # plain h5py, from another folder than the file's
            np.testing.assert_array_equal(file[f"maps/{name}"][:], before[name])
        np.testing.assert_array_equal(virtual.maps[name][rows], before[name][rows])
        np.testing.assert_array_equal(virtual.maps[name][4], before[name][4])
        np.testing.assert_array_equal(virtual.maps[name][2:9:3], before[name][2:9:3])
        assert virtual.maps[name][rows[:0]].shape == (0, 80, 80)
    consolidate(path)
    shutil.rmtree(parts_folder(path))
    contiguous = open_maps(path, check_values=True)
    assert contiguous.digest == virtual.digest
    for name, stack in contiguous.maps.items():
        assert isinstance(stack, np.memmap)
        np.testing.assert_array_equal(stack, before[name])


@pytest.fixture
def few_files() -> Iterator[None]:
    """A process that may open 30 files more, unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_parts_than_files_may_be_open(tmp_path: Path, few_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "maps.h5"
    write_synthetic_maps(path, regions=40, snapshots=1, projections=1)
    whole = open_maps(path)
    parts = [(parts_folder(path) / f"{h}.h5", 1) for h in range(40)]
    for (part, _), stack in zip(parts, halo_stacks(whole), strict=True):
        write_part(part, "key", [stack])
    tables = whole.halos, whole.rotations, whole.digests, whole.attributes, whole.units, whole.skipped
    write_virtual_file(path, parts, *tables)
    with monkeypatch.context() as strict:
        strict.setattr(stacks, "_allow_many_files", lambda: None)
        with pytest.raises(InputError, match=r"its 40 parts are more files than .*massmap make_maps --consolidate$"):
            open_maps(path)
    consolidate(path)
    assert open_maps(path, check_values=True).digest == whole.digest


def test_a_damaged_part_is_not_consolidated(tmp_path: Path) -> None:
    path = tmp_path / "maps.h5"
    draw(path, selected(EXAMPLES, [106]))
    before = path.read_bytes()
    part = sorted(parts_folder(path).iterdir())[1]
    with h5py.File(part, "r+") as file:
        file["maps/sz"][0, 0, 0] += 1
    with pytest.raises(InputError, match="the maps of halo 1 do not match their digest"):
        consolidate(path)
    assert path.read_bytes() == before
    part.unlink()
    with pytest.raises(InputError, match=r"its part .*region_0002-106-0-[0-9a-f]{12}\.h5 is missing"):
        open_maps(path)


def test_repetition_changes_nothing_and_other_settings_redraw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halos = selected(EXAMPLES, [106])
    path = tmp_path / "maps.h5"
    draw(path, halos)
    parts = sorted(parts_folder(path).iterdir())
    first = [part.read_bytes() for part in parts]
    parts[0].unlink()
    parts[1].write_bytes(first[1][:100])  # what a disk that was full may leave
    (parts_folder(path) / ".old.h5.x.tmp").touch()  # what a killed job leaves
    assert draw(path, halos) == [0, 1, 1]
    assert [part.read_bytes() for part in parts] == first
    assert sorted(parts_folder(path).iterdir()) == parts
    assert draw(path, halos) == [2]
    monkeypatch.setattr(build, "region_maps", lambda *_: pytest.fail("drawn again"))
    assert draw(path, halos) == [2]
    keys = {task.key for task in plan(halos, CONFIG, tmp_path, {})}
    others = CONFIG.model_copy(update={"kernel": "wendland_c4"})
    assert not keys & {task.key for task in plan(halos, others, tmp_path, {})}


@pytest.mark.parametrize(("byte", "bit"), [(25, 3), (38, 7)])  # a size in its heap, and a letter of a digest
def test_a_part_whose_texts_are_damaged_is_none(tmp_path: Path, byte: int, bit: int) -> None:
    part = tmp_path / "part.h5"
    write_part(part, "key", [{"mass": np.ones((1, 80, 80), np.float32)}])
    assert digests_of_part(part, "key") is not None
    data = bytearray(part.read_bytes())
    data[data.index(b"GCOL") + byte] ^= 1 << bit
    part.write_bytes(data)
    assert digests_of_part(part, "key") is None


def test_a_part_that_another_job_removes_is_not_left_out(tmp_path: Path) -> None:
    path, halos = tmp_path / "maps.h5", selected(EXAMPLES, [106])

    def on_halos(number: int) -> None:
        for part in list(parts_folder(path).glob("*.h5"))[:number]:
            part.unlink()

    with pytest.raises(InputError, match=r"region_000\d-106-0-\w+\.h5: was drawn and is gone; if another job makes"):
        make_maps(path, halos, [], CONFIG, MPI.COMM_SELF, on_halos)
    assert not path.exists()


def test_a_large_region_is_drawn_in_several_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "HALOS_PER_TASK", 2)
    halos = selected(EXAMPLES, [106])[:1] * 5
    tasks = plan(halos, CONFIG, tmp_path, {})
    assert [len(task.halos) for task in tasks] == [2, 2, 1]
    assert len({task.part for task in tasks}) == 3


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


def test_a_broken_region_stops_the_job_and_leaves_the_old_map_file(regions: Path, tmp_path: Path) -> None:
    target = tmp_path / "maps.h5"
    draw(target, selected(regions, [106])[:1])
    before = target.read_bytes()
    break_gas(regions, "region_0002")
    with pytest.raises(InputError, match=r"region_0002/snap_106\.hdf5: PartType0/Density .*bad_regions: skip"):
        draw(target, selected(regions, [106]))
    assert target.read_bytes() == before
    assert not list(tmp_path.glob(".maps*"))


def test_a_job_of_other_settings_that_stops_leaves_the_maps_of_the_old_file(regions: Path, tmp_path: Path) -> None:
    target = tmp_path / "maps.h5"
    draw(target, selected(regions, [106])[:1])
    before = open_maps(target).maps["mass"][:]
    break_gas(regions, "region_0002")
    with pytest.raises(InputError, match="bad_regions: skip"):
        draw(target, selected(regions, [106]), CONFIG.model_copy(update={"adaptive_smoothing": None}))
    np.testing.assert_array_equal(open_maps(target, check_values=True).maps["mass"][:], before)


def test_a_broken_region_is_skipped_if_asked_and_the_file_says_why(regions: Path, tmp_path: Path) -> None:
    path, halos = tmp_path / "maps.h5", selected(regions, [106])
    break_gas(regions, "region_0001")
    skip = CONFIG.model_copy(update={"bad_regions": "skip"})
    draw(path, halos, skip)
    maps = open_maps(path, check_values=True)
    assert maps.halos["region"].tolist() == ["region_0002"]
    (reason,) = maps.skipped
    assert "region_0001/snap_106.hdf5: PartType0/Density has values that are not finite" in reason
    consolidate(path)
    assert open_maps(path).skipped == [reason]
    break_gas(regions, "region_0002")
    with pytest.raises(InputError, match=r"none of the 2 regions can be drawn; the first: .*not finite"):
        draw(path, selected(regions, [106]), skip)


def test_a_region_whose_catalogue_cannot_be_read_is_skipped_too(regions: Path) -> None:
    catalogue = next(regions.glob("region_0002/*snap_106*AHF_halos"))
    catalogue.write_text("nothing")
    sources = find_sources([simulation(regions, [106])])
    skip = CONFIG.model_copy(update={"bad_regions": "skip"})
    halos, unread = read_candidates(sources, SELECTION, skip, MPI.COMM_SELF)
    assert {halo.source.region for halo in halos} == {"region_0001"}
    assert [reason.startswith(f"{catalogue}: ") for reason in unread] == [True]
    with pytest.raises(InputError, match="AHF_halos: not an AHF catalogue"):
        read_candidates(sources, SELECTION, CONFIG, MPI.COMM_SELF)


def test_a_snapshot_of_several_files_is_known_by_all_of_them(tmp_path: Path) -> None:
    for name in ("snap_001.0.hdf5", "snap_001.1.hdf5", "snap_001.10.hdf5", "snap_002.0.hdf5", "snap_001.hdf5"):
        (tmp_path / name).touch()
    names = [path.name for path in siblings(tmp_path / "snap_001.0.hdf5")]
    assert names == ["snap_001.0.hdf5", "snap_001.1.hdf5", "snap_001.10.hdf5"]
    assert siblings(tmp_path / "snap_001.hdf5") == [tmp_path / "snap_001.hdf5"]


def test_ids_of_64_bits_come_back_whole(regions: Path, tmp_path: Path) -> None:
    catalogue = next(regions.glob("region_0001/*snap_106*AHF_halos"))
    catalogue.write_text(catalogue.read_text().replace("106000000000001", "9223372036854788153"))
    draw(tmp_path / "maps.h5", selected(regions, [106]), CONFIG.model_copy(update={"lines_of_sight": 1}))
    ids = open_maps(tmp_path / "maps.h5", check_values=True).halos["halo_id"].tolist()
    assert ids == [9223372036854788153, 106000000000001]


def test_a_map_file_is_found_whole_through_a_link(tmp_path: Path) -> None:
    """Its parts are beside the file and not beside the link; a part that is gone is named."""
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    store.mkdir()
    elsewhere.mkdir()
    draw(store / "maps.h5", selected(EXAMPLES, [106]))
    link = elsewhere / "maps.h5"
    link.symlink_to(store / "maps.h5")
    through, direct = open_maps(link, check_values=True), open_maps(store / "maps.h5")
    np.testing.assert_array_equal(through.maps["mass"][:], direct.maps["mass"][:])
    part = min((store / "maps.h5.parts").iterdir())
    part.unlink()
    with pytest.raises(InputError, match=rf"^{link}: its part .*{part.name} is missing; put it back"):
        open_maps(link)
