"""The map file of a sample: its halos drawn one after the other, and the table that goes with them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hpc_massmap.config import Maps
from hpc_massmap.dataset.mapfile import write_map_file
from hpc_massmap.errors import InputError
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import Stacks, draw
from hpc_massmap.maps.reference import FWHM
from hpc_massmap.maps.units import UNITS
from hpc_massmap.run import machine
from hpc_massmap.sims.selection import Halo


def make_maps(path: Path, halos: list[Halo], config: Maps, on_halo: Callable[[], None]) -> None:
    """Draw every halo and write the map file, whole or not at all; `on_halo` is called after each.

    Raises
    ------
    InputError
        If a snapshot is broken or does not fit its catalogue, or the simulations differ in cosmology.
    """
    views = rotations(config.lines_of_sight)
    h, omega_m = _cosmology(halos)
    attributes = {
        "h": h,
        "omega_m": omega_m,
        "fwhm": FWHM,
        "kernel": config.kernel,
        "adaptive_smoothing": config.adaptive_smoothing or 0,
        "provenance": json.dumps(machine()),
    }

    def stacks() -> Iterator[Stacks]:
        for stack in draw(halos, config, views):
            yield stack
            on_halo()

    write_map_file(path, list(UNITS), halo_table(halos), views, stacks(), attributes)


def halo_table(halos: list[Halo]) -> dict[str, list[Any]]:
    """The columns of `mapfile.HALO_COLUMNS`."""
    of_source = ("simulation", "region", "snapshot")
    of_halo = ("redshift", "halo_id", "m200", "r200", "r500", "f_gas", "f_star")
    table = {column: [getattr(halo.source, column) for halo in halos] for column in of_source}
    return table | {column: [getattr(halo, column) for halo in halos] for column in of_halo}


def _cosmology(halos: list[Halo]) -> tuple[float, float]:
    first = halos[0]
    for halo in halos:
        if not np.allclose((halo.h, halo.omega_m), (first.h, first.omega_m), rtol=1e-4):
            raise InputError(
                f"{halo.source.snapshot_file}: h = {halo.h:g}, Omega_m = {halo.omega_m:g}, but "
                f"{first.source.snapshot_file} has {first.h:g}, {first.omega_m:g}; one map file holds one cosmology"
            )
    return first.h, first.omega_m
