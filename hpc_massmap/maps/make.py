"""From snapshots to maps: four of every halo along every line of sight (section 2.2), and further X-ray bands.

A region is read once for all its halos and all their lines of sight. The kernels release the GIL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.config import Maps
from hpc_massmap.errors import InputError
from hpc_massmap.grid import pixel_area
from hpc_massmap.maps.cooling import CoolingTable
from hpc_massmap.maps.deposit import project
from hpc_massmap.maps.nearby import BEYOND, boundary_mass_about, snapshot_about
from hpc_massmap.maps.reach import check_reach, reach_of
from hpc_massmap.maps.smoothing import neighbour_radius
from hpc_massmap.maps.sz import integrated_compton_y
from hpc_massmap.maps.xray import xray_luminosity
from hpc_massmap.sims.consistency import check_gas
from hpc_massmap.sims.particles import Particles, Snapshot
from hpc_massmap.sims.periodic import image_spheres, with_images
from hpc_massmap.sims.scratch import Scratch
from hpc_massmap.sims.selection import Halo
from hpc_massmap.sims.snapshot import Asked, boundary_masses, read_header, read_snapshot
from hpc_massmap.views import units_of

FEWEST_PARTICLES = 10  # inside R200
LARGEST_RADIUS = 1e6  # R200: of a kernel, which is then the same everywhere; far beyond, its numbers have no place
LEAST_MASS = 0.9  # M200, inside R200: below it a centre or a unit is wrong, or the snapshot is cut

Stacks = dict[str, FloatArray]
NO_TABLES: Mapping[str, CoolingTable] = MappingProxyType({})


@dataclass(frozen=True)
class Layer:
    """The particles of one type about a halo, ready to be projected.

    Attributes
    ----------
    positions : (n, 3), from the centre, R200
    radii : (n,), of the kernels, R200; 0 for nearest grid point
    quantities : name of the map -> (n,), what each particle adds to it
    """

    positions: FloatArray
    radii: FloatArray
    quantities: dict[str, FloatArray]


def halo_maps(
    snapshot: Snapshot, halo: Halo, config: Maps, views: FloatArray, tables: Mapping[str, CoolingTable] = NO_TABLES
) -> Stacks:
    """All maps of one halo.

    Parameters
    ----------
    views : (p, 3, 3), rotations of `lines_of_sight`
    tables : of X-ray maps by their names; bremsstrahlung in closed form for those without one

    Returns
    -------
    name -> (p, 80, 80) float32, in the units of `units_of`

    Raises
    ------
    InputError
        If the particles about the centre cannot be the halo of the catalogue.
    """
    layers = layers_of(snapshot, halo, config, tables)
    _check_mass(snapshot, halo, layers)
    _check_radii(snapshot, halo, layers)
    area = pixel_area(halo.r200)
    maps = {name: np.zeros((len(views), PIXELS, PIXELS)) for name in units_of(config.bands)}
    for layer in layers:
        quantities = np.stack(list(layer.quantities.values()))
        for p, view in enumerate(views):
            images = project(layer.positions, layer.radii, quantities, view, config.kernel, config.accuracy)
            for name, image in zip(layer.quantities, images, strict=True):
                maps[name][p] += image / area
    stacks = {name: stack.astype(np.float32) for name, stack in maps.items()}
    for name, stack in stacks.items():
        if not np.all(np.isfinite(stack) & (stack >= 0)):
            kind = "negative" if np.isfinite(stack).all() else "not finite"
            raise InputError(f"{snapshot.path}: halo {halo.halo_id} has {name} maps that are {kind}; check its units")
    return stacks


def layers_of(snapshot: Snapshot, halo: Halo, config: Maps, tables: Mapping[str, CoolingTable]) -> list[Layer]:
    """What of a snapshot is projected for one halo; parameters as of `halo_maps`."""
    gas, dark_matter, stars, black_holes = (
        (particles, _near(particles, halo))
        for particles in (snapshot.gas, snapshot.dark_matter, snapshot.stars, snapshot.black_holes)
    )
    stellar = snapshot.stars.stellar_masses[stars[1]]
    h, own = snapshot.header.h, snapshot.gas.at(gas[1])  # of many halos' gas, for each its own
    energies = {"xray": None} | {name: band.energies for name, band in config.bands.items()}
    of_gas = {name: xray_luminosity(own, h, tables.get(name), energies[name]) for name in energies}
    of_gas["sz"] = integrated_compton_y(own, h)
    no_kernel = np.zeros(len(black_holes[1]))
    return [
        _layer(*gas, halo, own.smoothing_length, of_gas),
        _layer(*dark_matter, halo, _radii(*dark_matter, config), {}),
        _layer(*stars, halo, _radii(*stars, config), {"star": stellar}),
        _layer(*black_holes, halo, no_kernel, {}),
    ]


def _near(particles: Particles, halo: Halo) -> Any:
    """Indices of the particles that some rotation brings into the cube of half-side R200."""
    distance2 = np.sum((particles.positions - halo.centre) ** 2, axis=1)
    return np.flatnonzero(distance2 <= reach_of([halo]) ** 2)


def _radii(particles: Particles, near: Any, config: Maps) -> FloatArray:
    if config.adaptive_smoothing is None:
        return np.zeros(len(near))
    return neighbour_radius(particles, near, config.adaptive_smoothing)


def _layer(particles: Particles, near: Any, halo: Halo, radii: FloatArray, quantities: dict[str, FloatArray]) -> Layer:
    positions = (particles.positions[near] - halo.centre) / halo.r200
    return Layer(positions, radii / halo.r200, {**quantities, "mass": particles.masses[near]})


def _check_mass(snapshot: Snapshot, halo: Halo, layers: list[Layer]) -> None:
    inside = [np.sum(layer.positions**2, axis=1) <= 1 for layer in layers]
    number = sum(int(layer.sum()) for layer in inside)
    mass = sum(float(layer.quantities["mass"][within].sum()) for layer, within in zip(layers, inside, strict=True))
    which = f"{halo.source.catalogue_file}: halo {halo.halo_id}"
    if number < FEWEST_PARTICLES:
        raise InputError(
            f"{which} has {number} particles of {snapshot.path} inside R200 = {halo.r200:.0f} kpc; "
            f"do the two files belong together?"
        )
    if mass < LEAST_MASS * halo.m200:
        raise InputError(
            f"{which} has M200 = {halo.m200:.3g} Msun/h, but {snapshot.path} only {mass:.3g} inside R200 = "
            f"{halo.r200:.0f} kpc; check units and centre of both"
        )


def _check_radii(snapshot: Snapshot, halo: Halo, layers: list[Layer]) -> None:
    largest = max(layer.radii.max(initial=0.0) for layer in layers)
    if largest > LARGEST_RADIUS:
        raise InputError(
            f"{snapshot.path}: halo {halo.halo_id} has smoothing lengths of {largest:.3g} R200; check their units"
        )


def region_maps(halos: list[Halo], config: Maps, views: FloatArray, tables: Mapping[str, CoolingTable]) -> list[Stacks]:
    """The maps of halos of one region at one time, which is read once; parameters and errors as of `halo_maps`."""
    path = halos[0].source.snapshot_file
    centres, radii = np.array([halo.centre for halo in halos]), reach_of(halos)
    spheres = image_spheres(centres, radii, read_header(path).box)
    # a kernel's radius by its neighbours needs those beyond the halo: such a sample is coarse, and small
    near = None if config.adaptive_smoothing else spheres
    asked = asked_of(config, tables)
    snapshot = read_snapshot(path, near, asked.metallicity, asked.pymsz)
    low_resolution = boundary_masses(path, centres, radii)
    snapshot = with_images(snapshot, centres, radii * (BEYOND if config.adaptive_smoothing else 1))
    for halo, mass in zip(halos, low_resolution, strict=True):
        _check_surroundings(snapshot, halo, mass)
    return [halo_maps(snapshot, halo, config, views, tables) for halo in halos]


def asked_of(config: Maps, tables: Mapping[str, CoolingTable]) -> Asked:
    """What of the gas the maps need."""
    return Asked(metallicity=bool(tables), pymsz=config.gas_rules == "pymsz")


def maps_from_scratch(
    scratch: Scratch, halos: list[Halo], config: Maps, views: FloatArray, tables: Mapping[str, CoolingTable]
) -> list[Stacks]:
    """The same from one reading of the region for all its halos, which are more than these; one halo at a time.

    Parameters
    ----------
    views : (lines of sight, 3, 3), as of `halo_maps`
    """
    found = []
    for halo in halos:
        snapshot = snapshot_about(scratch, halo, config.adaptive_smoothing)
        _check_surroundings(snapshot, halo, boundary_mass_about(scratch, halo))
        found.append(halo_maps(snapshot, halo, config, views, tables))
    return found


def _check_surroundings(snapshot: Snapshot, halo: Halo, low_resolution: float) -> None:
    check_reach(snapshot, halo, low_resolution)
    check_gas(snapshot, halo.centre, halo.m200, halo.r200)
