"""Map files in a notebook: maps with units, the halos as a table."""

from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from hpc_massmap.dataset.mapfile import HALO_COLUMNS, MapFile
from hpc_massmap.dataset.mapfile import open_maps as open_map_file
from hpc_massmap.errors import InputError
from hpc_massmap.grid import pixel_positions
from hpc_massmap.predict.own_units import unit_of


class Maps:
    """An open map file. Pixels are read when they are asked for.

    Attributes
    ----------
    file : what the suite itself works with
    names : of its maps, as `sz` or `mass`
    h : of the Hubble constant, H0 / (100 km/s/Mpc)
    """

    def __init__(self, file: MapFile) -> None:
        self.file = file
        self.names = list(file.maps)
        self.h = float(file.attributes["h"])

    def __len__(self) -> int:
        return len(self.file)

    def __repr__(self) -> str:
        return f"<{len(self)} maps of {len(self.halos)} halos, {', '.join(self.names)}: {self.file.path}>"

    @property
    def halos(self) -> Table:
        """The table of halos, a row each: masses in Msun/littleh, radii in kpc."""
        table = Table(self.file.halos, meta={"path": str(self.file.path), "h": self.h})
        for column, (_, unit) in HALO_COLUMNS.items():
            if unit != "1":
                table[column].unit = unit_of(unit)
        return table

    def row(self, halo: int, projection: int = 0) -> int:
        """Where the maps of a halo along one of its lines of sight are in the stacks.

        Raises
        ------
        InputError
            If there is no such halo or line of sight.
        """
        found = np.flatnonzero((self.file.halo == halo) & (self.file.projection == projection))
        if not len(found):
            n_halos, n_lines = len(self.file.halos["m200"]), len(self.file.rotations)
            raise InputError(
                f"{self.file.path}: no halo {halo} along line of sight {projection}; there are {n_halos} and "
                f"{n_lines}, counted from 0"
            )
        return int(found[0])

    def of(self, halo: int, projection: int = 0) -> dict[str, u.Quantity]:
        """The maps of a halo, (80, 80) each with its unit; raises what `row` does."""
        row = self.row(halo, projection)
        return {name: np.array(stack[row]) * unit_of(self.file.units[name]) for name, stack in self.file.maps.items()}

    def to_xarray(self, halos: list[int] | None = None) -> Any:
        """The maps of some halos, or of all, as an xarray.Dataset with axes map, y and x; needs xarray."""
        import xarray

        wanted = slice(None) if halos is None else np.flatnonzero(np.isin(self.file.halo, halos))
        places = pixel_positions()
        coordinates = {
            **{"y": ("y", places, {"units": "R200"}), "x": ("x", places, {"units": "R200"})},
            **{"halo": ("map", self.file.halo[wanted]), "projection": ("map", self.file.projection[wanted])},
            **{name: ("map", values[self.file.halo[wanted]]) for name, values in self.file.halos.items()},
        }
        stacks = {
            name: (("map", "y", "x"), np.asarray(stack[wanted]), {"units": self.file.units[name]})
            for name, stack in self.file.maps.items()
        }
        return xarray.Dataset(stacks, coordinates, {"h": self.h, "path": str(self.file.path)})


def open_maps(path: str | Path) -> Maps:
    """Open a map file, as `massmap make_maps` makes them; raises an InputError if it is none."""
    return Maps(open_map_file(Path(path)))
