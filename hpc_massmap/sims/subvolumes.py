"""The regions of a whole box: its subvolumes, which the split keeps apart as it does the regions of a zoom-in suite.

A box that is cut into cubes cuts through what lies at their faces. A halo is therefore of the cube of the heaviest one
that it belongs together with: the same object at another time or in another simulation, and all whose maps may show
the same particles. So no object, and no particle, is in maps of two regions.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.sims.sample import name_of, object_of
from hpc_massmap.sims.selection import CORNER, Halo

SAME = 1e-4  # of the sides of two boxes


def in_subvolumes(sample: list[Halo], candidates: list[Halo], simulations: list[Simulation]) -> list[Halo]:
    """The sample, in its order, its halos of whole boxes with the subvolume that each belongs to for their region.

    Parameters
    ----------
    candidates : among them the sample; what is one object at two times may be told by others of them

    Raises
    ------
    InputError
        If a simulation with subvolumes is no whole periodic box, or another one of the same region is cut otherwise.
    """
    cuts = {simulation.name: simulation.subvolumes for simulation in simulations}
    found: dict[str, str] = {}
    drawn = {name_of(halo) for halo in sample}
    for region, group in groupby(sorted(candidates, key=_region), _region):
        halos = list(group)
        if any(cuts[halo.source.simulation] > 1 for halo in halos):
            _check_boxes(halos, cuts)
            found |= _subvolumes(region, halos, drawn, cuts[halos[0].source.simulation])
    return [replace(halo, subvolume=found.get(name_of(halo))) for halo in sample]


def _region(halo: Halo) -> str:
    return halo.source.region


def _check_boxes(halos: list[Halo], cuts: dict[str, int]) -> None:
    first = halos[0]
    for halo in halos:
        file, of_first = halo.source.snapshot_file, first.source
        if cuts[halo.source.simulation] != cuts[of_first.simulation]:
            raise InputError(
                f"simulations: {of_first.simulation} has subvolumes: {cuts[of_first.simulation]} and "
                f"{halo.source.simulation} {cuts[halo.source.simulation]}, but both have a region "
                f"{halo.source.region}; give them the same"
            )
        if halo.box <= 0:
            raise InputError(f"{file}: is no periodic box (BoxSize 0); leave simulations.subvolumes out")
        if not np.isclose(halo.box, first.box, rtol=SAME):
            raise InputError(
                f"{file}: its box has {halo.box:.6g} kpc, but that of {of_first.snapshot_file} {first.box:.6g}; "
                "regions of one name are counterparts"
            )
    spanned = np.ptp(places_of(halos), axis=0).min()
    if spanned < first.box / 2:
        raise InputError(
            f"{first.source.snapshot_file}: its halos span {spanned:.4g} of the {first.box:.4g} kpc of its box, so it "
            "is a region of it and not the whole; leave simulations.subvolumes out"
        )


def _subvolumes(region: str, halos: list[Halo], drawn: set[str], n: int) -> dict[str, str]:
    """The subvolume of each halo of a box that was drawn, n^3 in all, by its name."""
    row = {name_of(halo): place for place, halo in enumerate(halos)}
    shown = np.array([row[name_of(halo)] for halo in halos if name_of(halo) in drawn], int)
    if not len(shown):
        return {}
    places, reach = places_of(halos), CORNER * np.array([halo.r200 * (1 + halo.redshift) for halo in halos])
    links = np.concatenate([_same_objects(halos, row), shown[overlapping(places[shown], reach[shown], halos[0].box)]])
    group = connected_components(coo_array((np.ones(len(links)), links.T), shape=(len(halos), len(halos))))[1]
    m200 = np.array([halo.m200 for halo in halos])
    heaviest = {group[place]: place for place in np.argsort(m200, kind="stable").tolist()}
    cubes = np.minimum((places / halos[0].box * n).astype(int), n - 1)
    of_group = {of: ".".join(map(str, [region, *cubes[place].tolist()])) for of, place in heaviest.items()}
    return {name_of(halos[place]): of_group[group[place]] for place in shown.tolist()}


def places_of(halos: list[Halo]) -> FloatArray:
    """Where halos are in their box, (n, 3) comoving kpc in [0, box)."""
    places = np.array([halo.centre * (1 + halo.redshift) for halo in halos]) % halos[0].box
    return np.where(places < halos[0].box, places, 0.0)  # what is a rounding below 0 becomes the side itself


def overlapping(places: FloatArray, reach: FloatArray, box: float) -> IntArray:
    """Pairs of spheres of a periodic box that overlap, (pairs, 2): at `places`, (n, 3) in [0, box), of radii (n,)."""
    pairs = KDTree(places, boxsize=box).query_pairs(2 * reach.max(), output_type="ndarray")
    apart = np.abs(places[pairs[:, 0]] - places[pairs[:, 1]])
    distance = np.linalg.norm(np.minimum(apart, box - apart), axis=1)
    return np.asarray(pairs[distance < reach[pairs].sum(axis=1)], int)


def _same_objects(halos: list[Halo], row: dict[str, int]) -> IntArray:
    """Each halo and the latest that is the same object, (n, 2)."""

    def of_simulations() -> Iterator[tuple[int, int]]:
        for simulation in {halo.source.simulation for halo in halos}:
            objects = object_of([halo for halo in halos if halo.source.simulation == simulation])
            yield from ((row[name], row[latest]) for name, latest in objects.items())

    return np.array(list(of_simulations()), int)
