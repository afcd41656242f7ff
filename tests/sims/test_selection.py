import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hpc_massmap.config import Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.sims.selection import check_some_are_left, find_sources, sources_digest
from tests.sims.files import EXAMPLE, all_candidates, fitting, radius_of, write_catalogue, write_snapshot

REDSHIFTS = {7: 1.0, 9: 0.0}


def simulation(folder: Path, **other: Any) -> Simulation:
    return Simulation(name="made-up", folder=folder, region="region_*", snapshots=[9, 7], **other)


@pytest.fixture
def regions(tmp_path: Path) -> Path:
    """Two regions with snapshots 9 and 7, of one and two halos."""
    for region in ("region_2", "region_1"):
        for snapshot, redshift in REDSHIFTS.items():
            write_snapshot(tmp_path / region / f"snap_{snapshot:03d}.hdf5", redshift)
            halos = [fitting(redshift, ID=f"{snapshot}1", Mvir="4e13")]
            if region == "region_1":
                halos.append(fitting(redshift, ID=f"{snapshot}2", Mvir="8e13"))
            write_catalogue(tmp_path / region / f"{region}.snap_{snapshot:03d}.z{redshift:.3f}.AHF_halos", *halos)
    return tmp_path


def test_the_order_is_region_then_snapshot_then_catalogue(regions: Path) -> None:
    halos = all_candidates(find_sources([simulation(regions)]), Selection())
    rows = [(halo.source.region, halo.source.snapshot, halo.halo_id) for halo in halos]
    assert rows[:4] == [("region_1", 9, 91), ("region_1", 9, 92), ("region_1", 7, 71), ("region_1", 7, 72)]
    assert rows[4:] == [("region_2", 9, 91), ("region_2", 7, 71)]
    assert {halo.source.simulation for halo in halos} == {"made-up"}


def test_lengths_become_physical_and_lose_h(regions: Path) -> None:
    today, _, early = all_candidates(find_sources([simulation(regions)]), Selection())[:3]
    r200, early_r200 = (float(radius_of("4e13", redshift)) for redshift in (0.0, 1.0))  # comoving kpc/h
    assert (today.r200, early.r200) == (2 * r200, early_r200)  # h = 0.5, a = 1 and 0.5
    assert today.r500 == pytest.approx(0.64 * today.r200, rel=1e-5)
    assert today.centre.tolist() == [200, 200, 200]
    assert early.centre.tolist() == [100, 100, 100]
    assert (early.redshift, early.m200) == (1.0, 4e13)
    assert (today.f_gas, today.f_star) == (0.125, 0.0125)


def test_the_mass_cuts_and_contamination(regions: Path) -> None:
    sources = find_sources([simulation(regions)])
    heavy = all_candidates(sources, Selection(m200_min=5e13))
    assert {halo.m200 for halo in heavy} == {8e13}
    assert {halo.m200 for halo in all_candidates(sources, Selection(m200_max=5e13))} == {4e13}
    write_catalogue(sources[0].catalogue_file, fitting(fMhires="0.999"), fitting(ID="3"))
    assert [halo.halo_id for halo in all_candidates(sources[:1], Selection())] == [3]
    assert len(all_candidates(sources[:1], Selection(uncontaminated=False))) == 2


def test_an_empty_sample_says_which_cut_removed_how_many(regions: Path) -> None:
    sources = find_sources([simulation(regions)])
    write_catalogue(sources[0].catalogue_file, {"fMhires": "0.9", "Mvir": "6e13"})
    with pytest.raises(InputError) as error:
        check_some_are_left([], sources, Selection(m200_min=5e13, m200_max=7e13))
    assert str(error.value) == (
        "selection: none of the 5 halos in 4 catalogues is left: m200_min = 5e+13 removed 3, "
        "m200_max = 7e+13 removed 1, uncontaminated (fMhires == 1) removed 1"
    )


def test_a_region_may_lack_a_whole_snapshot_but_not_half_of_it(regions: Path) -> None:
    snapshot = regions / "region_2" / "snap_007.hdf5"
    catalogue = regions / "region_2" / "region_2.snap_007.z1.000.AHF_halos"
    snapshot.rename(regions / "kept")
    with pytest.raises(InputError, match=f"^{catalogue}: its snapshot snap_007.hdf5 is missing$"):
        find_sources([simulation(regions)])
    catalogue.unlink()
    assert [(s.region, s.snapshot) for s in find_sources([simulation(regions)])] == [
        ("region_1", 9),
        ("region_1", 7),
        ("region_2", 9),
    ]
    (regions / "kept").rename(snapshot)
    with pytest.raises(InputError, match=rf"^{snapshot}: its halo catalogue \*snap_007.\*z\*.AHF_halos is missing$"):
        find_sources([simulation(regions)])


def test_patterns_that_fit_nothing_or_too_much(regions: Path) -> None:
    with pytest.raises(InputError, match=rf"^{regions}/none: no folder named region_\*"):
        find_sources([simulation(regions / "none")])
    with pytest.raises(InputError, match="hold none of the snapshots"):
        find_sources([simulation(regions, snapshot="s{snapshot}.h5", catalogue="c{snapshot}")])
    with pytest.raises(InputError, match="is no file pattern"):
        find_sources([simulation(regions, snapshot="s{number}.h5")])
    write_catalogue(regions / "region_1" / "copy.snap_009.z0.000.AHF_halos", {})
    with pytest.raises(InputError, match=r"both copy\.snap_009\.z0\.000\.AHF_halos and region_1\.snap_009"):
        find_sources([simulation(regions)])


def test_no_snapshot_is_taken_twice(regions: Path) -> None:
    twice = simulation(regions).model_copy(update={"snapshots": [9, 7, 9]})
    with pytest.raises(
        InputError, match=r"snap_009\.hdf5: is snapshot 9 of region_1 of made-up, as .*snap_009\.hdf5; ev"
    ):
        find_sources([twice])
    with pytest.raises(InputError, match="is snapshot 9 of region_1 of made-up, as"):
        find_sources([simulation(regions), simulation(regions)])
    shutil.copytree(regions / "region_1", regions / "more" / "region_1")
    nested = simulation(regions.parent).model_copy(update={"region": f"{regions.name}/**/region_*"})
    with pytest.raises(InputError, match=r"/region_1/snap_009\.hdf5: is .* as .*/more/region_1/snap_009\.hdf5; every"):
        find_sources([nested])
    for files in ({"snapshot": "snap_009.hdf5"}, {"catalogue": "*snap_009.z*.AHF_halos"}):
        with pytest.raises(InputError, match=r"snap_009\..*: would be snapshot 9 and snapshot 7 of made-up; use "):
            find_sources([simulation(regions, **files)])


def test_the_digest_knows_a_changed_file(regions: Path) -> None:
    sources = find_sources([simulation(regions)])
    before = sources_digest(sources)
    assert sources_digest(find_sources([simulation(regions)])) == before
    os.utime(sources[1].snapshot_file, ns=(0, 0))
    assert sources_digest(sources) != before


def test_the_example_sample() -> None:
    gadget = Simulation(name="g", folder=EXAMPLE, region="region_*", snapshots=[101, 102, 103, 104, 105, 106])
    sources = find_sources([gadget])  # 101 is not there
    assert len(sources) == 36 * 5
    assert len(all_candidates(sources, Selection(m200_min=1e13))) == 171


@pytest.mark.parametrize("pattern", ["*snap_{snapshot:03d}.*z*.AHF_halos", "*snap_{snapshot:03d}.0000.z*.AHF_halos"])
def test_the_files_of_several_ranks_are_one_source(pattern: str, tmp_path: Path) -> None:
    folder = tmp_path / "region_1"
    whole = write_catalogue(folder / "all", *(fitting(ID=str(n)) for n in (1, 2))).read_text().splitlines(keepends=True)
    parts = [folder / f"box.snap_009.{rank:04d}.z0.000.AHF_halos" for rank in range(2)]
    for part, lines in zip(parts, (whole[:2], whole[2:]), strict=True):
        part.write_text("".join(lines))
    write_snapshot(folder / "snap_009.hdf5")
    sources = find_sources([Simulation(name="m", folder=tmp_path, region="region_*", snapshots=[9], catalogue=pattern)])
    assert [source.catalogue_file for source in sources] == [parts[0]]
    assert [halo.halo_id for halo in all_candidates(sources, Selection())] == [1, 2]
    before = sources_digest(sources)
    os.utime(parts[1], ns=(0, 0))
    assert sources_digest(sources) != before
