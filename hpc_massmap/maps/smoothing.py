"""Kernel radii of particles that the simulation stores none for."""

import numpy as np

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.sims.particles import Particles


def neighbour_radius(particles: Particles, which: IntArray, k: int) -> FloatArray:
    """Distance to the k-th neighbour of the same type, in three dimensions: the same for every line of sight.

    Parameters
    ----------
    particles : all of one type in the region, so that a halo's edge has its neighbours beyond it
    which : (m,) indices of those that are asked for
    k : neighbours, without the particle itself

    Returns
    -------
    (m,), kpc; 0, which is the nearest pixel, if there are fewer neighbours: the few that there are may be anywhere, and
    a kernel that reaches them is a flat disc
    """
    if len(particles) <= k:
        return np.zeros(len(which))
    distances, _ = particles.tree.query(particles.positions[which], k=[k + 1])  # the first is the particle itself
    return np.asarray(distances[:, 0])
