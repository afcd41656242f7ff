"""The candidates: which halos of which snapshots pass the cuts (section 2.1); sims/sample.py draws the sample of them.

One source, a region at one time, is read by itself, so that many readers can share the sources.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.sims.catalogue import Catalogue, read_catalogue
from hpc_massmap.sims.snapshot import read_header
from hpc_massmap.storage import digest_of

NUMBERED = re.compile(r"(.*)\.(\d+)(\.\w+)?")  # a file of a snapshot of several


@dataclass(frozen=True, slots=True)
class Source:
    """One region of one simulation at one time: its two files."""

    simulation: str
    region: str
    snapshot: int
    snapshot_file: Path
    catalogue_file: Path


@dataclass(frozen=True, slots=True)
class Halo:
    """One row of the sample, or a candidate for one.

    Attributes
    ----------
    source : where it comes from
    centre : (3,), physical kpc without h, as the particles of the snapshot
    m200 : Msun/h
    r200, r500 : physical kpc without h
    f_gas, f_star : gas and stellar mass over m200
    h, omega_m : of its simulation
    """

    source: Source
    redshift: float
    halo_id: int
    centre: FloatArray
    m200: float
    r200: float
    r500: float
    f_gas: float
    f_star: float
    h: float
    omega_m: float


def find_sources(simulations: list[Simulation]) -> list[Source]:
    """The files the sample is drawn from.

    A region may lack a whole snapshot, as the zoom-in regions of some suites do; one of the two files without the
    other is a mistake.

    Raises
    ------
    InputError
        If a folder holds no region, or no snapshot of those asked for, or a file lacks its counterpart, or two
        sources are one.
    """
    sources = []
    for simulation in simulations:
        regions = sorted(path for path in simulation.folder.glob(simulation.region) if path.is_dir())
        if not regions:
            raise InputError(f"{simulation.folder}: no folder named {simulation.region}; check simulations.folder")
        found = [_source(simulation, region, snapshot) for region in regions for snapshot in simulation.snapshots]
        if not any(found):
            raise InputError(
                f"{simulation.folder}: its {len(regions)} regions hold none of the snapshots {simulation.snapshots} "
                f"as {simulation.snapshot} with {simulation.catalogue}"
            )
        sources += [source for source in found if source]
    _refuse_twins(sources)
    return sources


def _refuse_twins(sources: list[Source]) -> None:
    """A halo that is there twice has twice the weight, and the maps of two regions of one name are mixed up."""
    seen: dict[tuple[object, ...], Source] = {}
    for source in sources:
        first = seen.setdefault((source.simulation, source.region, source.snapshot), source)
        if first is not source:
            raise InputError(
                f"{source.snapshot_file}: is snapshot {source.snapshot} of {source.region} of {source.simulation}, as "
                f"{first.snapshot_file}; every simulation, region and snapshot needs a name of its own"
            )
        for file in (source.snapshot_file, source.catalogue_file):
            first = seen.setdefault((source.simulation, file), source)
            if first is not source:
                raise InputError(
                    f"{file}: would be snapshot {first.snapshot} and snapshot {source.snapshot} of "
                    f"{source.simulation}; "
                    "use {snapshot:03d} in simulations.snapshot and simulations.catalogue"
                )


def _source(simulation: Simulation, region: Path, snapshot: int) -> Source | None:
    snapshot_file = _one_file(region, simulation.snapshot, snapshot)
    catalogue_file = _one_file(region, simulation.catalogue, snapshot)
    if snapshot_file and catalogue_file:
        return Source(simulation.name, region.name, snapshot, snapshot_file, catalogue_file)
    if snapshot_file:
        raise InputError(f"{snapshot_file}: its halo catalogue {named(simulation.catalogue, snapshot)} is missing")
    if catalogue_file:
        raise InputError(f"{catalogue_file}: its snapshot {named(simulation.snapshot, snapshot)} is missing")
    return None


def _one_file(region: Path, pattern: str, snapshot: int) -> Path | None:
    files = sorted(region.glob(named(pattern, snapshot)))
    if len(files) > 1:
        raise InputError(f"{region}: both {files[0].name} and {files[1].name} match {pattern}; make it narrower")
    return files[0] if files else None


def named(pattern: str, snapshot: int) -> str:
    """The pattern of a simulation's files for one snapshot.

    Raises
    ------
    InputError
        If it asks for anything but the number.
    """
    try:
        return pattern.format(snapshot=snapshot)
    except (KeyError, IndexError, ValueError):
        raise InputError(f"simulations: {pattern!r} is no file pattern; use {{snapshot:03d}} for the number") from None


def siblings(path: Path) -> list[Path]:
    """All files of a snapshot by their names alone, without opening any: those numbered like `path`, whose number is 0.

    A file that a damaged snapshot lacks is not missed here, but when it is read.
    """
    name = NUMBERED.fullmatch(path.name)
    if name is None:
        return [path]
    others = (NUMBERED.fullmatch(file.name) for file in path.parent.iterdir())
    own = [other for other in others if other and (other[1], other[3]) == (name[1], name[3])]
    return [path.with_name(other[0]) for other in sorted(own, key=lambda other: int(other[2]))]


def sources_digest(sources: list[Source]) -> str:
    """The identity of the input files: their names, sizes and times of last change, not their content."""
    files = [file for source in sources for file in (*siblings(source.snapshot_file), source.catalogue_file)]
    states = [(file, file.stat()) for file in files]
    return digest_of([(str(file), state.st_size, state.st_mtime_ns) for file, state in states])


def candidates(source: Source, cuts: Selection) -> list[Halo]:
    """The halos of one source that pass every cut, in the order of its catalogue.

    Raises
    ------
    InputError
        If the catalogue or the snapshot cannot be read.
    """
    catalogue = read_catalogue(source.catalogue_file)
    passed = ~np.any(list(_failed(catalogue, cuts).values()), axis=0)
    if not passed.any():
        return []
    header = read_header(source.snapshot_file)
    to_kpc = header.a / header.h
    return [
        Halo(
            source,
            header.redshift,
            int(catalogue.halo_id[i]),
            catalogue.centre[i] * to_kpc,
            float(catalogue.m200[i]),
            float(catalogue.r200[i]) * to_kpc,
            float(catalogue.r500[i]) * to_kpc,
            float(catalogue.m_gas[i] / catalogue.m200[i]),
            float(catalogue.m_star[i] / catalogue.m200[i]),
            header.h,
            header.omega_m,
        )
        for i in np.flatnonzero(passed)
    ]


def check_some_are_left(halos: list[Halo], sources: list[Source], cuts: Selection) -> None:
    """Refuse to go on without a candidate.

    Raises
    ------
    InputError
        With the number each cut removed: the catalogues are read again to say so.
    """
    if halos:
        return
    removed, seen = Counter[str](), 0
    for source in sources:
        catalogue = read_catalogue(source.catalogue_file)
        seen += len(catalogue)
        for cut, failed in _failed(catalogue, cuts).items():
            removed[cut] += int(np.count_nonzero(failed))
    reasons = ", ".join(f"{cut} removed {number}" for cut, number in removed.most_common() if number)
    raise InputError(f"selection: none of the {seen} halos in {len(sources)} catalogues is left: {reasons}")


def _failed(catalogue: Catalogue, cuts: Selection) -> dict[str, npt.NDArray[np.bool_]]:
    """Which halos each cut removes, (n,) each; a halo is the first one's that removes it."""
    light, heavy = catalogue.m200 < cuts.m200_min, catalogue.m200 > cuts.m200_max
    contaminated = ~light & ~heavy & (catalogue.f_mhires != 1) & cuts.uncontaminated
    return {
        f"m200_min = {cuts.m200_min:g}": light,
        f"m200_max = {cuts.m200_max:g}": heavy,
        "uncontaminated (fMhires == 1)": contaminated,
    }
