import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy import units as u

from hpc_massmap.errors import InputError
from hpc_massmap.sims.particles import FULLY_IONISED
from hpc_massmap.sims.snapshot import read_header, read_snapshot
from tests.sims.files import EXAMPLE, GAS_BLOCKS, write_snapshot

REAL = EXAMPLE / "region_0001" / "snap_106.hdf5"


def test_units_are_converted_once(tmp_path: Path) -> None:
    a, h = 0.5, 0.5
    snapshot = read_snapshot(write_snapshot(tmp_path / "s", redshift=1.0))
    code_length = a / h * u.kpc
    density = (2 * 1e10 / h * u.Msun / code_length**3).to_value(u.Msun / u.kpc**3)
    np.testing.assert_allclose(snapshot.gas.positions[1], [2, 20, 200])  # a/h = 1 here, so below once more
    np.testing.assert_allclose(snapshot.gas.density[1], density)
    np.testing.assert_allclose(snapshot.gas.masses, np.arange(1, 6) * 1e10)
    np.testing.assert_allclose(snapshot.gas.internal_energy, np.arange(1, 6))
    np.testing.assert_allclose(snapshot.dark_matter.masses, 3.5e10)
    today = read_snapshot(write_snapshot(tmp_path / "s", redshift=0.0))
    np.testing.assert_allclose(today.gas.positions[1], [4, 40, 400])
    np.testing.assert_allclose(today.dark_matter.positions[4], [10, 100, 1000])
    np.testing.assert_allclose(today.gas.smoothing_length, np.arange(2, 12, 2))
    np.testing.assert_allclose(today.gas.density[1], density / 8)


def test_types_without_particles_are_empty_and_gas_without_ionisation_is_ionised(tmp_path: Path) -> None:
    snapshot = read_snapshot(write_snapshot(tmp_path / "s"))
    assert (len(snapshot.stars), len(snapshot.black_holes)) == (0, 0)
    assert snapshot.stars.positions.shape == (0, 3)
    np.testing.assert_allclose(snapshot.gas.electron_abundance, FULLY_IONISED)
    assert pytest.approx(1 + 2 * 0.24 / 4 / 0.76) == FULLY_IONISED


def test_a_real_snapshot() -> None:
    snapshot = read_snapshot(REAL)
    assert snapshot.header == read_header(REAL)
    assert (snapshot.header.h, snapshot.header.omega_m, snapshot.header.a) == (0.6777, 0.307115, 1.0)
    assert [len(p) for p in (snapshot.gas, snapshot.dark_matter, snapshot.stars)] == [3532, 3777, 144]
    assert snapshot.dark_matter.masses[0] == pytest.approx(3.4256e10, rel=1e-4)
    # the run's kernels hold 40 neighbours inside the full radius: this ties radius, density and mass, and their units
    gas = snapshot.gas
    neighbours = 4 / 3 * np.pi * gas.smoothing_length**3 * gas.density / (gas.masses / snapshot.header.h)
    np.testing.assert_allclose(np.median(neighbours), 40, rtol=0.02)


def test_gadget_4_keeps_its_cosmology_under_parameters(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s")
    with h5py.File(path, "a") as file:
        names = ("Omega0", "OmegaLambda", "HubbleParam")
        file.create_group("Parameters").attrs.update({name: file["Header"].attrs[name] for name in names})
        for name in names:
            del file["Header"].attrs[name]
    assert read_header(path).omega_m == 0.3


@pytest.mark.parametrize("block", GAS_BLOCKS)
def test_a_block_that_is_missing_short_or_nan_is_named(block: str, tmp_path: Path) -> None:
    path, name = write_snapshot(tmp_path / "s"), f"PartType0/{block}"
    with h5py.File(path, "a") as file:
        values = file[name][:]
        del file[name]
    if block not in ("SmoothingLength", "StarFormationRate"):  # which have a substitute
        assert problem(path) == f"{path}: has no {name}"
    with h5py.File(path, "a") as file:
        file[name] = values[:-1]
    assert problem(path) == f"{path}: {name} is {values[:-1].shape}, but the Header counts {values.shape}"
    with h5py.File(path, "a") as file:
        del file[name]
        values[2] = np.nan
        file[name] = values
    assert problem(path) == f"{path}: {name} has values that are not finite"


def test_a_value_that_cannot_be(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s")
    with h5py.File(path, "a") as file:
        file["PartType0/Density"][0] = 0
    assert problem(path) == f"{path}: PartType0/Density has values that are not positive"
    with h5py.File(path, "a") as file:
        del file["PartType0/Density"]
        file.create_group("PartType0/Density")
    assert problem(path) == f"{path}: has no PartType0/Density"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"NumFilesPerSnapshot": 4}, "one of 4 files of a snapshot; give the one whose name has the number 0"),
        ({"NumFilesPerSnapshot": "one"}, "NumFilesPerSnapshot = one in the Header"),
        ({"Redshift": np.nan}, "Redshift = nan in the Header"),
        ({"HubbleParam": 1e300}, "HubbleParam = 1e+300 cannot be: it is H0 over 100 km/s/Mpc, as 0.6777"),
        ({"BoxSize": [1.0, 2.0, 3.0]}, "BoxSize = [1. 2. 3.] in the Header; expected the side of a cube"),
        ({"Redshift": [0.0, 1.0]}, "Redshift = [0. 1.] in the Header"),
        ({"HubbleParam": "0.7 km"}, "HubbleParam = 0.7 km in the Header"),
        ({"UnitMass_in_g": "gram"}, "UnitMass_in_g = gram in the Header"),
        ({"UnitMass_in_g": -1.0}, "UnitMass_in_g = -1 in the Header; expected a positive number"),
    ],
)
def test_a_header_that_is_not_understood(header: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s", **header)
    assert problem(path) == f"{path}: {message}"


@pytest.mark.parametrize("value", ["x", h5py.Empty("f"), [], [[1.0, 2.0]]], ids=repr)
@pytest.mark.parametrize("name", ["Redshift", "HubbleParam", "Omega0", "NumFilesPerSnapshot", "UnitMass_in_g"])
def test_a_header_with_what_is_no_number(name: str, value: Any, tmp_path: Path) -> None:
    header: dict[str, Any] = {name: value}
    path = write_snapshot(tmp_path / "s", **header)
    assert re.fullmatch(rf"{path}: {name} = .+ in the Header", problem(path))


@pytest.mark.parametrize("value", ["x", h5py.Empty("f"), 1.0], ids=repr)
def test_a_table_of_masses_that_is_none(value: Any, tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s", MassTable=value)
    told = problem(path)
    assert told.startswith(f"{path}: not a readable HDF5") or told == f"{path}: has no PartType1/Masses"


@pytest.mark.parametrize(("name", "value"), [("Redshift", 1e300), ("UnitLength_in_cm", 1e300)])
def test_a_header_with_a_number_beyond_all_others(name: str, value: float, tmp_path: Path) -> None:
    header: dict[str, Any] = {name: value}
    path = write_snapshot(tmp_path / "s", **header)
    assert problem(path).startswith(f"{path}: its Header cannot be understood; is it damaged? (")


def test_a_header_without_an_entry(tmp_path: Path) -> None:
    for name in ("MassTable", "Omega0", "Redshift"):
        path = write_snapshot(tmp_path / "s")
        with h5py.File(path, "a") as file:
            del file["Header"].attrs[name]
        assert problem(path).startswith(f"{path}: Header has no {name}")
    with h5py.File(path, "a") as file:
        del file["Header"]
    assert problem(path).startswith(f"{path}: has no Header")


def test_files_that_are_no_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert problem(path) == f"{path}: no such snapshot"
    whole = REAL.read_bytes()
    for length in (0, 1000, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:length])
        assert problem(path).startswith(f"{path}: not a readable ")
    damaged = bytearray(whole)
    damaged[len(whole) // 3 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 3)
    path.write_bytes(damaged)
    assert str(path) in problem(path)


def problem(path: Path) -> str:
    """The one line that reading the file ends with."""
    with pytest.raises(InputError) as error:
        read_snapshot(path)
    message = str(error.value)
    assert "\n" not in message
    return message
