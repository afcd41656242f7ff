"""Writing map files: whole and contiguous, virtual over part files, and one made of the other."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.dataset.mapfile import (
    HALO_COLUMNS,
    SCHEMA,
    MapFile,
    check_digest,
    content_digest,
    halo_digest,
    halo_stacks,
    index,
    open_maps,
)
from hpc_massmap.grid import pixel_positions
from hpc_massmap.hdf5 import new_hdf5
from hpc_massmap.units import to_file
from hpc_massmap.views import UNITS, title_of


def write_map_file(
    path: Path,
    names: list[str],
    halos: Mapping[str, Any],
    rotations: FloatArray,
    stacks: Iterable[Mapping[str, FloatArray]],
    attributes: Mapping[str, Any],
    units: Mapping[str, str] = UNITS,
    skipped: Iterable[str] = (),
) -> None:
    """Write a contiguous map file, whole or not at all.

    Parameters
    ----------
    halos : column -> (n_halos,)
    rotations : (p, 3, 3)
    stacks : for each halo in order, name -> (p, 80, 80)
    attributes : written on the file: h, omega_m, fwhm, provenance
    """
    n_projections = len(rotations)
    shape = (len(halos["m200"]) * n_projections, PIXELS, PIXELS)
    with new_hdf5(path) as file:
        for name in names:
            file.create_dataset(f"maps/{name}", shape, np.float32)
        digests = []
        for h, stack in enumerate(stacks):
            rows = slice(h * n_projections, (h + 1) * n_projections)
            pixels = {name: np.asarray(stack[name], np.float32) for name in names}
            for name in names:
                file[f"maps/{name}"][rows] = pixels[name]
            digests.append(halo_digest(pixels))
        _write_tables(file, halos, rotations, digests, attributes, units, skipped)


def write_virtual_file(
    path: Path,
    parts: list[tuple[Path, int]],
    halos: Mapping[str, Any],
    rotations: FloatArray,
    digests: list[str],
    attributes: Mapping[str, Any],
    units: Mapping[str, str],
    skipped: Iterable[str],
) -> None:
    """Write a map file whose maps are those of part files, in this order, each with a number of halos.

    A part is named by its place relative to the file, so that both can be moved together.

    Parameters
    ----------
    halos : column -> (n_halos,)
    rotations : (p, 3, 3)
    digests : SHA-256 of each halo's maps
    attributes : written on the file: h, omega_m, fwhm, provenance
    """
    n_projections = len(rotations)
    shape = (len(halos["m200"]) * n_projections, PIXELS, PIXELS)
    with new_hdf5(path, libver="latest") as file:
        for name in units:
            layout, start = h5py.VirtualLayout(shape, np.float32), 0
            for part, n_halos in parts:
                stop = start + n_halos * n_projections
                relative = str(part.relative_to(path.parent))
                layout[start:stop] = h5py.VirtualSource(relative, f"maps/{name}", (stop - start, *shape[1:]))
                start = stop
            file.create_virtual_dataset(f"maps/{name}", layout)
        _write_tables(file, halos, rotations, digests, attributes, units, skipped)


def consolidate(path: Path) -> None:
    """Make a virtual map file one contiguous file, its maps checked against their digests on the way.

    Raises
    ------
    InputError
        If a part is missing or damaged; the virtual file then stands as it was.
    """
    opened = open_maps(path)

    def stacks() -> Iterator[Mapping[str, FloatArray]]:
        for h, stack in enumerate(halo_stacks(opened)):
            check_digest(opened, h, stack)
            yield stack

    tables = opened.attributes, opened.units, opened.skipped
    write_map_file(path, list(opened.maps), opened.halos, opened.rotations, stacks(), *tables)


def _write_tables(
    file: h5py.File,
    halos: Mapping[str, Any],
    rotations: FloatArray,
    digests: list[str],
    attributes: Mapping[str, Any],
    units: Mapping[str, str],
    skipped: Iterable[str],
) -> None:
    axes = _axes(file, len(halos["m200"]) * len(rotations))
    for name, dataset in file["maps"].items():
        for key in ("unit", "units"):  # the second is what readers of netCDF know
            dataset.attrs[key] = to_file(units[name])
        dataset.attrs["long_name"] = title_of(name)
        for number, axis in enumerate(axes):
            dataset.dims[number].attach_scale(axis)
    _write_columns(file, halos)
    for name, rows in index(len(halos["m200"]), len(rotations)).items():
        file[f"index/{name}"] = rows
    file["lines_of_sight"] = rotations
    file.create_dataset("digests", data=digests, dtype=h5py.string_dtype())
    file.create_dataset("skipped", data=list(skipped), dtype=h5py.string_dtype())
    file.attrs.update({"schema": SCHEMA, "pixels": PIXELS, **attributes})
    file.attrs["digest"] = content_digest(file)


def write_halos(file: h5py.File, opened: MapFile, rows: IntArray) -> None:
    """Keep in a file of some maps the table of their halos, and which of them each map shows along which line of sight.

    Parameters
    ----------
    rows : (n,), of the map file
    """
    numbers, places = np.unique(opened.halo[rows], return_inverse=True)
    _write_columns(file, {column: opened.halos[column][numbers] for column in HALO_COLUMNS})
    file["halo/number"] = numbers  # their rows in the map file
    file["index/halo"], file["index/projection"] = places, opened.projection[rows]


def _write_columns(file: h5py.File, halos: Mapping[str, Any]) -> None:
    for column, (dtype, unit) in HALO_COLUMNS.items():
        of_halos = list(halos[column])
        if column == "halo_id" and max(of_halos, default=0) > np.iinfo(np.int64).max:
            dtype = np.uint64  # as AHF's can be
        values = file.create_dataset(f"halo/{column}", data=of_halos, dtype=dtype)
        values.attrs["unit"] = to_file(unit)


def _axes(file: h5py.File, n_maps: int) -> list[h5py.Dataset]:
    """The scales of the axes of a stack of maps: the number of each map, and the places of pixels in R200."""
    scales = {"map": np.arange(n_maps), "y": pixel_positions(), "x": pixel_positions()}
    for name, values in scales.items():
        file[name] = values
        file[name].make_scale(name)
    file["x"].attrs["unit"] = file["y"].attrs["unit"] = "R200"
    return [file[name] for name in scales]
