"""The sample of a made-up universe: by hand where it is small, by its statistics where it is as large as The300."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.config import Flat, Selection, Simulation, load_config
from hpc_massmap.errors import InputError
from hpc_massmap.sims.sample import (
    describe_sample,
    draw_sample,
    histogram,
    mass_edges,
    matched,
    name_of,
    object_of,
)
from hpc_massmap.sims.selection import Halo, find_sources
from tests.sims.files import EXAMPLE, all_candidates
from tests.sims.universe import GADGET, SIMBA, halo, universe

BOTH = [GADGET, SIMBA]
TWO_BINS = Selection(m200_max=10**14.5, flat=Flat(bin_width=0.5, per_bin=2))  # 13.5 to 14, 14 to 14.5


def flat(per_bin: int | None, seed: int = 0) -> Selection:
    return Selection(flat=Flat(per_bin=per_bin, seed=seed))


def names(halos: list[Halo]) -> list[str]:
    return [name_of(one) for one in halos]


def drawn(candidates: list[Halo], selection: Selection, simulation: str) -> list[Halo]:
    return [one for one in draw_sample(candidates, selection, BOTH) if one.source.simulation == simulation]


@pytest.fixture(scope="module")
def regions() -> list[Halo]:
    return universe(40)


def test_a_sparse_bin_is_filled_with_fresh_objects_before_it_repeats_one() -> None:
    candidates = [
        halo(13.6, snapshot=128, halo_id=1, x=0),  # one group today, and in two earlier snapshots
        halo(13.6, snapshot=127, halo_id=1, x=100),
        halo(13.6, snapshot=126, halo_id=1, x=200),
        halo(14.01, snapshot=128, halo_id=2, x=9000),  # three clusters today, of which the bin takes two ...
        halo(14.01, snapshot=128, halo_id=3, x=18000),
        halo(14.01, snapshot=128, halo_id=4, x=27000),
        halo(13.99, snapshot=126, halo_id=2, x=9100),  # ... that were groups in a later one of those snapshots
        halo(13.99, snapshot=126, halo_id=3, x=18100),
        halo(13.99, snapshot=126, halo_id=4, x=27100),
    ]
    sample = draw_sample(candidates, TWO_BINS, [GADGET])
    today = {one.halo_id for one in sample if one.source.snapshot == 128}
    (thinned,) = {2, 3, 4} - today
    assert 1 in today
    assert [(one.source.snapshot, one.halo_id) for one in sample if one.source.snapshot < 128] == [(126, thinned)]

    more = TWO_BINS.model_copy(update={"flat": Flat(bin_width=0.5, per_bin=3)})  # nothing is fresh now
    *today_all, earlier, earliest = sorted(
        ((one.source.snapshot, one.halo_id) for one in draw_sample(candidates, more, [GADGET])), reverse=True
    )
    assert today_all == [(128, 4), (128, 3), (128, 2), (128, 1)]
    assert earlier == (127, 1)  # the later of what would be a second time; a third time of the same waits
    assert earliest in {(126, 2), (126, 3), (126, 4)}


def test_an_object_is_followed_back_by_place_and_mass() -> None:
    main, merging = halo(14.5, snapshot=128, halo_id=1, x=0), halo(14.4, snapshot=127, halo_id=1, x=-50)
    satellite = halo(13.8, snapshot=127, halo_id=2, x=20)  # nearer, but of another mass
    earlier = halo(14.3, snapshot=125, halo_id=7, x=-200)  # it is not in snapshot 126
    elsewhere = halo(14.5, snapshot=127, halo_id=3, x=1100)
    other_region = halo(14.4, "r2", snapshot=127, halo_id=1, x=0)
    found = object_of([earlier, satellite, merging, main, elsewhere, other_region])
    objects = [found[name_of(one)] for one in (main, merging, earlier, satellite, elsewhere, other_region)]
    assert objects == names([main, main, main, satellite, elsewhere, other_region])


def test_every_region_of_the_example_is_one_object_at_five_times() -> None:
    simulation = Simulation(name="g", folder=EXAMPLE, region="region_*", snapshots=[102, 103, 104, 105, 106])
    halos = all_candidates(find_sources([simulation]), Selection(m200_min=1e13))
    objects = object_of(halos)
    assert len(halos) == 171
    assert len({(one.source.region, objects[name_of(one)]) for one in halos}) == 36


def test_matches_are_the_closest_pairs_of_a_slow_twin() -> None:
    rng = np.random.default_rng(2)
    groups = [
        [halo(m, halo_id=n, x=x) for n, (m, x) in enumerate(rng.uniform((14, 0), (15, 8000), (20, 2)))] for _ in "ab"
    ]
    left, right, expected = set(range(20)), set(range(20)), []
    while True:
        pairs = [
            (abs(a.centre[0] - b.centre[0]) / 1000 + abs(np.log2(a.m200 / b.m200)), n, m)
            for n, a in enumerate(groups[0])
            for m, b in enumerate(groups[1])
            if n in left and m in right and abs(a.centre[0] - b.centre[0]) < 1000 and 0.5 < a.m200 / b.m200 < 2
        ]
        if not pairs:
            break
        _, n, m = min(pairs)
        expected.append((n, m))
        left.remove(n)
        right.remove(m)
    assert len(expected) > 10
    assert matched(*groups) == expected


def test_the_sample_is_flat_as_far_as_there_are_clusters(regions: list[Halo]) -> None:
    selection = flat(12)
    assert selection.flat is not None
    edges = mass_edges(selection, selection.flat)
    np.testing.assert_allclose(edges, np.arange(13.5, 15.51, 0.1))
    sample = drawn(regions, selection, "GADGET-X")
    offered = histogram([one for one in regions if one.source.simulation == "GADGET-X"], edges)
    np.testing.assert_array_equal(histogram(sample, edges), np.minimum(offered, 12))
    assert len(set(names(sample))) == len(sample)
    expected = np.histogram(np.log10([one.m200 for one in sample]), edges)[0]
    np.testing.assert_array_equal(histogram(sample, edges), expected)


def test_thinning_prefers_no_mass_no_region_and_not_the_past(regions: list[Halo]) -> None:
    group_bins = Selection(m200_max=10**13.9, flat=Flat(bin_width=0.1, per_bin=60))
    of_groups = [one for one in regions if one.m200 < 10**13.9]
    sample = drawn(of_groups, group_bins, "GADGET-X")
    assert {one.source.snapshot for one in sample} == {128}
    assert len(sample) == 4 * 60
    within = np.modf((np.log10([one.m200 for one in sample]) - 13.5) * 10)[0]
    assert abs(within.mean() - 0.5) < 4 / np.sqrt(12 * len(sample))  # four sigma; the candidates' slope adds 0.02
    number = [int(one.source.region[-4:]) for one in sample]
    assert abs(np.mean(number) - 19.5) < 4 * 40 / np.sqrt(12 * len(sample))


def test_the_counterpart_sample_has_the_same_histogram_and_prefers_true_counterparts(regions: list[Halo]) -> None:
    edges = mass_edges(flat(12), Flat())
    first, second = (drawn(regions, flat(12), simulation.name) for simulation in BOTH)
    found, offered = (
        histogram(second, edges),
        histogram([h for h in regions if h.source.simulation == SIMBA.name], edges),
    )
    np.testing.assert_array_equal(found, np.minimum(histogram(first, edges), offered))
    fillable = offered >= histogram(first, edges)
    assert fillable[:16].all()
    twins = {(h.source.region, h.source.snapshot, h.halo_id) for h in first}
    true = np.mean([(h.source.region, h.source.snapshot, h.halo_id) in twins for h in second])
    assert true > 0.6  # the rest fell into another bin


def test_the_counterpart_sample_stays_as_short_as_the_first() -> None:
    first = [halo(13.6), halo(14.0, halo_id=2, x=9000)]  # 14 itself belongs to the upper bin
    other = [halo(mass, halo_id=n, x=1e5 * n, simulation=SIMBA.name) for n, mass in enumerate([13.6, 13.7, 14.1, 14.2])]
    sample = draw_sample(first + other, TWO_BINS, BOTH)
    assert histogram(sample[:2], np.array([13.5, 14.0, 14.5])).tolist() == [1, 1]
    assert [one.m200 > 1e14 for one in sample[2:]] == [False, True]


def test_a_code_that_numbers_its_snapshots_differently_has_counterparts_too() -> None:
    simulations = [GADGET, SIMBA.model_copy(update={"snapshots": [snapshot - 100 for snapshot in GADGET.snapshots]})]
    of_first = [one for one in universe(10) if one.source.simulation == GADGET.name]
    of_other = [
        replace(one, source=replace(one.source, simulation=SIMBA.name, snapshot=one.source.snapshot - 100))
        for one in of_first
    ]
    sample = draw_sample(of_first + of_other, flat(5), simulations)
    which = [(one.source.region, one.source.snapshot % 100, one.halo_id) for one in sample]
    assert which[: len(which) // 2] == which[len(which) // 2 :]


def test_the_order_of_the_candidates_changes_nothing(regions: list[Halo]) -> None:
    expected = names(draw_sample(regions, flat(12), BOTH))
    for seed in (1, 2):
        shuffled = random.Random(seed).sample(regions, len(regions))
        assert names(draw_sample(shuffled, flat(12), BOTH)) == expected
    assert names(draw_sample(regions, flat(12, seed=1), BOTH)) != expected
    everything = [(h.source.simulation, h.source.region, h.source.snapshot, h.halo_id) for h in regions]
    without = [
        (h.source.simulation, h.source.region, h.source.snapshot, h.halo_id)
        for h in draw_sample(shuffled, Selection(), BOTH)
    ]
    assert without == sorted(everything)  # GADGET before GIZMO, snapshots ascending, as in the config


def test_a_new_region_takes_its_own_share_and_leaves_the_rest() -> None:
    before = set(names(drawn(universe(40), flat(12), "GADGET-X")))
    after = set(names(drawn(universe(41), flat(12), "GADGET-X")))
    of_new = {name for name in after if "region_0040" in name}
    assert 0 < len(of_new) < 30
    assert len(before - after) <= 2 * len(of_new)
    assert len(after - before - of_new) <= len(of_new)


def test_the_number_a_bin_should_hold_is_the_median_bin_of_the_latest_snapshot() -> None:
    masses = [13.55] * 5 + [13.65] * 3 + [13.75] + [13.95] * 2  # bins of 5, 3, 1, 0, 2
    candidates = [halo(mass, halo_id=n, x=1e4 * n) for n, mass in enumerate(masses)]
    candidates += [halo(13.85, snapshot=127, halo_id=50 + n, x=1e6 * (n + 1)) for n in range(9)]
    sample = draw_sample(candidates, flat(None), [GADGET])
    counts = histogram(sample, mass_edges(flat(None), Flat()))
    assert counts[:6].tolist() == [2, 2, 1, 2, 2, 0]


def test_the_description_counts_what_was_wanted_and_what_was_found() -> None:
    candidates = [halo(13.6, snapshot=s, x=5.0 * s) for s in (128, 127, 126)]
    candidates += [halo(14.2, halo_id=2, x=9000), halo(13.7, simulation="GIZMO-SIMBA")]
    sample = draw_sample(candidates, TWO_BINS, BOTH)
    assert describe_sample(sample, candidates, TWO_BINS, BOTH).splitlines() == [
        "GADGET-X: 3 halos of 4 candidates, 2 objects; by snapshot 128: 2, 127: 1",
        "  4 wanted in 2 bins of log10 M200, fewer found in 14.00 to 14.50: 1 of 2",
        "GIZMO-SIMBA: 1 halos of 1 candidates, 1 objects; by snapshot 128: 1",
        "  3 wanted in 2 bins of log10 M200, fewer found in 13.50 to 14.00: 1 of 2, 14.00 to 14.50: 0 of 1",
    ]
    everything = describe_sample(candidates, candidates, Selection(), [GADGET])
    assert everything == "GADGET-X: 4 halos of 4 candidates, 2 objects; by snapshot 128: 2, 127: 1, 126: 1"


def test_a_first_simulation_without_candidates_is_named() -> None:
    with pytest.raises(InputError, match=r"no halo of GADGET-X, the first of `simulations`, passes the cuts"):
        draw_sample([halo(14.0, simulation="GIZMO-SIMBA")], flat(3), BOTH)


def test_the_paper_s_configs_draw_a_flat_sample_and_the_demo_takes_all() -> None:
    for path in Path("configs").glob("*.yaml"):
        if path.stem != "paper":  # which names no views
            selection = load_config(path).selection
            assert (selection.flat is None) == path.stem.startswith(("demo", "leave_one_out", "mock", "rosat_mock"))
            assert selection.flat is None or (selection.flat.bin_width, selection.flat.per_bin) == (0.1, 140)
