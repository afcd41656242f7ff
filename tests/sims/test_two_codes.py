"""The example's two codes, and a genuine catalogue: what is an object of the sample, and which are counterparts."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from hpc_massmap.config import Selection, load_config
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import region_maps
from hpc_massmap.sims.catalogue import read_catalogue
from hpc_massmap.sims.sample import matched
from hpc_massmap.sims.selection import Halo, find_sources
from hpc_massmap.sims.snapshot import read_snapshot
from tests.sims.files import EXAMPLE, all_candidates

CONFIG = load_config(Path("configs/demo_two.yaml"))
GIZMO = EXAMPLE.parent / "gizmo_L50"


def test_regions_of_one_name_hold_counterparts() -> None:
    halos = all_candidates(find_sources(CONFIG.simulations), CONFIG.selection)
    of_code: dict[str, dict[tuple[str, int], list[Halo]]] = defaultdict(lambda: defaultdict(list))
    for halo in halos:
        of_code[halo.source.simulation][halo.source.region, halo.source.snapshot].append(halo)
    gadget, gizmo = of_code["GADGET-4"], of_code["GIZMO"]
    assert {name: sum(map(len, of.values())) for name, of in of_code.items()} == {"GADGET-4": 171, "GIZMO": 163}
    both = gadget.keys() & gizmo.keys()
    pairs = [(gadget[key][n], gizmo[key][m]) for key in both for n, m in matched(gadget[key], gizmo[key])]
    assert len(pairs) > 0.9 * len(both)
    ratio = np.median([other.m200 / one.m200 for one, other in pairs])
    assert 0.93 < ratio < 0.99
    assert np.median([other.f_gas / one.f_gas for one, other in pairs]) < 0.6
    assert np.median([other.f_star for _, other in pairs]) > 4 * np.median([one.f_star for one, _ in pairs])


def test_subhalos_of_a_genuine_catalogue_are_no_objects() -> None:
    """Of those above the least mass, by AHF's own word."""
    paths = sorted(GIZMO.glob("region_*/*AHF_halos"))
    catalogues = [read_catalogue(path) for path in paths]
    heavy = [(c, row) for c in catalogues for row in np.flatnonzero(c.m200 >= CONFIG.selection.m200_min).tolist()]
    hosted = [c.ovdens[row] for c, row in heavy if c.hosted[row]]
    assert len(hosted) > 5
    assert min(hosted) > 300
    kept = all_candidates(find_sources(CONFIG.simulations[1:]), CONFIG.selection)
    assert len(kept) <= len(heavy) - len(hosted)
    every = CONFIG.selection.model_copy(update={"subhalos": True})
    assert len(all_candidates(find_sources(CONFIG.simulations[1:]), every)) == len(heavy)


def test_a_region_of_gizmo_has_the_mass_of_its_catalogue() -> None:
    latest = [source for source in find_sources(CONFIG.simulations[1:]) if source.snapshot == 106]
    (halo, *_) = all_candidates(latest[:1], Selection(m200_min=5e13))
    snapshot = read_snapshot(halo.source.snapshot_file)
    inside = sum(
        part.masses[np.linalg.norm(part.positions - halo.centre, axis=1) <= halo.r200].sum()
        for part in (snapshot.gas, snapshot.dark_matter, snapshot.stars)
    )
    np.testing.assert_allclose(inside / halo.m200, 1, atol=5e-3)
    assert snapshot.gas.wind is not None
    (maps,) = region_maps([halo], CONFIG.maps, rotations(29)[:1], {})
    assert all(stack.min() >= 0 and stack.max() > 0 for stack in maps.values())
