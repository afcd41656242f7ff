"""Whether a region has all the matter that a map shows: to sqrt(3) R200, where the corners of the cube are."""

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.sims.particles import Snapshot
from hpc_massmap.sims.periodic import is_whole_box
from hpc_massmap.sims.selection import CORNER, Halo

MISSING = 0.01  # of the particles to the corners: in voids, too, the outermost are not at the very edge
LOW_RESOLUTION = 0.01  # M200
FEWEST = 10  # particles that are expected and not there: fewer are chance
SHELL = 0.8  # of the outermost radius, from where on the density is carried on
FALL = 0.7  # of a density that falls as r^-3 in what lies about a cluster, at least


def reach_of(halos: list[Halo]) -> FloatArray:
    """How far from the centre a particle can be inside a cube of half-side R200, (n,) kpc."""
    return np.asarray(CORNER * np.array([halo.r200 for halo in halos]))


def check_reach(snapshot: Snapshot, halo: Halo, low_resolution: float) -> None:
    """Look how far the particles about a halo reach.

    A box that is cut out ends at its faces, which all particles tell, and a sphere at the outermost particle. What
    counts is how many are to be expected beyond.

    Parameters
    ----------
    low_resolution : mass of boundary particles within reach, Msun/h, which the maps lack

    Raises
    ------
    InputError
        If the maps of the halo would lack matter.
    """
    name = f"{snapshot.path}: halo {halo.halo_id}"
    faces = np.full(6, np.inf) if is_whole_box(snapshot) else _faces(snapshot, halo)
    parts = (snapshot.gas, snapshot.dark_matter, snapshot.stars, snapshot.black_holes)
    radii = np.concatenate([np.linalg.norm(part.positions - halo.centre, axis=1) for part in parts]) / halo.r200
    radii = radii[radii <= CORNER]
    if expected_beyond(radii, faces) > max(FEWEST, MISSING * len(radii)):
        edge = min(float(radii.max(initial=0.0)), float(faces.min()))
        raise InputError(
            f"{name}: the particles end {edge:.3g} R200 from its centre, but the corners of its maps need those to "
            f"{CORNER:.3g} R200; cut the region out larger"
        )
    if low_resolution > LOW_RESOLUTION * halo.m200:
        raise InputError(
            f"{name}: {low_resolution / halo.m200:.2g} M200 of boundary particles (types 2 and 3) are within "
            f"{CORNER:.3g} R200, and not in the maps; leave the halo out"
        )


def expected_beyond(radii: FloatArray, faces: FloatArray) -> float:
    """How many particles would be where a region has ended, if they were about a halo as those that are there.

    Parameters
    ----------
    radii : (n,), of the particles to the corners, R200
    faces : (k,), distances of planes beyond which there are none
    """
    outermost = float(radii.max(initial=1e-3))
    of_shell = np.count_nonzero(radii > SHELL * outermost)
    beyond_sphere = FALL * of_shell * np.log(CORNER / outermost) / np.log(1 / SHELL)
    # a plane at s takes the share (1 - s/r)/2 of a shell of radius r
    beyond_planes = sum(float(np.sum(1 - face / radii[radii > face])) / 2 for face in faces.tolist())
    return float(beyond_sphere + beyond_planes)


def _faces(snapshot: Snapshot, halo: Halo) -> FloatArray:
    """The distances of the outermost of all particles along each axis, (6,) R200."""
    low, high = snapshot.extent
    return np.asarray(np.concatenate([halo.centre - low, high - halo.centre]) / halo.r200)
