#!/usr/bin/env python3
"""A whole box read once for all its halos, against the old way: read again for every part of 64 of them.

The example's periodic box, repeated to `--times` boxes along each side with its catalogue, in `--files` files. Timed is
what reading takes of the work, without drawing: to have the particles about every halo in memory, once. The claim: the
ratio grows with the number of parts, and bytes read are the snapshot's instead of the snapshot's for every part. The
box is in the disk cache, so that a shared file system makes the ratio larger.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from mpi4py import MPI

from hpc_massmap.config import Maps, Selection, Simulation
from hpc_massmap.dataset.boxes import read_once, remove
from hpc_massmap.dataset.build import HALOS_PER_TASK
from hpc_massmap.maps.nearby import boundary_mass_about, snapshot_about
from hpc_massmap.maps.reach import reach_of
from hpc_massmap.sims.periodic import image_spheres, with_images
from hpc_massmap.sims.scratch import Scratch
from hpc_massmap.sims.selection import Halo, candidates, find_sources
from hpc_massmap.sims.snapshot import Asked, boundary_masses, read_header, read_snapshot

EXAMPLE = Path(__file__).parents[1] / "examples/gizmo_box"
SIDE = 50000.0  # comoving kpc/h


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=4, help="boxes along each side (default 4: 4e6 particles)")
    parser.add_argument("--files", type=int, default=8)
    args = parser.parse_args()
    simulation = Simulation(
        name="GIZMO", folder=EXAMPLE, region="box", snapshot="snapshot_{snapshot:03d}.hdf5", snapshots=[6]
    )
    halos = candidates(find_sources([simulation])[0], Selection(m200_min=1e13))
    with tempfile.TemporaryDirectory(prefix="box") as name:
        path = write_box(Path(name), args.times, args.files)
        many = repeated(halos, path, args.times)
        size = sum(file.stat().st_size for file in Path(name).iterdir()) / 1e6
        parts = [many[start : start + HALOS_PER_TASK] for start in range(0, len(many), HALOS_PER_TASK)]
        print(f"{len(many)} halos in {len(parts)} parts, a snapshot of {size:.0f} MB in {args.files} files")
        old, of_old = timed_again(parts)
        new, of_new = timed_once(many, Path(name) / "scratch")
    print(
        f"read for every part: {old:.1f} s; once: {new:.1f} s, {old / new:.1f} times as fast; equal: {of_old == of_new}"
    )


def write_box(folder: Path, times: int, files: int) -> Path:
    """The example's box in every place of a larger one; layers of it one after the other, as codes sort particles."""
    layers = np.array_split(np.arange(times**3), files)
    with h5py.File(next((EXAMPLE / "box").glob("*.hdf5"))) as box:
        for n, layer in enumerate(layers):
            with h5py.File(folder / f"snapshot_006.{n}.hdf5", "w") as file:
                box.copy("Header", file)
                header = file["Header"].attrs
                header["NumPart_Total"] = header["NumPart_Total"] * times**3
                header["NumPart_ThisFile"] = header["NumPart_ThisFile"] * len(layer)
                header["NumFilesPerSnapshot"], header["BoxSize"] = files, SIDE * times
                for kind in ("PartType0", "PartType1", "PartType4"):
                    for name, block in box[kind].items():
                        copies = [block[:] + shift_of(k, times) if name == "Coordinates" else block[:] for k in layer]
                        file[f"{kind}/{name}"] = np.concatenate(copies)
    return folder / "snapshot_006.0.hdf5"


def shift_of(k: int, times: int) -> np.ndarray:
    return SIDE * np.array(np.unravel_index(k, (times, times, times)), np.float32)


def repeated(halos: list[Halo], path: Path, times: int) -> list[Halo]:
    """In an order that has nothing to do with their places, as that of a catalogue, which goes by mass."""
    source, box = replace(halos[0].source, snapshot_file=path), read_header(path).box
    shifts = [shift_of(k, times) / SIDE * box / times for k in range(times**3)]
    return [replace(halo, source=source, centre=halo.centre + shift) for halo in halos for shift in shifts]


def timed_again(parts: list[list[Halo]]) -> tuple[float, list[float]]:
    start, found = time.perf_counter(), []
    for halos in parts:
        path = halos[0].source.snapshot_file
        centres, radii = np.array([halo.centre for halo in halos]), reach_of(halos)
        snapshot = read_snapshot(path, image_spheres(centres, radii, read_header(path).box), metallicity=False)
        boundary_masses(path, centres, radii)
        snapshot = with_images(snapshot, centres, radii)
        found += [mass_about(snapshot.gas.positions, snapshot.gas.masses, halo) for halo in halos]
    return time.perf_counter() - start, found


def timed_once(halos: list[Halo], folder: Path) -> tuple[float, list[float]]:
    start, found = time.perf_counter(), []
    scratch = read_once(halos, folder, Maps(), Asked(metallicity=False), MPI.COMM_SELF)
    if not isinstance(scratch, Scratch):
        raise SystemExit(scratch)
    print(f"the pass alone: {time.perf_counter() - start:.1f} s")
    for halo in halos:
        gas = snapshot_about(scratch, halo, None).gas
        boundary_mass_about(scratch, halo)
        found.append(mass_about(gas.positions, gas.masses, halo))
    remove(scratch)
    return time.perf_counter() - start, found


def mass_about(positions: np.ndarray, masses: np.ndarray, halo: Halo) -> float:
    near = np.sum((positions - halo.centre) ** 2, axis=1) <= reach_of([halo]) ** 2
    return float(masses[near].sum())


if __name__ == "__main__":
    main()
