"""The sample: drawn from the candidates so that their masses are flat in log10 M200 (section 2.1).

Where a bin offers more halos than it needs, a seeded hash of each halo's name decides, so that neither the order of
files nor a new region reshuffles the rest. Catalogues do not say which halos of several snapshots are one object, so
their positions and masses do (`matched`). The massive end offers fewer clusters than a flat sample wants: its bins
stay short, and `describe_sample` says by how many.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import groupby

import numpy as np
from scipy.spatial.distance import cdist

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Flat, Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.sims.selection import Halo

MASS_STEP = np.log10(2)  # dex; no object changes more from one snapshot, or one simulation, to the next

Groups = dict[tuple[str, int], list[Halo]]  # of a region at a time


def draw_sample(candidates: list[Halo], selection: Selection, simulations: list[Simulation]) -> list[Halo]:
    """The halos whose maps are made.

    Without `selection.flat` all candidates. With it, the first simulation's halos are drawn up to the same number in
    every bin, and those of each other simulation to the histogram that came out: counterparts of the first's halos
    where there are any, then others.

    Parameters
    ----------
    candidates : of all simulations, in any order

    Returns
    -------
    In the order of `simulations`, then of regions by name, then of the simulation's snapshots, then of halo ids.

    Raises
    ------
    InputError
        If the first simulation has no candidates.
    """
    if selection.flat is None:
        return _in_order(candidates, simulations)
    edges, seed = mass_edges(selection, selection.flat), selection.flat.seed
    reference, *others = simulations
    wanted = np.full(len(edges) - 1, halos_per_bin(candidates, selection, reference))
    first = _drawn(_of(candidates, reference), wanted, edges, seed)
    sample = list(first)
    for other in others:
        of_other = _of(candidates, other)
        counterparts = _counterparts(_by_time(first, reference), _by_time(of_other, other))
        sample += _drawn(of_other, histogram(first, edges), edges, seed, counterparts)
    return _in_order(sample, simulations)


def mass_edges(selection: Selection, flat: Flat) -> FloatArray:
    """Edges of equal bins in log10 M200/(Msun/h) from the least to the largest mass: (bins + 1,)."""
    low, high = np.log10([selection.m200_min, selection.m200_max])
    return np.linspace(low, high, max(1, round((high - low) / flat.bin_width)) + 1)


def histogram(halos: list[Halo], edges: FloatArray) -> IntArray:
    """How many halos each mass bin holds: (bins,)."""
    return np.bincount(_bins(halos, edges), minlength=len(edges) - 1)


def halos_per_bin(candidates: list[Halo], selection: Selection, reference: Simulation) -> int:
    """How many halos a bin should hold.

    If the config does not say: as many as the median bin of the reference's latest snapshot, up to its heaviest halo.
    Bins below are then thinned, and most above are filled by five or so earlier snapshots.
    """
    flat, of_reference = selection.flat or Flat(), _of(candidates, reference)
    if not of_reference:
        raise InputError(
            f"selection.flat: no halo of {reference.name}, the first of `simulations`, passes the cuts; "
            "the others are drawn to its masses"
        )
    if flat.per_bin is not None:
        return flat.per_bin
    latest = max(halo.source.snapshot for halo in of_reference)
    counts = histogram([h for h in of_reference if h.source.snapshot == latest], mass_edges(selection, flat))
    return max(1, int(np.median(np.trim_zeros(counts))))


def describe_sample(
    sample: list[Halo], candidates: list[Halo], selection: Selection, simulations: list[Simulation]
) -> str:
    """How many halos of each simulation there are, from which snapshots, and which bins have fewer than wanted."""
    lines = []
    for simulation in simulations:
        halos, of_all = _of(sample, simulation), object_of(_of(candidates, simulation))
        snapshots = Counter(halo.source.snapshot for halo in halos)
        lines.append(
            f"{simulation.name}: {len(halos)} halos of {len(of_all)} candidates, "
            f"{len({of_all[name_of(halo)] for halo in halos})} objects; by snapshot "
            + ", ".join(f"{snapshot}: {snapshots[snapshot]}" for snapshot in sorted(snapshots, reverse=True))
        )
    if selection.flat is None:
        return "\n".join(lines)
    edges = mass_edges(selection, selection.flat)
    wanted = np.full(len(edges) - 1, halos_per_bin(candidates, selection, simulations[0]))
    for n, simulation in enumerate(simulations):
        found = histogram(_of(sample, simulation), edges)
        short = [
            f"{edges[b]:.2f} to {edges[b + 1]:.2f}: {found[b]} of {wanted[b]}" for b in np.flatnonzero(found < wanted)
        ]
        lines[n] += f"\n  {wanted.sum()} wanted in {len(wanted)} bins of log10 M200, " + (
            f"fewer found in {', '.join(short)}" if short else "all found"
        )
        wanted = found if n == 0 else wanted
    return "\n".join(lines)


def name_of(halo: Halo) -> str:
    """What tells a halo from every other."""
    return f"{halo.source.simulation}/{halo.source.region}/{halo.source.snapshot}/{halo.halo_id}"


def object_of(halos: list[Halo]) -> dict[str, str]:
    """Name of each halo of one simulation -> name of the latest halo that is the same object.

    Backwards in time, a halo is the object whose last known place and mass it `matched`, else a new one.
    """
    objects: dict[str, str] = {}
    known: dict[str, dict[str, Halo]] = defaultdict(dict)  # region -> object -> its earliest halo so far
    backwards = sorted(halos, key=lambda halo: (halo.source.region, -halo.source.snapshot, halo.halo_id))
    for (region, _), group in groupby(backwards, lambda halo: (halo.source.region, halo.source.snapshot)):
        now, before = list(group), known[region]
        labels = list(before)
        found = {n: labels[m] for n, m in matched(now, list(before.values()))}
        for n, halo in enumerate(now):
            label = found.get(n, name_of(halo))
            objects[name_of(halo)] = label
            before[label] = halo
    return objects


def matched(halos: list[Halo], others: list[Halo]) -> list[tuple[int, int]]:
    """Pairs (n, m) of halos of one region that are one object seen twice, the most alike first, none in two pairs.

    Their comoving centres are less than R200 apart and their masses differ by less than a factor of 2. From one
    snapshot to the next (0.3 Gyr) a halo moves by some 100 kpc, a fifth of the R200 of the lightest group.
    """
    if not halos or not others:
        return []
    distance = _distances(_comoving(halos), _comoving(others), halos[0].box)
    distance /= np.array([halo.r200 * (1 + halo.redshift) for halo in halos])[:, None]
    step = np.abs(np.subtract.outer(_log_m200(halos), _log_m200(others))) / MASS_STEP
    unlike, near = distance + step, np.argwhere((distance < 1) & (step < 1))
    pairs, rows, columns = [], set[int](), set[int]()
    for n, m in sorted(near.tolist(), key=lambda pair: float(unlike[*pair])):
        if n not in rows and m not in columns:
            pairs.append((n, m))
            rows.add(n)
            columns.add(m)
    return pairs


def _drawn(halos: list[Halo], wanted: IntArray, edges: FloatArray, seed: int, first: Iterable[Halo] = ()) -> list[Halo]:
    """Up to `wanted` halos in each bin: those of `first`, then objects drawn least often, then the latest halos."""
    objects, missing, preferred = object_of(halos), wanted.tolist(), {name_of(halo) for halo in first}
    ranked = sorted(zip(map(name_of, halos), _bins(halos, edges).tolist(), halos, strict=True), key=_rank(seed))
    snapshots = sorted({halo.source.snapshot for halo in halos}, reverse=True)
    groups = [[row for row in ranked if row[2].source.snapshot == snapshot] for snapshot in snapshots]
    rounds = [([row for row in ranked if row[0] in preferred], len(groups))]
    rounds += [(group, again) for again in range(len(groups)) for group in groups]
    taken: dict[str, Halo] = {}
    times = Counter[str]()
    for group, again in rounds:
        for name, mass_bin, halo in group:
            if missing[mass_bin] and name not in taken and times[objects[name]] <= again:
                taken[name] = halo
                times[objects[name]] += 1
                missing[mass_bin] -= 1
    return list(taken.values())


def _rank(seed: int) -> Callable[[tuple[str, int, Halo]], bytes]:
    """A place in the queue that depends on nothing but the seed and the halo's name."""
    return lambda row: hashlib.sha256(f"{seed}:{row[0]}".encode()).digest()


def _counterparts(of_first: Groups, of_other: Groups) -> list[Halo]:
    """The other simulation's halos that are one of the first's, in the same region at the same time."""
    found = []
    for when in of_first.keys() & of_other.keys():
        found += [of_other[when][m] for _, m in matched(of_first[when], of_other[when])]
    return found


def _by_time(halos: list[Halo], simulation: Simulation) -> Groups:
    """Halos by region and place of their snapshot, counted back from the latest: the codes may number differently."""
    place = {snapshot: n for n, snapshot in enumerate(sorted(simulation.snapshots, reverse=True))}
    groups: Groups = defaultdict(list)
    for halo in sorted(halos, key=name_of):
        groups[halo.source.region, place[halo.source.snapshot]].append(halo)
    return groups


def _of(halos: list[Halo], simulation: Simulation) -> list[Halo]:
    return [halo for halo in halos if halo.source.simulation == simulation.name]


def _in_order(halos: list[Halo], simulations: list[Simulation]) -> list[Halo]:
    times = ((simulation.name, snapshot) for simulation in simulations for snapshot in simulation.snapshots)
    place = {time: n for n, time in enumerate(times)}
    simulation = {of.name: n for n, of in enumerate(simulations)}

    def key(halo: Halo) -> tuple[int, str, int, int]:
        source = halo.source
        return simulation[source.simulation], source.region, place[source.simulation, source.snapshot], halo.halo_id

    return sorted(halos, key=key)


def _bins(halos: list[Halo], edges: FloatArray) -> IntArray:
    return np.clip(np.searchsorted(edges, _log_m200(halos), side="right") - 1, 0, len(edges) - 2)


def _log_m200(halos: list[Halo]) -> FloatArray:
    return np.log10([halo.m200 for halo in halos]) if halos else np.empty(0)


def _distances(places: FloatArray, others: FloatArray, box: float) -> FloatArray:
    """Between all of two sets of points, (n, m), the short way round where they are in a periodic box."""
    if box <= 0:
        return np.asarray(cdist(places, others))
    apart = (np.abs(np.subtract.outer(places[:, axis], others[:, axis])) % box for axis in range(3))
    return np.sqrt(sum(np.minimum(along, box - along) ** 2 for along in apart))


def _comoving(halos: list[Halo]) -> FloatArray:
    """(n, 3), kpc."""
    return np.array([halo.centre * (1 + halo.redshift) for halo in halos])
