"""Mock regions on disk as The300's are: `NewMDCLUSTER_NNNN/` with a snapshot and an AHF catalogue.

GADGET-X is GADGET-2 binary, format 2 (Springel 2005, user guide, section 6): named blocks, each between two counts of
its bytes. GIZMO-SIMBA is GADGET's HDF5. Both in one file or in several. Every file says that it is a mock. The
catalogue lists the main halo alone; columns of AHF that nothing here measures are 0.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy import units as u

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Config, Mock, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import new_hdf5
from hpc_massmap.sims.mock import MASS_UNIT, Blocks, Region
from hpc_massmap.sims.mock_halo import CODES, COSMOLOGY, REDSHIFTS, Code
from hpc_massmap.sims.particles import DARK_MATTER
from hpc_massmap.sims.selection import named
from hpc_massmap.storage import replacing, write_text

NOTICE = "mock, not a simulation: analytic halo"
NOTICE_FILE = "MOCK.txt"
BOX = 1e6  # kpc/h, MultiDark's
KINDS = 6
FIRST_OF_SEVERAL = re.compile(r"\.0(?=(\.hdf5)?$)")

BINARY_BLOCKS = {
    "Coordinates": "POS ",
    "Velocities": "VEL ",
    "ParticleIDs": "ID  ",
    "Masses": "MASS",
    "InternalEnergy": "U   ",
    "Density": "RHO ",
    "ElectronAbundance": "NE  ",
    "SmoothingLength": "HSML",
    "StarFormationRate": "SFR ",
    "Metallicity": "Z   ",
}

_AHF = """
ID hostHalo numSubStruct Mvir npart Xc Yc Zc VXc VYc VZc Rvir Rmax r2 mbp_offset com_offset Vmax v_esc sigV
lambda lambdaE Lx Ly Lz b c Eax Eay Eaz Ebx Eby Ebz Ecx Ecy Ecz ovdens nbins fMhires Ekin Epot SurfP Phi0 cNFW
n_gas M_gas lambda_gas lambdaE_gas Lx_gas Ly_gas Lz_gas b_gas c_gas Eax_gas Eay_gas Eaz_gas Ebx_gas Eby_gas Ebz_gas
Ecx_gas Ecy_gas Ecz_gas Ekin_gas Epot_gas
n_star M_star lambda_star lambdaE_star Lx_star Ly_star Lz_star b_star c_star Eax_star Eay_star Eaz_star Ebx_star
Eby_star Ebz_star Ecx_star Ecy_star Ecz_star Ekin_star Epot_star
mean_z_gas mean_z_star n_star_excised M_star_excised mean_z_star_excised
M_500 R_500
"""
AHF_COLUMNS = _AHF.split()  # the last two, of a second overdensity, follow AHF's 88


def mock_of(config: Config) -> Mock:
    """The mock that a config asks for.

    Raises
    ------
    InputError
        If it asks for none.
    """
    if config.mock is None:
        raise InputError(f"config {config.name} has no section `mock`; start from configs/mock.yaml")
    return config.mock


def codes_of(simulations: list[Simulation]) -> list[Code]:
    """The code that each simulation mocks.

    Raises
    ------
    InputError
        If its name is of no such code, or a snapshot has no known redshift.
    """
    for simulation in simulations:
        if simulation.name not in CODES:
            raise InputError(f"simulations: there is no mock of {simulation.name}; name it {' or '.join(CODES)}")
        unknown = sorted(set(simulation.snapshots) - set(REDSHIFTS))
        if unknown:
            numbers = f"{min(REDSHIFTS)} to {max(REDSHIFTS)}"
            raise InputError(f"simulations: {simulation.name} has snapshot {unknown[0]}; the mock has {numbers}")
    return [CODES[simulation.name] for simulation in simulations]


def claim_folders(folders: list[Path]) -> None:
    """Say in each folder that what is in it is a mock.

    Raises
    ------
    InputError
        If one holds anything else: a mock never mixes with simulations.
    """
    for folder in folders:
        notice = folder / NOTICE_FILE
        if folder.exists() and any(folder.iterdir()) and not notice.exists():
            raise InputError(f"{folder}: holds files that are no mock; choose another simulations.folder")
        write_text(notice, f"{NOTICE}s, for scale, benchmarks and statistics; see hpc_massmap/sims/mock.py\n")


def write_region(simulation: Simulation, region: Region, files: int) -> None:
    """Write a region where the config looks for it; a snapshot whose pattern names file 0 becomes `files` files.

    Raises
    ------
    InputError
        If the config would not find it.
    """
    folder = simulation.folder / region.halo.name
    catalogue = (
        f"{region.code.catalogue}-{region.halo.name}.snap_{region.snapshot:03d}.z{region.redshift:.3f}.AHF_halos"
    )
    if not fnmatch(catalogue, named(simulation.catalogue, region.snapshot)):
        raise InputError(f"simulations: {catalogue} does not match {simulation.catalogue}")
    first = folder / named(simulation.snapshot, region.snapshot)
    paths = [first]
    if FIRST_OF_SEVERAL.search(first.name):
        paths = [first.with_name(FIRST_OF_SEVERAL.sub(f".{i}", first.name)) for i in range(files)]
    write = _write_binary if region.code.name == "GADGET-X" else _write_hdf5
    for path, blocks in zip(paths, _parts(region, len(paths)), strict=True):
        write(path, region, blocks, len(paths))
    write_text(folder / catalogue, catalogue_text(region))


def _parts(region: Region, files: int) -> Iterator[dict[int, Blocks]]:
    """An equal part of every type for each file, with ids that count from 1 through all types."""
    first_id = 1
    numbered: dict[int, Blocks] = {}
    for kind in sorted(region.particles):
        blocks = region.particles[kind]
        last_id = first_id + len(blocks["Masses"])
        numbered[kind] = {**blocks, "ParticleIDs": np.arange(first_id, last_id, dtype=np.uint32)}
        first_id = last_id
    for i in range(files):
        yield {
            kind: {
                name: values[len(values) * i // files : len(values) * (i + 1) // files]
                for name, values in blocks.items()
            }
            for kind, blocks in numbered.items()
        }


def _counts(particles: dict[int, Blocks]) -> list[int]:
    return [len(particles[kind]["Masses"]) if kind in particles else 0 for kind in range(KINDS)]


def _write_hdf5(path: Path, region: Region, blocks: dict[int, Blocks], files: int) -> None:
    """Masses stand in a block of every type, as GIZMO writes them."""
    header = {
        "NumPart_ThisFile": np.array(_counts(blocks), np.int32),
        "NumPart_Total": np.array(_counts(region.particles), np.uint32),
        "NumPart_Total_HighWord": np.zeros(KINDS, np.uint32),
        "MassTable": np.zeros(KINDS),
        "Time": 1 / (1 + region.redshift),
        "Redshift": region.redshift,
        "BoxSize": BOX,
        "NumFilesPerSnapshot": files,
        "Omega0": COSMOLOGY.Om0,
        "OmegaLambda": COSMOLOGY.Ode0,
        "HubbleParam": COSMOLOGY.h,
        "UnitLength_in_cm": float(u.kpc.to(u.cm)),
        "UnitMass_in_g": float((MASS_UNIT * u.Msun).to_value(u.g)),
        "UnitVelocity_in_cm_per_s": float((u.km / u.s).to(u.cm / u.s)),
        **{f"Flag_{name}": 1 for name in ("Sfr", "Feedback", "Cooling", "Metals")},
        **{f"Flag_{name}": 0 for name in ("StellarAge", "DoublePrecision")},
        "Notice": NOTICE,
    }
    with new_hdf5(path) as file:
        file.create_group("Header").attrs.update(header)
        for kind, named in blocks.items():
            for name, values in named.items():
                file[f"PartType{kind}/{name}"] = values


def _write_binary(path: Path, region: Region, blocks: dict[int, Blocks], files: int) -> None:
    """The mass of dark matter stands in the header, those of the other types in the block MASS."""
    dark_matter_mass = float(region.particles[DARK_MATTER]["Masses"][0])
    with replacing(path) as temporary, temporary.open("wb") as file:
        _write_block(file, "HEAD", [_binary_header(region, blocks, files, dark_matter_mass)])
        for name, label in BINARY_BLOCKS.items():
            arrays = [
                named[name]
                for kind, named in sorted(blocks.items())
                if name in named and (name, kind) != ("Masses", DARK_MATTER)
            ]
            _write_block(file, label, arrays)


def _binary_header(region: Region, blocks: dict[int, Blocks], files: int, dark_matter_mass: float) -> Any:
    """GADGET-2's 256 bytes; the notice stands in the unused ones at the end."""
    layout = [
        ("npart", "<i4", KINDS),
        ("mass", "<f8", KINDS),
        ("time", "<f8"),
        ("redshift", "<f8"),
        ("flag_sfr", "<i4"),
        ("flag_feedback", "<i4"),
        ("npart_total", "<u4", KINDS),
        ("flag_cooling", "<i4"),
        ("num_files", "<i4"),
        ("box_size", "<f8"),
        ("omega0", "<f8"),
        ("omega_lambda", "<f8"),
        ("hubble_param", "<f8"),
        ("flag_stellarage", "<i4"),
        ("flag_metals", "<i4"),
        ("npart_total_high_word", "<u4", KINDS),
        ("flag_entropy_instead_u", "<i4"),
        ("fill", "S60"),
    ]
    header = np.zeros(1, layout)
    header["npart"] = _counts(blocks)
    header["npart_total"] = _counts(region.particles)
    header["mass"][0, DARK_MATTER] = dark_matter_mass
    header["time"], header["redshift"] = 1 / (1 + region.redshift), region.redshift
    header["num_files"], header["box_size"] = files, BOX
    header["omega0"], header["omega_lambda"], header["hubble_param"] = COSMOLOGY.Om0, COSMOLOGY.Ode0, COSMOLOGY.h
    for flag in ("sfr", "feedback", "cooling", "metals"):
        header[f"flag_{flag}"] = 1
    header["fill"] = NOTICE.encode()
    return header


def _write_block(file: BinaryIO, label: str, arrays: list[FloatArray]) -> None:
    """A record of the label and the bytes to the next one, then the record of the values."""
    size = sum(array.nbytes for array in arrays)
    np.array([8], "<u4").tofile(file)
    file.write(label.encode())
    np.array([size + 8, 8, size], "<u4").tofile(file)
    for array in arrays:
        array.tofile(file)
    np.array([size], "<u4").tofile(file)


def catalogue_text(region: Region) -> str:
    """The AHF catalogue of a region; as in AHF's, the id starts with the number of the snapshot."""
    values = dict.fromkeys(AHF_COLUMNS, 0.0) | region.catalogue
    names = "\t".join(f"{name}({i})" for i, name in enumerate(AHF_COLUMNS, 1))
    numbers = [f"{values[name]:.10g}" for name in AHF_COLUMNS[1:]]
    return f"#{names}\n# {NOTICE}\n" + "\t".join([f"{region.snapshot}{1:012d}", *numbers]) + "\n"
