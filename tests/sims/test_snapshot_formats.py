"""GADGET-2's binary formats, several files, other codes' names and units, and particles near halos only."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_massmap.errors import InputError
from hpc_massmap.sims import blocks
from hpc_massmap.sims.particles import FULLY_IONISED, Particles, Snapshot
from hpc_massmap.sims.snapshot import read_snapshot, snapshot_files
from tests.sims.files import binary_blocks, write_binary, write_snapshot
from tests.sims.test_snapshot import REAL, problem

COUNTS = (7, 5, 3)


@pytest.mark.parametrize("precision", ["f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("named", [True, False])
def test_binary_blocks_come_out_as_written(named: bool, order: str, precision: str, tmp_path: Path) -> None:
    blocks = binary_blocks(*COUNTS, precision=precision)
    written = blocks if not named else dict(reversed([*blocks.items(), ("POT ", blocks["U   "])]))
    snapshot = read_snapshot(write_binary(tmp_path / "s", COUNTS, written, named, order))
    gas, h = snapshot.gas, 0.5  # and a/h = 1
    assert (snapshot.header.redshift, snapshot.header.h, snapshot.header.omega_m) == (1, h, 0.3)
    np.testing.assert_array_equal(gas.positions, blocks["POS "][:7])
    np.testing.assert_array_equal(snapshot.dark_matter.positions, blocks["POS "][7:12])
    np.testing.assert_array_equal(snapshot.stars.positions, blocks["POS "][12:])
    np.testing.assert_allclose(gas.masses, blocks["MASS"][:7].astype(float) * 1e10)
    np.testing.assert_allclose(snapshot.dark_matter.masses, blocks["MASS"][7:].astype(float) * 1e10)
    assert snapshot.stars.masses.tolist() == [0.25e10] * 3
    np.testing.assert_array_equal(gas.internal_energy, blocks["U   "])
    np.testing.assert_allclose(gas.density, blocks["RHO "].astype(float) * 1e10 / h)
    np.testing.assert_array_equal(gas.electron_abundance, blocks["NE  "])
    np.testing.assert_array_equal(gas.smoothing_length, blocks["HSML"])
    np.testing.assert_array_equal(gas.star_formation_rate, blocks["SFR "])
    np.testing.assert_array_equal(gas.metallicity, blocks["Z   "][:7])


def test_gadget_x_species_become_total_metals(tmp_path: Path) -> None:
    blocks = binary_blocks(*COUNTS)
    del blocks["Z   "]
    blocks["Zs  "] = np.random.default_rng(1).uniform(0, 0.01, (10, 15)).astype("f4")
    gas = read_snapshot(write_binary(tmp_path / "s", COUNTS, blocks, True)).gas
    expected = [sum(float(x) for x in row[1:]) / m for row, m in zip(blocks["Zs  "], blocks["MASS"][:7], strict=False)]
    assert gas.metallicity is not None
    np.testing.assert_allclose(gas.metallicity, expected, rtol=1e-6)


@pytest.mark.parametrize("named", [True, False])
def test_a_truncated_binary_file_names_the_block(named: bool, tmp_path: Path) -> None:
    path = write_binary(tmp_path / "s", COUNTS, binary_blocks(*COUNTS), named)
    whole = path.read_bytes()
    for length in range(4, len(whole) - 1, 37):
        path.write_bytes(whole[:length])
        assert problem(path).startswith(f"{path}: ")
    path.write_bytes(whole[:-3])
    assert problem(path) == f"{path}: truncated in block Z: 3 bytes are missing"
    path.write_bytes(whole[:-4] + b"\1\0\0\0")
    assert problem(path) == f"{path}: block Z begins as 40 bytes and ends as 1; is it damaged?"


GADGET_4_ORDER = ("POS ", "VEL ", "ID  ", "MASS", "U   ", "RHO ", "HSML", "SFR ", "AGE ", "Z   ", "NE  ")


def flags_of(path: Path, value: bytes) -> None:
    """Overwrite the flags: of cooling, star formation, and those two where GADGET-4 has H."""
    data = bytearray(path.read_bytes())
    for place, size in ((4 + 88, 4), (4 + 120, 4), (4 + 160, 8)):
        data[place : place + size] = (value * 2)[:size]
    path.write_bytes(data)


@pytest.mark.parametrize("flags", [b"\0\0\0\0", b"\1\0\0\0", b"\x9a\x99\x99\x99"])
@pytest.mark.parametrize("stars", [3, 0])
@pytest.mark.parametrize("precision", ["f4", "f8"])
def test_the_order_of_format_1_is_found_by_sizes_and_values(
    precision: str, stars: int, flags: bytes, tmp_path: Path
) -> None:
    """Whatever the flags say; the smoothing length is told from abundances, which are of one size with it."""
    counts = (700, 5, stars)
    blocks = binary_blocks(*counts, precision=precision)
    without = {name: values for name, values in blocks.items() if name not in ("NE  ", "NH  ")}
    for number, written in enumerate([blocks, {name: blocks[name] for name in GADGET_4_ORDER}, without]):
        path = write_binary(tmp_path / f"s{number}", counts, written, named=False)
        flags_of(path, flags)
        if flags == b"\1\0\0\0" and written is without:
            continue  # the flags announce more
        gas = read_snapshot(path).gas
        np.testing.assert_array_equal(gas.smoothing_length, blocks["HSML"])
        np.testing.assert_array_equal(gas.star_formation_rate, blocks["SFR "])
        expected = blocks["NE  "] if "NE  " in written else np.full(700, FULLY_IONISED)
        np.testing.assert_array_equal(gas.electron_abundance, expected)


def test_blocks_left_over_in_format_1_are_told_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = binary_blocks(*COUNTS)
    path = write_binary(tmp_path / "s", COUNTS, blocks | {"POT ": -np.ones(15, "f4")}, named=False)
    np.testing.assert_array_equal(read_snapshot(path).gas.electron_abundance, blocks["NE  "])
    assert "blocks after Z in binary files of format 1 are not understood, and not read" in capsys.readouterr().out
    write_binary(path, COUNTS, blocks | {"TEMP": np.full(7, 1e7, "f4")}, named=False)
    assert problem(path).startswith(f"{path}: its blocks after MASS are not those that GADGET-2 or GADGET-4 writes")
    write_binary(path, COUNTS, blocks | {"HSML": blocks["NE  "] / 100}, named=False)
    assert problem(path).endswith("by their sizes and values; write format 2 or HDF5, which name them")


BINARY = Path("examples/gadget4_binary")


def test_gadget_4_s_own_files_of_both_formats_say_the_same() -> None:
    """Its header has a random number where NumPart_Total_HighWord is."""
    one, two = (read_snapshot(BINARY / f"format_{number}" / "snap_128") for number in (1, 2))
    assert (len(one.gas), len(one.dark_matter), len(one.stars)) == (1092, 1558, 360)
    for name, values in vars(two.gas).items():
        np.testing.assert_array_equal(getattr(one.gas, name), values)
    np.testing.assert_allclose(np.median(one.gas.electron_abundance), 1.158, atol=1e-3)


def several_binary(folder: Path, named: bool = True) -> Path:
    for i, counts in enumerate([(7, 5, 3), (4, 0, 0), (2, 6, 1)]):
        write_binary(folder / f"s.{i}", counts, binary_blocks(*counts), named, files=3, total=(13, 11, 4))
    return folder / "s.0"


def test_several_binary_files_follow_each_other(tmp_path: Path) -> None:
    path = several_binary(tmp_path)
    assert snapshot_files(path) == [tmp_path / f"s.{i}" for i in range(3)]
    snapshot = read_snapshot(path)
    assert [len(p) for p in (snapshot.gas, snapshot.dark_matter, snapshot.stars)] == [13, 11, 4]
    parts = [binary_blocks(*counts)["RHO "] for counts in [(7, 5, 3), (4, 0, 0), (2, 6, 1)]]
    np.testing.assert_allclose(snapshot.gas.density, np.concatenate(parts).astype(float) * 2e10)
    (tmp_path / "s.2").unlink()
    assert problem(path) == f"{tmp_path}/s.2: missing, but {path} is one of 3 files"


def several_hdf5(folder: Path) -> Path:
    for i in range(2):
        write_snapshot(folder / f"s.{i}.hdf5", NumFilesPerSnapshot=2, NumPart_Total=[10, 10, 0, 0, 0, 0])
    return folder / "s.0.hdf5"


def test_several_hdf5_files_and_what_can_be_wrong_with_one(tmp_path: Path) -> None:
    path = several_hdf5(tmp_path)
    assert read_snapshot(path).gas.density.shape == (10,)
    with h5py.File(path, "r+") as file:
        file["Header"].attrs["NumPart_Total_HighWord"] = np.array([32765, 0, 258971, 0, 1, 9], np.uint32)
    assert read_snapshot(path).gas.density.shape == (10,)  # GADGET-4 leaves there what it finds
    other = tmp_path / "s.1.hdf5"
    assert "give the one whose name has the number 0" in problem(other)
    write_snapshot(other, redshift=1)
    assert problem(path).startswith(f"{other}: is of another snapshot than s.0.hdf5: z = 1 against 0")
    write_snapshot(other, particles=4)
    assert "its 2 files hold [9, 9, 0, 0, 0, 0] particles, but NumPart_Total is [10, 10," in problem(path)


def test_units_are_the_files_own(tmp_path: Path) -> None:
    usual = read_snapshot(write_snapshot(tmp_path / "s")).gas
    units: dict[str, Any] = {
        "UnitLength_in_cm": 3.085678e24,
        "UnitMass_in_g": 1.989e42,
        "UnitVelocity_in_cm_per_s": 1e6,
    }
    other = read_snapshot(write_snapshot(tmp_path / "s", **units)).gas
    np.testing.assert_allclose(other.positions, usual.positions * 1e3)
    np.testing.assert_allclose(other.masses, usual.masses / 10)
    np.testing.assert_allclose(other.density, usual.density / 1e10)
    np.testing.assert_allclose(other.internal_energy, usual.internal_energy * 100)


def test_gizmo_metals_and_wind(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s")
    with h5py.File(path, "a") as file:
        file["PartType0/Metallicity"] = np.arange(55.0).reshape(5, 11) / 100
        file["PartType0/DelayTime"] = [0.0, 1, 0, 0, 2]
        file["PartType0/StarFormationRate"][...] = [0.0, 0, 3, 0, 0]
    gas = read_snapshot(path).gas
    assert gas.metallicity is not None
    np.testing.assert_allclose(gas.metallicity, [0, 0.11, 0.22, 0.33, 0.44])
    assert gas.thermal.tolist() == [True, False, False, True, False]


def test_arepo_wind_is_no_star(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s", NumPart_ThisFile=[5, 5, 0, 0, 3, 0], Flag_Sfr=1)
    with h5py.File(path, "a") as file:
        file["PartType4/Coordinates"] = np.ones((3, 3), np.float32)
        file["PartType4/Masses"] = np.array([1, 2, 4], np.float32)
    assert read_snapshot(path).stars.stellar_masses.tolist() == [1e10, 2e10, 4e10]
    with h5py.File(path, "a") as file:
        file["PartType4/GFM_StellarFormationTime"] = [0.3, -1.0, 0.9]
    stars = read_snapshot(path).stars
    assert stars.masses.tolist() == [1e10, 2e10, 4e10]
    assert stars.stellar_masses.tolist() == [1e10, 0, 4e10]


def test_substitutes_for_missing_blocks(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s")
    with h5py.File(path, "a") as file:
        del file["PartType0/SmoothingLength"], file["PartType0/StarFormationRate"]
    snapshot = read_snapshot(path)  # no stars at all
    gas = snapshot.gas
    in_kernel = 4 / 3 * np.pi * gas.smoothing_length**3 * gas.density / (gas.masses / snapshot.header.h)
    np.testing.assert_allclose(in_kernel, 64)
    assert not gas.star_formation_rate.any()
    with h5py.File(path, "a") as file:
        file["Header"].attrs["NumPart_ThisFile"] = [5, 5, 0, 0, 1, 0]
    assert problem(path) == f"{path}: has no PartType0/StarFormationRate"


@pytest.mark.parametrize("chunk", [3, 1000, 10**6])
@pytest.mark.parametrize("source", ["real", "binary"])
def test_spheres_keep_what_a_cut_keeps(
    source: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = REAL if source == "real" and chunk > 3 else several_binary(tmp_path)
    everything = read_snapshot(path)
    middle = np.median(everything.gas.positions, axis=0)
    spheres = np.array([middle, middle + 300, middle + 1e6]), np.array([400.0, 300.0, 10.0])
    monkeypatch.setattr(blocks, "CHUNK", chunk)
    near = read_snapshot(path, spheres)
    assert 0 < len(near.gas) < len(everything.gas)
    for name in ("gas", "dark_matter", "stars", "black_holes"):
        assert_cut(near, everything, name, spheres)


def assert_cut(near: Snapshot, everything: Snapshot, name: str, spheres: blocks.Spheres) -> None:
    part: Particles = getattr(everything, name)
    distances = np.linalg.norm(part.positions[:, None] - spheres[0], axis=2)
    inside = (distances <= spheres[1]).any(axis=1)
    for field, values in vars(part).items():
        if values is not None:
            np.testing.assert_array_equal(getattr(getattr(near, name), field), values[inside])


@pytest.mark.parametrize("named", [True, False])
def test_pynbody_reads_the_same(named: bool, tmp_path: Path) -> None:
    pynbody = pytest.importorskip("pynbody", reason="pynbody is not installed: pip install pynbody")
    path = several_binary(tmp_path, named)
    ours, theirs = read_snapshot(path), pynbody.load(str(path.with_suffix("")))
    for mine, other in ((ours.gas, theirs.gas), (ours.dark_matter, theirs.dm), (ours.stars, theirs.star)):
        np.testing.assert_array_equal(mine.positions, other["pos"])
        np.testing.assert_allclose(mine.masses, np.asarray(other["mass"], float) * 1e10, rtol=1e-6)
    if not named:
        return  # of a file without names, pynbody takes only the first blocks
    np.testing.assert_allclose(ours.gas.density, np.asarray(theirs.gas["rho"], float) * 2e10, rtol=1e-6)
    np.testing.assert_array_equal(ours.gas.internal_energy, theirs.gas["u"])


def test_an_empty_file_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"\0\1\2")
    with pytest.raises(InputError, match="neither HDF5 nor GADGET-2 binary"):
        read_snapshot(tmp_path / "s")
