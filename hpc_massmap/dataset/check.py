"""Whether a map file can be right: its schema and pixels, and its totals against the masses of the catalogue.

The cube that is projected holds the sphere of R200, so the pixels inside R200 hold at least M200. M200 and R200 must
fit the redshift and the cosmology (hpc_massmap/sims/consistency.py). A map file does not say how many particles a halo
has, so what few of them do is allowed for. Two passes over the file: one for pixels and totals, of which all faults are
told, and that of `open_maps` for the digest.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.grid import pixel_area, squared_radii
from hpc_massmap.sims.consistency import (
    FEWEST,
    OVERDENSITY,
    check_cosmology,
    check_r500,
    overdensity,
    what_it_may_be,
)
from hpc_massmap.sims.consistency import TOLERANCE as DENSITY_TOLERANCE
from hpc_massmap.sims.particles import Header
from hpc_massmap.views import UNITS

MAPS_PER_BLOCK = 512  # 13 MB of one map
FEW = 10  # halos of one time, of which the densest has enough particles to have its R200 where it should be
ONE_VIEW = 0.05  # of a projected mass: what few particles at the edge take from one view, the others being right
TOLERANCE = 0.01  # of a projected mass: smoothing over the edge, and a circle made of pixels, move less
WIDE_KERNELS = 0.25  # the same for stars with adaptive smoothing: a few dozen have kernels as wide as R200
USUAL_MASS = 1.5  # M200: a median projected mass above it is a wrong unit; NFW halos have 1.05 to 1.15
MOST_BARYONS = 0.3  # of M200: twice the cosmic fraction


@dataclass(frozen=True)
class Totals:
    """What one pass over the pixels finds.

    Attributes
    ----------
    inside : name -> (n_maps,), sum over the pixels inside R200 times a pixel's area in kpc^2, so Msun/h for densities;
        NaN for a map with a bad pixel
    not_finite, negative : name -> (n_maps,), number of such pixels
    """

    inside: dict[str, FloatArray]
    not_finite: dict[str, IntArray]
    negative: dict[str, IntArray]


@dataclass(frozen=True)
class Checked:
    """A map file and what is wrong with it.

    Attributes
    ----------
    mass_ratio : (n_maps,), projected mass inside R200 over M200
    faults : one line each; empty if all is well
    """

    maps: MapFile
    mass_ratio: FloatArray
    faults: list[str]


def sums_inside_r200(maps: FloatArray) -> FloatArray:
    """Sum of the pixels whose centre is inside R200: (n, 80, 80) -> (n,)."""
    disc = squared_radii() <= 1
    return np.asarray(maps.reshape(len(maps), -1).astype(np.float64) @ disc.ravel())


def check_maps(maps: MapFile, on_maps: Callable[[int], None] = lambda count: None) -> Checked:
    """Check every map of a file whose schema `open_maps` found right; `on_maps` is told how many more were read."""
    totals = _totals(maps, on_maps)
    ratio = totals.inside["mass"] / maps.halos["m200"][maps.halo]
    faults = _bad_pixels(maps, totals)
    if not faults:
        faults += _digest(maps)
    density, of_cosmology = _densities(maps)
    faults += [*of_cosmology, *_table(maps), *_of_radii(maps, density), *_masses(maps, ratio, density)]
    faults += _views(maps, totals)
    return Checked(maps, ratio, faults)


def _totals(maps: MapFile, on_maps: Callable[[int], None]) -> Totals:
    names, n_maps = list(maps.maps), len(maps)
    totals = Totals(
        {name: np.zeros(n_maps) for name in names},
        {name: np.zeros(n_maps, np.int64) for name in names},
        {name: np.zeros(n_maps, np.int64) for name in names},
    )
    area = pixel_area(maps.halos["r200"][maps.halo])
    for start in range(0, n_maps, MAPS_PER_BLOCK):
        rows = slice(start, min(start + MAPS_PER_BLOCK, n_maps))
        for name in names:
            block = np.asarray(maps.maps[name][rows])
            finite = np.isfinite(block)
            totals.not_finite[name][rows] = np.sum(~finite, axis=(1, 2))
            totals.negative[name][rows] = np.sum(finite & (block < 0), axis=(1, 2))
            totals.inside[name][rows] = sums_inside_r200(np.where(finite, block, 0)) * area[rows]
        on_maps(rows.stop - start)
    for name in names:
        totals.inside[name][totals.not_finite[name] + totals.negative[name] > 0] = np.nan
    return totals


def halo_name(maps: MapFile, halo: int) -> str:
    """A halo by its row in the table and by what it is."""
    columns = maps.halos
    where = f"{columns['simulation'][halo]}, {columns['region'][halo]}, snapshot {columns['snapshot'][halo]}"
    return f"halo {halo} ({where}, id {columns['halo_id'][halo]})"


def _bad_pixels(maps: MapFile, totals: Totals) -> list[str]:
    faults = []
    for kind, counts in (("not finite", totals.not_finite), ("negative", totals.negative)):
        for name, count in counts.items():
            for halo in np.unique(maps.halo[count > 0]).tolist():
                rows = np.flatnonzero((maps.halo == halo) & (count > 0))
                views = f"projection {maps.projection[rows[0]]}" if len(rows) == 1 else f"{len(rows)} projections"
                faults.append(f"{name} of {halo_name(maps, halo)}, {views}: {count[rows].sum()} pixels are {kind}")
    return faults


def _digest(maps: MapFile) -> list[str]:
    try:
        open_maps(maps.path, check_values=True)
    except InputError as error:
        return [str(error).removeprefix(f"{maps.path}: ")]
    return []


def _table(maps: MapFile) -> list[str]:
    halos, faults = maps.halos, []
    baryons = np.nan_to_num(halos["f_gas"]) + np.nan_to_num(halos["f_star"])  # NaN where a file does not say
    wrong = {
        "the redshift is negative or NaN": ~(halos["redshift"] >= 0),
        "f_gas or f_star is negative": (halos["f_gas"] < 0) | (halos["f_star"] < 0),
        f"f_gas + f_star is more than {MOST_BARYONS:g}": baryons > MOST_BARYONS,
    }
    for what, where in wrong.items():
        faults += [f"{halo_name(maps, halo)}: {what}" for halo in np.flatnonzero(where).tolist()]
    names = [halos[column].tolist() for column in ("simulation", "region", "snapshot", "halo_id")]
    first: dict[tuple[object, ...], int] = {}
    for halo, name in enumerate(zip(*names, strict=True)):
        if first.setdefault(name, halo) != halo:
            faults.append(f"{halo_name(maps, halo)}: is the same as halo {first[name]}")
    return faults


def _densities(maps: MapFile) -> tuple[FloatArray, list[str]]:
    """Mean density inside R200 in 200 critical ones, (n_halos,), NaN where unknown; and why none is known."""
    halos, unknown = maps.halos, np.full(len(maps.halos["m200"]), np.nan)
    try:
        h, omega_m = (float(maps.attributes[name]) for name in ("h", "omega_m"))
    except (KeyError, TypeError, ValueError):
        return unknown, ["does not say its h and omega_m, so that M200 and R200 cannot be held against each other"]
    try:
        check_cosmology(maps.path, Header(0.0, 1.0, h, omega_m, 1 - omega_m))
    except InputError as error:
        return unknown, [str(error).removeprefix(f"{maps.path}: ")]
    known = halos["redshift"] >= 0
    m200, r200, redshift = (halos[name][known] for name in ("m200", "r200", "redshift"))
    unknown[known] = overdensity(m200, r200 * h, redshift, omega_m) / OVERDENSITY
    return unknown, []


def _of_radii(maps: MapFile, density: FloatArray) -> list[str]:
    """Halos whose M200, R200 and redshift do not belong together, or one line where all of a time do not; and R500."""
    halos, faults = maps.halos, []
    wrong = (density < FEWEST) | (density > 1 + DENSITY_TOLERANCE)
    for simulation, snapshot in sorted(set(zip(halos["simulation"].tolist(), halos["snapshot"].tolist(), strict=True))):
        of_it = np.flatnonzero((halos["simulation"] == simulation) & (halos["snapshot"] == snapshot))
        of_it = of_it[np.isfinite(density[of_it])]
        if len(of_it) > 1 and (np.all(wrong[of_it]) or _is_off(density[of_it])):
            middle = of_it[np.argsort(density[of_it])[len(of_it) // 2]]
            what = f"{simulation}, snapshot {snapshot}: the M200 and R200 of its {len(of_it)} halos"
            faults.append(_unfit(maps, what, middle, density))
        else:
            faults += [
                _unfit(maps, f"{halo_name(maps, halo)}: its M200 and R200", halo, density)
                for halo in of_it[wrong[of_it]].tolist()
            ]
    for halo, ratio in enumerate((halos["r500"] / halos["r200"]).tolist()):
        try:
            check_r500(halo_name(maps, halo), ratio)
        except InputError as error:
            faults.append(str(error))
    return faults


def _is_off(density: FloatArray) -> bool:
    """Whether all halos of a time, (n,), are less dense than they should be, by more than their few particles explain.

    Few particles make each halo less dense by another share, and none of many; a wrong number makes all so by the same.
    """
    highest, spread = float(np.max(density)), float(np.ptp(density))
    return highest < 1 - DENSITY_TOLERANCE and (len(density) >= FEW or spread < (1 - highest) / 5)


def _unfit(maps: MapFile, what: str, halo: int, density: FloatArray) -> str:
    redshift, h, omega_m = float(maps.halos["redshift"][halo]), maps.attributes["h"], maps.attributes["omega_m"]
    found = OVERDENSITY * float(density[halo])
    return (
        f"{what} enclose {found:.4g} times the critical density at z = {redshift:.3g}, Omega_m = {omega_m:.4g}, not "
        f"{OVERDENSITY:g}: {what_it_may_be(found, OVERDENSITY, redshift, h, omega_m)}"
    )


def _masses(maps: MapFile, ratio: FloatArray, density: FloatArray) -> list[str]:
    # a halo of few particles has its radius at the last of them, and a particle more or less counts
    noise = TOLERANCE + np.clip(np.nan_to_num(1 - density), 0, 1 - FEWEST)
    of_halo = ratio.reshape(len(density), -1)
    allowed = np.where(np.median(of_halo, axis=1) >= 1 - noise, np.maximum(noise, ONE_VIEW), noise)
    faults = [
        f"{halo_name(maps, halo)}, projection {view}: the mass inside R200 is {lowest + 1 - allowed[halo]:.3g} M200, "
        "less than the sphere's"
        for halo, view, lowest in _lowest(maps, ratio - (1 - allowed)[maps.halo], 0.0)
    ]
    for simulation, of_it in simulations(maps).items():
        typical = float(np.nanmedian(ratio[of_it])) if np.isfinite(ratio[of_it]).any() else 0.0
        if typical > USUAL_MASS:
            faults.append(
                f"{simulation}: the median mass inside R200 is {typical:.3g} M200, more than {USUAL_MASS}; "
                "check the unit of `mass`, M200 and R200"
            )
    return faults


def _views(maps: MapFile, totals: Totals) -> list[str]:
    faults, inside = [], totals.inside
    of_hot_gas = (UNITS["sz"], UNITS["xray"])
    for name in (name for name in sorted(inside) if maps.units[name] in of_hot_gas):
        empty = np.flatnonzero(inside[name] == 0)
        faults += [
            f"{name} of {halo_name(maps, maps.halo[row])}, projection {maps.projection[row]}: is 0 everywhere"
            for row in empty.tolist()
        ]
    if "star" not in inside:
        return faults
    stars = (maps.halos["f_star"] * maps.halos["m200"])[maps.halo]
    ratio = np.divide(inside["star"], stars, out=np.full(len(maps), np.nan), where=stars > 0)
    tolerance = WIDE_KERNELS if maps.attributes.get("adaptive_smoothing") else TOLERANCE
    faults += [
        f"{halo_name(maps, halo)}, projection {view}: the stars inside R200 are {lowest:.3g} f_star M200"
        for halo, view, lowest in _lowest(maps, ratio, 1 - tolerance)
    ]
    room = inside["mass"] * (1 + TOLERANCE) - inside["star"]
    faults += [
        f"{halo_name(maps, halo)}, projection {view}: its stars are more than its total mass"
        for halo, view, _ in _lowest(maps, room, 0.0)
    ]
    return faults


def _lowest(maps: MapFile, values: FloatArray, limit: float) -> list[tuple[int, int, float]]:
    """Of each halo with a map below `limit`: halo, projection and value of its lowest map."""
    low = np.flatnonzero(values < limit)
    low = low[np.lexsort((values[low], maps.halo[low]))]
    _, first = np.unique(maps.halo[low], return_index=True)
    return [(int(maps.halo[row]), int(maps.projection[row]), float(values[row])) for row in low[first]]


def simulations(maps: MapFile) -> dict[str, IntArray]:
    """Rows of the map file of each simulation's maps: name -> (n,)."""
    of_map = maps.halos["simulation"][maps.halo]
    return {str(name): np.flatnonzero(of_map == name) for name in np.unique(of_map)}


def summary(checked: Checked) -> str:
    """One aligned line a simulation; the masses are projected, inside R200, over M200."""
    header = ("simulation", "halos", "maps", "log10 M200", "redshifts", "median mass", "lowest", "highest")
    rows: list[tuple[str, ...]] = [header]
    maps, ratio = checked.maps, checked.mass_ratio
    for simulation, of_it in simulations(maps).items():
        halos = np.unique(maps.halo[of_it])
        log_m200 = np.log10(maps.halos["m200"][halos])
        redshifts = np.unique(np.round(maps.halos["redshift"][halos], 3))
        known = of_it[np.isfinite(ratio[of_it])]
        if len(known):
            extremes = [known[np.argmin(ratio[known])], known[np.argmax(ratio[known])]]
            ends = [f"{ratio[row]:.3f} (halo {maps.halo[row]}.{maps.projection[row]})" for row in extremes]
            masses = (f"{np.median(ratio[known]):.3f}", *ends)
        else:
            masses = ("–", "–", "–")
        mass_range = f"{log_m200.min():.2f}–{log_m200.max():.2f}"
        rows.append((simulation, str(len(halos)), str(len(of_it)), mass_range, _listed(redshifts), *masses))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _listed(redshifts: FloatArray) -> str:
    if len(redshifts) > 6:
        return f"{redshifts[0]:g}–{redshifts[-1]:g} ({len(redshifts)})"
    return " ".join(f"{z:g}" for z in redshifts)
