"""Whole boxes cut into regions: what belongs together stays together, also through the faces of box and subvolumes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.sims.sample import matched, name_of
from hpc_massmap.sims.selection import CORNER, Halo, find_sources
from hpc_massmap.sims.subvolumes import in_subvolumes, overlapping, places_of
from tests.sims.files import all_candidates
from tests.sims.universe import REDSHIFTS, halo

BOX = 40000.0  # comoving kpc
R200 = 1000.0
CUT = [Simulation(name=name, folder=Path(name), snapshots=list(REDSHIFTS), subvolumes=4) for name in ("A", "B")]


def at(place: tuple[float, float, float], **kinds: object) -> Halo:
    """A halo at a comoving place in a box."""
    found = halo(**{"log_m200": 14.0, "simulation": "A", "region": "box", **kinds})  # type: ignore[arg-type]
    return replace(found, centre=np.array(place) / (1 + found.redshift), box=BOX)


# so that the halos span the box, as those of a whole one do
CORNERS = [at((x, x, x), halo_id=100 + n, log_m200=13.5) for n, x in enumerate((BOX / 4, 4 * BOX / 5))]


def regions(halos: list[Halo], candidates: list[Halo] | None = None) -> list[str]:
    return [found.region for found in in_subvolumes(halos, [*(candidates or halos), *CORNERS], CUT)]


def test_a_halo_is_of_the_cube_it_is_in() -> None:
    halos = [at((5000, 15000, 39999), halo_id=1), at((25000, 5000, 5000), halo_id=2), at((5000, 5000, 5000), halo_id=3)]
    assert regions(halos) == ["box.0.1.3", "box.2.0.0", "box.0.0.0"]


def test_without_subvolumes_a_folder_is_the_region() -> None:
    halos = [at((5000, 5000, 5000), halo_id=1), at((25000, 5000, 5000), halo_id=2)]
    whole = [simulation.model_copy(update={"subvolumes": 1}) for simulation in CUT]
    assert [found.region for found in in_subvolumes(halos, halos, whole)] == ["box", "box"]


def test_halos_whose_maps_share_particles_are_of_the_heaviest_ones_cube() -> None:
    apart = 2 * CORNER * R200
    light = [at((10000 - 100 + x, 5000, 5000), halo_id=n) for n, x in enumerate((0, apart - 1, apart + 1))]
    assert regions([light[0], replace(light[1], m200=2e14)]) == ["box.1.0.0"] * 2
    assert regions([light[0], replace(light[2], m200=2e14)]) == ["box.0.0.0", "box.1.0.0"]


def test_a_chain_of_halos_is_one_and_goes_through_the_faces_of_the_box() -> None:
    xs = [BOX - 5000, BOX - 2000, 1000, 4000]
    chain = [at((x, 5000, 5000), halo_id=n) for n, x in enumerate(xs)]
    chain[0] = replace(chain[0], m200=2e14)
    assert regions(chain) == ["box.3.0.0"] * 4
    assert regions([chain[0], chain[2]]) == ["box.3.0.0", "box.0.0.0"]  # what is between is not in the sample


def test_an_object_is_of_one_region_at_all_times_and_in_both_simulations() -> None:
    now = at((19900, 5000, 5000), log_m200=14.1)
    before = [
        at((19900 + 400 * n, 5000, 5000), snapshot=snapshot) for n, snapshot in enumerate(list(REDSHIFTS)[1:], start=1)
    ]
    sample = [now, before[-1]]
    far = replace(before[-1], centre=before[-1].centre + 2000, r200=10.0)  # so that their maps share nothing
    assert regions([now, far]) == ["box.1.0.0", "box.2.0.0"]
    small = [replace(found, r200=500.0) for found in (now, *before)]
    assert regions([small[0], small[-1]], small) == ["box.1.0.0"] * 2
    counterpart = at((20100, 5000, 5000), simulation="B", log_m200=13.9)
    assert regions([*sample, counterpart], [*sample, *before, counterpart]) == ["box.1.0.0"] * 3


def test_an_object_that_crosses_a_face_of_the_box_is_one() -> None:
    now, before = at((BOX - 50, 5000, 5000)), at((50, 5000, 5000), snapshot=127)
    assert matched([before], [now]) == [(0, 0)]
    assert matched([replace(before, box=0.0)], [now]) == []


def slow_overlapping(places: FloatArray, reach: FloatArray, box: float) -> set[tuple[int, int]]:
    """All pairs, each with all images."""
    shifts = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]) * box
    return {
        (n, m)
        for n in range(len(places))
        for m in range(n + 1, len(places))
        if np.linalg.norm(places[n] - places[m] + shifts, axis=1).min() < reach[n] + reach[m]
    }


def test_pairs_that_overlap_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    places, reach = rng.uniform(0, BOX, (150, 3)), rng.uniform(500, 3000, 150)
    found = {(min(pair), max(pair)) for pair in overlapping(places, reach, BOX).tolist()}
    assert len(found) > 40
    assert found == slow_overlapping(places, reach, BOX)


def test_no_particle_is_in_maps_of_two_regions_of_a_real_box() -> None:
    simulation = Simulation(
        name="A",
        folder=Path("examples/gizmo_box"),
        region="box",
        snapshot="snapshot_{snapshot:03d}.hdf5",
        catalogue="*snap_{snapshot:03d}.z*.AHF_halos",
        snapshots=[6],
        subvolumes=3,
    )
    halos = all_candidates(find_sources([simulation]), Selection(m200_min=10**13))
    found = in_subvolumes(halos, halos, [simulation])
    assert len({one.region for one in found}) > 10
    assert [name_of(one) for one in found] == [name_of(one) for one in halos]
    places, reach = places_of(found), CORNER * np.array([one.r200 * (1 + one.redshift) for one in found])
    for n, m in slow_overlapping(places, reach, found[0].box):
        assert found[n].region == found[m].region


def test_a_region_that_was_cut_out_of_a_box_is_none() -> None:
    halos = [at((5000, 5000, 5000), halo_id=1), at((25000, 25000, 24999), halo_id=2)]
    with pytest.raises(InputError, match=r"its halos span 2e\+04 of the 4e\+04 kpc of its box, so it is a region"):
        in_subvolumes(halos, halos, CUT)


@pytest.mark.parametrize(
    ("second", "cuts", "message"),
    [
        ({"box": 0.0}, (4, 4), r"snap: is no periodic box \(BoxSize 0\); leave simulations.subvolumes out"),
        ({"box": 2 * BOX}, (4, 4), "its box has 80000 kpc, but that of A/box/snap 40000; regions of one name"),
        ({}, (4, 1), "A has subvolumes: 4 and B 1, but both have a region box; give them the same"),
    ],
)
def test_what_is_no_box_is_one_line(second: dict[str, float], cuts: tuple[int, int], message: str) -> None:
    halos = [at((5000, 5000, 5000)), replace(at((5000, 5000, 5000), simulation="B"), **second)]  # type: ignore[arg-type]
    simulations = [one.model_copy(update={"subvolumes": n}) for one, n in zip(CUT, cuts, strict=True)]
    with pytest.raises(InputError, match=message):
        in_subvolumes(halos, halos, simulations)
