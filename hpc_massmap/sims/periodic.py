"""Particles on the other side of a periodic box, where a sphere about a halo crosses one of its faces."""

from dataclasses import fields, replace
from itertools import product
from typing import Any

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.sims.particles import KINDS, Particles, Snapshot

WHOLE = 0.95  # of the box's side that the particles of a whole box span
ROUNDING = 1e-5  # of positions in single precision
SHIFTS = np.array([shift for shift in product((-1, 0, 1), repeat=3) if any(shift)])


def is_whole_box(snapshot: Snapshot) -> bool:
    """Whether the particles span the box, so that what leaves it on one side comes in on the other."""
    span, box = snapshot.extent[1] - snapshot.extent[0], snapshot.header.box
    return box > 0 and bool(np.all((span >= WHOLE * box) & (span <= (1 + ROUNDING) * box)))


def image_spheres(centres: FloatArray, radii: FloatArray, box: float) -> tuple[FloatArray, FloatArray]:
    """These spheres, and their images that reach into the box: (m, 3) and (m,)."""
    if box <= 0 or np.all((centres - radii[:, None] >= 0) & (centres + radii[:, None] <= box)):
        return centres, radii
    images = [(centre + shift * box, radius) for centre, radius in zip(centres, radii, strict=True) for shift in SHIFTS]
    touching = [(c, r) for c, r in images if np.all((c + r >= 0) & (c - r <= box))]
    return np.array([*centres, *(c for c, _ in touching)]), np.array([*radii, *(r for _, r in touching)])


def with_images(snapshot: Snapshot, centres: FloatArray, radii: FloatArray) -> Snapshot:
    """A snapshot of a whole box with the images of its particles that lie in these spheres, (n, 3) and (n,) in kpc."""
    box = snapshot.header.box
    if not is_whole_box(snapshot):
        return snapshot
    extended: dict[str, Any] = {
        kind: extended_by_images(getattr(snapshot, kind), centres, radii, box) for kind in KINDS.values()
    }
    return replace(snapshot, **extended)


def extended_by_images(particles: Particles, centres: FloatArray, radii: FloatArray, box: float) -> Particles:
    """Particles and their images in these spheres, those of one neighbouring box after the other.

    Parameters
    ----------
    centres, radii : (n, 3) and (n,), of the spheres
    box : side, of whatever unit they have
    """
    if len(image_spheres(centres, radii, box)[0]) == len(centres):
        return particles
    rows, shifts = [], []
    for shift in SHIFTS * box:
        inside = np.zeros(len(particles), bool)
        for centre, radius in zip(centres - shift, radii, strict=True):
            inside |= np.sum((particles.positions - centre) ** 2, axis=1) <= radius**2
        rows.append(np.flatnonzero(inside))
        shifts.append(np.tile(shift, (len(rows[-1]), 1)))
    images = np.concatenate(rows)
    added: dict[str, Any] = {}
    for field in fields(particles):
        values = getattr(particles, field.name)
        added[field.name] = None if values is None else np.concatenate([values, values[images]])
    added["positions"][len(particles) :] += np.concatenate(shifts)
    return replace(particles, **added)
