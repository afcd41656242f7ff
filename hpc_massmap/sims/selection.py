"""The sample: which halos of which snapshots are drawn (section 2.1).

The table's order is that of the config's simulations, then region by name, then the config's snapshots, then the
catalogue: the same on every machine.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.sims.catalogue import Catalogue, read_catalogue
from hpc_massmap.sims.snapshot import read_header
from hpc_massmap.storage import digest_of


@dataclass(frozen=True)
class Source:
    """One region of one simulation at one time: its two files."""

    simulation: str
    region: str
    snapshot: int
    snapshot_file: Path
    catalogue_file: Path


@dataclass(frozen=True)
class Halo:
    """One row of the sample.

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
        If a folder holds no region, or no snapshot of those asked for, or a file lacks its counterpart.
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
    return sources


def _source(simulation: Simulation, region: Path, snapshot: int) -> Source | None:
    snapshot_file = _one_file(region, simulation.snapshot, snapshot)
    catalogue_file = _one_file(region, simulation.catalogue, snapshot)
    if snapshot_file and catalogue_file:
        return Source(simulation.name, region.name, snapshot, snapshot_file, catalogue_file)
    if snapshot_file:
        raise InputError(f"{snapshot_file}: its halo catalogue {_named(simulation.catalogue, snapshot)} is missing")
    if catalogue_file:
        raise InputError(f"{catalogue_file}: its snapshot {_named(simulation.snapshot, snapshot)} is missing")
    return None


def _one_file(region: Path, pattern: str, snapshot: int) -> Path | None:
    files = sorted(region.glob(_named(pattern, snapshot)))
    if len(files) > 1:
        raise InputError(f"{region}: both {files[0].name} and {files[1].name} match {pattern}; make it narrower")
    return files[0] if files else None


def _named(pattern: str, snapshot: int) -> str:
    try:
        return pattern.format(snapshot=snapshot)
    except (KeyError, IndexError, ValueError):
        raise InputError(f"simulations: {pattern!r} is no file pattern; use {{snapshot:03d}} for the number") from None


def sources_digest(sources: list[Source]) -> str:
    """The identity of the input files: their names, sizes and times of last change, not their content."""
    files = [file for source in sources for file in (source.snapshot_file, source.catalogue_file)]
    return digest_of([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def select_halos(sources: list[Source], cuts: Selection) -> list[Halo]:
    """The halos that pass every cut.

    Raises
    ------
    InputError
        If none does, with the number each cut removed.
    """
    halos, removed, seen = [], Counter[str](), 0
    for source in sources:
        catalogue = read_catalogue(source.catalogue_file)
        header = read_header(source.snapshot_file)
        to_kpc = header.a / header.h
        seen += len(catalogue)
        for i in range(len(catalogue)):
            failed = _failed_cut(catalogue, i, cuts)
            if failed:
                removed[failed] += 1
                continue
            m200 = float(catalogue.m200[i])
            halos.append(
                Halo(
                    source,
                    header.redshift,
                    int(catalogue.halo_id[i]),
                    catalogue.centre[i] * to_kpc,
                    m200,
                    float(catalogue.r200[i]) * to_kpc,
                    float(catalogue.r500[i]) * to_kpc,
                    float(catalogue.m_gas[i]) / m200,
                    float(catalogue.m_star[i]) / m200,
                    header.h,
                    header.omega_m,
                )
            )
    if not halos:
        reasons = ", ".join(f"{cut} removed {number}" for cut, number in removed.most_common())
        raise InputError(f"selection: none of the {seen} halos in {len(sources)} catalogues is left: {reasons}")
    return halos


def _failed_cut(catalogue: Catalogue, i: int, cuts: Selection) -> str | None:
    if catalogue.m200[i] < cuts.m200_min:
        return f"m200_min = {cuts.m200_min:g}"
    if catalogue.m200[i] > cuts.m200_max:
        return f"m200_max = {cuts.m200_max:g}"
    if cuts.uncontaminated and catalogue.f_mhires[i] != 1:
        return "uncontaminated (fMhires == 1)"
    return None
