"""Gas by PyMSZ's rules: against its loop over particles, and every code's way to write metals and helium."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u

from hpc_massmap.config import Maps
from hpc_massmap.dataset.build import plan
from hpc_massmap.maps.gas import temperature
from hpc_massmap.maps.sz import integrated_compton_y
from hpc_massmap.maps.xray import bremsstrahlung_luminosity, xray_luminosity
from hpc_massmap.progress import say_once
from hpc_massmap.sims.particles import FULLY_IONISED, Gas
from hpc_massmap.sims.selection import Source
from hpc_massmap.sims.snapshot import read_snapshot
from tests.maps.test_physics import H, gas, halo_at
from tests.maps.test_xray import flat_table
from tests.sims.files import binary_blocks, write_binary, write_snapshot
from tests.sims.test_snapshot import problem

COUNTS = (7, 5, 3)


def compton_y_as_pymsz(particle: Gas, hydrogen: float) -> float:
    """Its `load_data` and `prep_ss_TT`, for one particle, in kpc^2."""
    helium_to_hydrogen = (1 - hydrogen) / (4 * hydrogen)
    electrons = particle.electron_abundance[0]
    molecular_weight = (1 + 4 * helium_to_hydrogen) / (1 + helium_to_hydrogen + electrons)
    energy = particle.internal_energy[0] * (u.km / u.s) ** 2
    kelvin = energy * (5 / 3 - 1) * const.m_p * molecular_weight / const.k_B
    mass = particle.masses[0] / H * u.Msun
    y = const.sigma_T * const.k_B * kelvin / (const.m_e * const.c**2) * mass / const.m_p * hydrogen * electrons
    return float(y.to_value(u.kpc**2))


@pytest.mark.parametrize("hydrogen", [0.76, 0.747, 0.70])
def test_compton_y_of_a_particle_is_pymsz_s(hydrogen: float) -> None:
    particle = dataclasses.replace(gas(np.zeros((1, 3)), 1e9, 1e4, 1.0), hydrogen=np.array([hydrogen]))
    assert integrated_compton_y(particle, H)[0] == pytest.approx(compton_y_as_pymsz(particle, hydrogen), rel=1e-9)


def test_the_primordial_fraction_by_particle_is_the_same_as_without() -> None:
    plain = gas(np.zeros((2, 3)), 1e9, 1e4, 1.0)
    same = dataclasses.replace(plain, hydrogen=np.full(2, 0.76), multiphase=np.zeros(2, bool))
    for quantity in (integrated_compton_y, bremsstrahlung_luminosity):
        np.testing.assert_array_equal(quantity(plain, H), quantity(same, H))
    np.testing.assert_array_equal(temperature(plain), temperature(same))


def test_what_less_hydrogen_does_in_closed_form() -> None:
    """Fully ionised: mu = 4/(3 + 5X), and (1 + X)/2 electrons a nucleon."""
    x = np.array([0.76, 0.7])
    some = gas(np.zeros((2, 3)), 1e9, 1e4, 1.0)
    some = dataclasses.replace(some, hydrogen=x, electron_abundance=1 + (1 - x) / (2 * x))
    kelvin, y = temperature(some), integrated_compton_y(some, H)
    assert kelvin[1] / kelvin[0] == pytest.approx((3 + 5 * 0.76) / (3 + 5 * 0.7), rel=1e-9)
    assert y[1] / y[0] == pytest.approx((3 + 5 * 0.76) / (3 + 5 * 0.7) * 1.7 / 1.76, rel=1e-9)
    table = xray_luminosity(some, H, flat_table(1e-23))  # n_e n_H
    assert table[1] / table[0] == pytest.approx(1.7 / 1.76 * 0.7 / 0.76, rel=1e-9)


def test_gizmo_s_columns_and_the_cut_in_star_formation(tmp_path: Path) -> None:
    path, metals = write_snapshot(tmp_path / "s"), np.full((5, 11), 0.001)
    metals[:, 0], metals[:, 1] = [0, 0.01, 0.02, 0.03, 0.04], [0.24, 0.25, 0.26, 0.27, 0.28]
    with h5py.File(path, "a") as file:
        file["PartType0/Metallicity"] = metals
        file["PartType0/DelayTime"] = [0.0, 1, 0, 0, 0]
        file["PartType0/StarFormationRate"][...] = [0.0, 0, 0.09, 0.1, 3]
    theirs, ours = read_snapshot(path, pymsz=True).gas, read_snapshot(path).gas
    x = np.array([0.76, 0.74, 0.72, 0.70, 0.68])
    assert theirs.hydrogen == pytest.approx(x)
    np.testing.assert_allclose(theirs.electron_abundance, 1 + (1 - x) / (2 * x))
    assert theirs.thermal.tolist() == [True, False, True, False, False]
    assert ours.thermal.tolist() == [True, False, False, False, False]
    assert (ours.hydrogen, ours.multiphase, ours.electron_abundance[4]) == (None, None, FULLY_IONISED)


def test_arepo_s_helium_and_a_metallicity_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_snapshot(tmp_path / "s")
    say_once.cache_clear()
    with h5py.File(path, "a") as file:
        file["PartType0/GFM_Metallicity"] = np.full(5, 0.02)
    assert read_snapshot(path, pymsz=True).gas.hydrogen == pytest.approx(np.full(5, 0.74))
    assert "helium is not in the snapshots, so that of all gas is 0.24" in capsys.readouterr().out
    with h5py.File(path, "a") as file:
        file["PartType0/GFM_Metals"] = np.tile([0.7, 0.28, 0.02], (5, 1))
    assert read_snapshot(path, pymsz=True).gas.hydrogen == pytest.approx(np.full(5, 0.70))


def test_gadget_x_s_species_and_cold_fraction(tmp_path: Path) -> None:
    blocks, masses = binary_blocks(*COUNTS), binary_blocks(*COUNTS)["MASS"][:7].astype(float)
    of_stars = np.zeros((3, 4))
    del blocks["Z   "]
    species = np.outer(masses, [0.25, 0.005, 0.003, 0.002])
    blocks["Zs  "] = np.concatenate([species, of_stars]).astype("f4")
    cold = np.array([0, 0.05, 0.0999, 0.1001, 0.5, 0, 1])
    blocks["MHI "] = (cold * 0.76 * masses).astype("f4")
    some = read_snapshot(write_binary(tmp_path / "s", COUNTS, blocks, True), pymsz=True).gas
    assert some.hydrogen == pytest.approx(np.full(7, 0.74), rel=1e-6)
    assert some.thermal.tolist() == (cold < 0.1).tolist()  # whatever its star formation
    assert some.star_formation_rate.max() > 0.1
    del blocks["Zs  "]
    blocks["Z   "] = np.tile([0.02, 0.26, 0.01], (10, 1)).astype("f4")
    assert read_snapshot(write_binary(tmp_path / "s", COUNTS, blocks, True), pymsz=True).gas.hydrogen == pytest.approx(
        np.full(7, 0.72), rel=1e-6
    )


def test_what_is_missing_or_cannot_be_is_told(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "s")
    assert f"{path}: its gas has no Metallicity, of which maps.gas_rules = pymsz" in problem(path, pymsz=True)
    with h5py.File(path, "a") as file:
        file["PartType0/Metallicity"] = np.full(5, 0.9)
    assert "hydrogen fractions of -0.14 to -0.14; are they fractions" in problem(path, pymsz=True)


def test_maps_of_other_rules_are_other_parts(tmp_path: Path) -> None:
    (tmp_path / "made.hdf5").touch()
    (tmp_path / "made.AHF_halos").touch()
    halo = halo_at(1e14, 1000.0)
    source = Source("made", "region_1", 1, tmp_path / "made.hdf5", tmp_path / "made.AHF_halos")
    halo = dataclasses.replace(halo, source=source)
    settings = (Maps(), Maps(gas_rules="pymsz"), Maps(accuracy="fine"))
    assert len({plan([halo], config, tmp_path, {})[0].key for config in settings}) == 3
