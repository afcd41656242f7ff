"""The candidates: which halos of which snapshots pass the cuts (section 2.1); sims/sample.py draws the sample of them.

One source, a region at one time, is read by itself, so that many readers can share the sources.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.sims.catalogue import Catalogue, catalogue_files, check_halo, read_catalogue
from hpc_massmap.sims.consistency import FEWEST, OVERDENSITY, TOLERANCE, check_r500, overdensity, what_it_may_be
from hpc_massmap.sims.particles import BoolArray, Header
from hpc_massmap.sims.snapshot import read_header
from hpc_massmap.storage import digest_of

REDSHIFT = re.compile(r"\.z(\d+\.\d+)(?=\.)")  # in the name of a catalogue, as AHF writes it
ROUNDED = 2e-3  # of that redshift, which has three decimals
DISCRETE = 40.0  # particles that R200 may lack, as its radius is that of the last one inside: of genuine catalogues
CORNER = float(np.sqrt(3))  # R200, from the centre to the corners of what is mapped
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
    box : side of its periodic box, comoving kpc; 0 where the snapshot does not say
    subvolume : of a whole box, where it stands for the region (sims/subvolumes.py)
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
    box: float = 0.0
    subvolume: str | None = None

    @property
    def region(self) -> str:
        """What the split keeps on one side: a folder, or a subvolume of the box that is in it."""
        return self.subvolume or self.source.region


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
    if len(files) > 1 and set(files) <= set(catalogue_files(files[0])):
        return files[0]  # of AHF under MPI
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
    files = [
        file
        for source in sources
        for file in (*siblings(source.snapshot_file), *catalogue_files(source.catalogue_file))
    ]
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
    passed = ~np.any(list(_failed(source, catalogue, cuts).values()), axis=0)
    if not passed.any():
        return []
    header = read_header(source.snapshot_file)
    _check_redshift(source, header)
    for row in np.flatnonzero(passed).tolist():
        check_halo(catalogue, row)
        _check_halo(catalogue, row, source, header)
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
            header.box / header.a,
        )
        for i in np.flatnonzero(passed)
    ]


def _check_redshift(source: Source, header: Header) -> None:
    """A catalogue says in its name of which redshift it is."""
    said = REDSHIFT.search(source.catalogue_file.name)
    if said and abs(float(said[1]) - header.redshift) > ROUNDED * (1 + header.redshift):
        raise InputError(
            f"{source.catalogue_file}: is of z = {said[1]} by its name, but {source.snapshot_file} of "
            f"z = {header.redshift:.3f}; do the two files belong together?"
        )


def _check_halo(catalogue: Catalogue, row: int, source: Source, header: Header) -> None:
    """M200 and R200 fit each other at the redshift and in the cosmology of the snapshot, and R500 fits them."""
    name, columns = catalogue.halo_name(row), catalogue.columns
    m200, r200 = float(catalogue.m200[row]), float(catalogue.r200[row])
    found = float(overdensity(m200, r200 * header.a, header.redshift, header.omega_m, header.omega_lambda))  # type: ignore[arg-type]
    said = float(catalogue.ovdens[row])
    expected = OVERDENSITY if np.isnan(said) else said
    lowest = _lowest(catalogue)[row] if np.isnan(said) else 1 - TOLERANCE
    told = not (catalogue.hosted[row] and np.isnan(said))  # a subhalo that is there by wish
    if told and not lowest <= found / expected <= 1 + TOLERANCE:
        cosmology = (header.redshift, header.h, header.omega_m, header.omega_lambda)
        raise InputError(
            f"{name}: {columns['m200']} = {m200:.4g} Msun/h and {columns['r200']} = {r200:.4g} kpc/h enclose "
            f"{found:.4g} times the critical density at z = {header.redshift:.3g}, Omega0 = {header.omega_m:.4g} of "
            f"{source.snapshot_file}, not {expected:.4g}: {what_it_may_be(found, expected, *cosmology)}"
        )
    check_r500(name, float(catalogue.r500[row]) / r200)


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
        for cut, failed in _failed(source, catalogue, cuts).items():
            removed[cut] += int(np.count_nonzero(failed))
    reasons = ", ".join(f"{cut} removed {number}" for cut, number in removed.most_common() if number)
    raise InputError(f"selection: none of the {seen} halos in {len(sources)} catalogues is left: {reasons}")


def _failed(source: Source, catalogue: Catalogue, cuts: Selection) -> dict[str, BoolArray]:
    """Which halos each cut removes, (n,) each; a halo is the first one's that removes it."""
    light, heavy = catalogue.m200 < cuts.m200_min, catalogue.m200 > cuts.m200_max
    left = ~light & ~heavy
    truncated = np.zeros(len(left), bool) if cuts.subhalos else _truncated(source, catalogue, left)
    contaminated = left & ~truncated & (catalogue.f_mhires != 1) & cuts.uncontaminated
    return {
        f"m200_min = {cuts.m200_min:g}": light,
        f"m200_max = {cuts.m200_max:g}": heavy,
        "subhalos (their radius is not R200)": truncated,
        "uncontaminated (fMhires == 1)": contaminated,
    }


def _truncated(source: Source, catalogue: Catalogue, left: BoolArray) -> BoolArray:
    """Which of those that are left have a radius that is not R200, (n,): AHF ends a subhalo where its host begins.

    Raises
    ------
    InputError
        If all halos that are no subhalos are among them: then it is the catalogue's own definition of a radius.
    """
    density, hosted = catalogue.ovdens, catalogue.hosted
    unknown = left & hosted & np.isnan(density)
    if unknown.any():
        header = read_header(source.snapshot_file)
        radii = catalogue.r200 * header.a
        found = overdensity(catalogue.m200, radii, header.redshift, header.omega_m, header.omega_lambda)
        density = np.where(unknown, found, density)
    truncated = left & ((density < OVERDENSITY * _lowest(catalogue)) | (density > OVERDENSITY * (1 + TOLERANCE)))
    field = left & ~hosted
    if np.count_nonzero(field) > 1 and np.all(truncated[field]):
        median = float(np.median(density[field]))
        raise InputError(
            f"{source.catalogue_file}: its halos have a median overdensity (ovdens) of {median:.4g}, not "
            f"{OVERDENSITY:g}; run AHF with 200 times the critical density"
        )
    return np.asarray(truncated)


def _lowest(catalogue: Catalogue) -> FloatArray:
    """The least density inside R200 in 200 critical ones, (n,): the radius of few particles is that of the last."""
    particles = np.where(np.isnan(catalogue.particles), DISCRETE / TOLERANCE, np.maximum(catalogue.particles, 1))
    return np.asarray(1 - np.clip(DISCRETE / particles, TOLERANCE, 1 - FEWEST))
