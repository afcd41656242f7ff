import errno
import re
import shutil
from collections.abc import Callable
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
        ({"HubbleParam": 1e300}, "HubbleParam = 1e+300 in the Header"),
        ({"HubbleParam": 1e30}, "HubbleParam = 1e+30 cannot be: it is H0 over 100 km/s/Mpc, as 0.6777"),
        ({"Redshift": 1e30}, "Redshift = 1e+30 in the Header cannot be"),
        ({"Redshift": 1e300}, "Redshift = 1e+300 in the Header"),
        ({"UnitLength_in_cm": 1e300}, "UnitLength_in_cm = 1e+300 in the Header"),
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


@pytest.mark.parametrize(
    "value", [np.nan, np.inf, -1, 1e300, 2**63, [2.5, 5], [-5] * 6, [5, np.nan], ["a"] * 6, h5py.Empty("f")], ids=repr
)
def test_a_number_of_particles_that_is_none(value: Any, tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s", NumPart_ThisFile=value)
    told = problem(path)
    assert told.startswith(f"{path}: NumPart_ThisFile = [") or told == (
        f"{path}: not a readable HDF5 snapshot, or truncated (NumPart_ThisFile in the Header has no numbers)"
    )


@pytest.mark.parametrize(("counts", "kind"), [([0, 5], 0), ([5], 1), ([], 0)])
def test_particles_that_the_header_does_not_count_are_not_left_out(
    counts: list[int], kind: int, tmp_path: Path
) -> None:
    path = write_snapshot(tmp_path / "s", NumPart_ThisFile=counts)
    assert problem(path) == f"{path}: PartType{kind}/Coordinates is (5, 3), but the Header counts none"


def test_what_the_system_does_not_give_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in its place is the file's fault, and too many open files are not."""
    (tmp_path / "s").mkdir()
    assert problem(tmp_path / "s") == f"{tmp_path / 's'}: cannot be read (Is a directory)"

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(tmp_path / "t"))

    write_snapshot(tmp_path / "t")
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="Too many open files"):
        read_snapshot(tmp_path / "t")


@pytest.mark.parametrize("value", ["x", h5py.Empty("f"), 0.0], ids=repr)
def test_a_table_of_masses_that_is_none(value: Any, tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s", MassTable=value)
    told = problem(path)
    assert told.startswith(f"{path}: not a readable HDF5") or told == f"{path}: has no PartType1/Masses"


def test_a_header_without_an_entry(tmp_path: Path) -> None:
    for name in ("NumPart_ThisFile", "Omega0", "Redshift"):
        path = write_snapshot(tmp_path / "s")
        with h5py.File(path, "a") as file:
            del file["Header"].attrs[name]
        assert problem(path).startswith(f"{path}: Header has no {name}")
    with h5py.File(path, "a") as file:
        del file["Header"]
    assert problem(path).startswith(f"{path}: has no Header")


@pytest.mark.parametrize("form", [lambda x: [x], lambda x: np.array([[x]], "f4"), lambda x: str(x).encode(), str])
def test_numbers_in_the_forms_that_people_write(form: Callable[[float], Any], tmp_path: Path) -> None:
    """Arrays of one element, as SWIFT and H5LT write, texts and bytes."""
    names = ("Redshift", "HubbleParam", "Omega0", "OmegaLambda", "NumFilesPerSnapshot")
    plain = read_snapshot(write_snapshot(tmp_path / "s", redshift=0.25))
    with h5py.File(tmp_path / "s", "r+") as file:
        attributes = file["Header"].attrs
        attributes.update({name: form(float(attributes[name])) for name in names})
        attributes["NumPart_ThisFile"] = np.array([attributes["NumPart_ThisFile"]], "f8")
    read = read_snapshot(tmp_path / "s")
    assert read.header.redshift == plain.header.redshift
    np.testing.assert_allclose(read.gas.density, plain.gas.density, rtol=1e-6)


@pytest.mark.parametrize("name", ["Omega_Matter", "OmegaMatter"])
def test_other_names_of_the_density_of_matter(name: str, tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s", **{name: 0.31, "Omega_Lambda": 0.69})  # type: ignore[arg-type]
    with h5py.File(path, "a") as file:
        del file["Header"].attrs["Omega0"], file["Header"].attrs["OmegaLambda"]
    header = read_header(path)
    assert (header.omega_m, header.omega_lambda) == (0.31, 0.69)


def test_a_table_of_masses_is_needed_where_there_are_no_masses(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s")
    with h5py.File(path, "a") as file:
        del file["Header"].attrs["MassTable"]
    assert problem(path) == f"{path}: has no PartType1/Masses"
    with h5py.File(path, "a") as file:
        file["PartType1/Masses"] = np.full(5, 3.5, "f4")
    np.testing.assert_allclose(read_snapshot(path).dark_matter.masses, 3.5e10)
    with h5py.File(path, "a") as file:
        file["Header"].attrs["MassTable"] = [0, 3.5, 0, 0, 0, 0]
    assert len(read_snapshot(path).dark_matter) == 5
    with h5py.File(path, "a") as file:
        file["Header"].attrs["MassTable"] = [0, 2.0, 0, 0, 0, 0]
    told = "PartType1/Masses has 3.5 to 3.5, but MassTable in the Header 2; set it to 0 where the block is right"
    assert problem(path) == f"{path}: {told}"


def test_swift_s_layout_is_refused_by_name(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s")
    with h5py.File(path, "a") as file:
        del file["Header"].attrs["HubbleParam"]
        file.create_group("Cosmology").attrs.update({"h": [0.68], "Omega_m": [0.3]})
    assert "is in SWIFT's layout (it has a group Cosmology), whose lengths and masses have no h; " in problem(path)


def test_data_that_are_not_there_are_not_zeros(tmp_path: Path) -> None:
    """Virtual datasets, external storage and links whose files are gone."""
    path, other = write_snapshot(tmp_path / "s"), tmp_path / "electrons.h5"
    raw = tmp_path / "raw"
    with h5py.File(other, "w") as file:
        file["NE"] = np.full(5, 1.16)
    layout = h5py.VirtualLayout((5,), "f8")
    layout[:] = h5py.VirtualSource(str(other), "NE", (5,))
    with h5py.File(path, "a") as file:
        for name in ("linked", "virtual", "external"):
            shutil.copy(path, tmp_path / name)
        file.flush()
    with h5py.File(tmp_path / "virtual", "a") as file:
        file.create_virtual_dataset("PartType0/ElectronAbundance", layout)
    with h5py.File(tmp_path / "external", "a") as file:
        file.create_dataset("PartType0/ElectronAbundance", (5,), "f8", external=[(str(raw), 0, 40)])[:] = 1.16
    with h5py.File(tmp_path / "linked", "a") as file:
        file["PartType0/ElectronAbundance"] = h5py.ExternalLink(str(other), "NE")
    for name in ("linked", "virtual", "external"):
        assert read_snapshot(tmp_path / name).gas.electron_abundance.tolist() == [1.16] * 5
    other.unlink()
    raw.unlink()
    for name in ("virtual", "external"):
        told = problem(tmp_path / name)
        assert told.startswith(f"{tmp_path / name}: /PartType0/ElectronAbundance takes values from ")
    told = "PartType0/ElectronAbundance is a link that leads nowhere; put back the file that it names"
    assert problem(tmp_path / "linked") == f"{tmp_path / 'linked'}: {told}"


def test_what_nobody_asks_for_is_nobody_s_business(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s")
    with h5py.File(path, "a") as file:
        file["PartType0/Metallicity"] = np.full(5, np.nan)
        file["PartType0/Potential"] = np.full(5, np.nan)
        file["PartType0/Density"][4] = np.nan  # far from the halo
    far = np.array([[4.0, 40.0, 400.0]]), np.array([1.0])
    gas = read_snapshot(path, far, metallicity=False).gas
    assert (len(gas), gas.metallicity) == (1, None)
    with pytest.raises(InputError, match="PartType0/Metallicity has values that are not finite"):
        read_snapshot(path, far)


def test_a_missing_block_is_told_with_what_may_be_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_snapshot(tmp_path / "s")
    with h5py.File(path, "a") as file:
        file["PartType0/ElectronsPerHydrogen"] = np.full(5, 1.16)
    read_snapshot(path)
    said = capsys.readouterr().out
    assert "PartType0/ElectronAbundance is not in the snapshots, so gas is taken as fully ionised; not " in said
    assert "ElectronsPerHydrogen" in said


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


def test_bytes_that_change_are_told_or_of_no_matter(tmp_path: Path) -> None:
    """Of a real file, where its names and sizes are."""
    path, whole = tmp_path / "s", (EXAMPLE / "region_0043" / "snap_102.hdf5").read_bytes()
    stream, told = np.random.default_rng(3), []
    for _ in range(80):
        changed = bytearray(whole)
        changed[int(stream.integers(min(20000, len(whole))))] ^= 1 << int(stream.integers(8))
        path.write_bytes(changed)
        try:
            read_snapshot(path)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 40
    assert [line for line in told if str(path) not in line] == []


def problem(path: Path, pymsz: bool = False) -> str:
    """The one line that reading the file ends with."""
    with pytest.raises(InputError) as error:
        read_snapshot(path, pymsz=pymsz)
    message = str(error.value)
    assert "\n" not in message
    return message
