"""What the maps of one halo are made of, out of one reading of its snapshot for many halos (`sims/scratch.py`).

A sphere to the corners of the maps and, with adaptive smoothing, one as large as the k-th neighbours of all its
particles need: it grows until none of them can be beyond.
"""

from typing import Any

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.maps.reach import reach_of
from hpc_massmap.maps.smoothing import neighbour_radius
from hpc_massmap.sims.particles import BOUNDARY, DARK_MATTER, KINDS, STARS, Particles, Snapshot
from hpc_massmap.sims.periodic import extended_by_images, image_spheres, is_whole_box
from hpc_massmap.sims.scratch import Scratch, nothing
from hpc_massmap.sims.selection import Halo

SMOOTHED = (DARK_MATTER, STARS)  # by their neighbours, if at all
BEYOND = 1.5  # of the reach of a map: where the neighbours are that its kernels are made of
ROUNDING = 1e-9


def snapshot_about(scratch: Scratch, halo: Halo, neighbours: int | None) -> Snapshot:
    """The particles of which the maps of a halo are the same as of the whole snapshot, with their periodic images.

    Parameters
    ----------
    neighbours : of `maps.adaptive_smoothing`; None without it
    """
    none: dict[str, Any] = {name: nothing(kind) for kind, name in KINDS.items()}
    wraps = is_whole_box(Snapshot(scratch.path, scratch.header, **none, extent=scratch.extent))
    found: dict[str, Any] = {}
    for kind, name in KINDS.items():
        smoothed = neighbours if kind in SMOOTHED else None
        found[name] = _particles_about(scratch, kind, halo, smoothed, wraps)
    return Snapshot(scratch.path, scratch.header, **found, extent=scratch.extent)


def boundary_mass_about(scratch: Scratch, halo: Halo) -> float:
    """Mass of low-resolution particles within reach of a halo, Msun/h."""
    centre, reach = halo.centre[None], reach_of([halo])
    return sum(float(scratch.about(kind, centre, reach).masses.sum()) for kind in BOUNDARY)


def _particles_about(scratch: Scratch, kind: int, halo: Halo, neighbours: int | None, wraps: bool) -> Particles:
    box, centre = scratch.header.box, halo.centre[None]
    with_images = reach_of([halo]) * (BEYOND if neighbours else 1)
    centres, radii = image_spheres(centre, with_images, box)
    while True:
        particles = scratch.about(kind, centres, radii)
        if wraps:
            particles = extended_by_images(particles, centre, with_images, box)
        if neighbours is None or _has_neighbours(particles, halo, neighbours, radii[0], scratch.extent):
            return particles
        radii = np.append(2 * radii[0], radii[1:])


def _has_neighbours(particles: Particles, halo: Halo, k: int, radius: float, extent: FloatArray) -> bool:
    """Whether all k-th neighbours of what is within reach are among particles that are complete to a radius."""
    distances = np.linalg.norm(particles.positions - halo.centre, axis=1)
    near = np.flatnonzero(distances <= (1 + ROUNDING) * reach_of([halo]))
    everything = np.linalg.norm(np.maximum(halo.centre - extent[0], extent[1] - halo.centre)) < radius
    if everything or not len(near):
        return True
    if len(particles) <= k:
        return False
    return bool(np.all(distances[near] + neighbour_radius(particles, near, k) <= radius * (1 - ROUNDING)))
