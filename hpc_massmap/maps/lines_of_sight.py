"""The fixed set of lines of sight, the same for every halo.

A view along -n is the mirror image of the view along n, so the directions cover half the sphere: they are spread as
lines through the origin, starting from a Fibonacci spiral and relaxed by a mutual repulsion. For 29 lines the nearest
neighbours are 26.5 to 28.2 degrees apart; a hexagonal lattice of that density, which does not fit a sphere, has 28.6.
"""

import numpy as np

from hpc_massmap.arrays import FloatArray

GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
RELAXATION_STEPS = 400
FIRST_STEP = 0.2  # of the mean distance, shrinking linearly to zero


def directions(count: int) -> FloatArray:
    """Unit vectors spread as lines over the sphere: (count, 3)."""
    z = 1 - (np.arange(count) + 0.5) / count
    angle = GOLDEN_ANGLE * np.arange(count)
    radius = np.sqrt(1 - z**2)
    lines = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])
    if count > 1:
        for step in np.linspace(FIRST_STEP, 0, RELAXATION_STEPS, endpoint=False):
            force = _repulsion(lines)
            lines = lines + step / np.sqrt(count) * force / np.linalg.norm(force, axis=1).max()
            lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    return lines


def _repulsion(lines: FloatArray) -> FloatArray:
    """Tangential force on each end from all other ends, as the inverse cube of the distance: (count, 3)."""
    count = len(lines)
    difference = lines[:, None] - np.concatenate([lines, -lines])
    square = np.sum(difference**2, axis=-1)
    square[np.arange(count), np.arange(count)] = np.inf
    force = np.sum(difference / square[..., None] ** 2, axis=1)
    return np.asarray(force - np.sum(force * lines, axis=1, keepdims=True) * lines)


def rotations(count: int) -> FloatArray:
    """Rotation matrices into the frame of each view: (count, 3, 3).

    `positions @ rotation.T` gives (x, y, depth). Row 2 is the line of sight; rows 0 and 1 span the sky, row 0 in the
    plane z = 0 of the simulation.
    """
    depth = directions(count)
    x = np.cross([0.0, 0.0, 1.0], depth)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    x = np.where(length > 1e-8, x / np.maximum(length, 1e-8), [1.0, 0.0, 0.0])
    return np.stack([x, np.cross(depth, x), depth], axis=1)
