"""Further X-ray bands: the share of each in bremsstrahlung, from a config to maps, and what a config may not ask."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy import constants as const
from astropy import units as u
from mpi4py import MPI
from scipy.special import roots_laguerre, roots_legendre

from hpc_massmap.config import Band, Maps, Selection, Simulation, load_config
from hpc_massmap.dataset.build import make_maps, plan
from hpc_massmap.dataset.check import check_maps
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.writing import consolidate
from hpc_massmap.errors import InputError
from hpc_massmap.maps.cooling import write_cooling_table
from hpc_massmap.maps.gas import temperature
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.maps.spectrum import energy_above, energy_between
from hpc_massmap.maps.xray import RELATIVISTIC, bremsstrahlung_luminosity, xray_luminosity
from hpc_massmap.sims.particles import Gas
from hpc_massmap.sims.selection import find_sources
from hpc_massmap.sims.snapshot import read_snapshot
from hpc_massmap.views import UNITS, VIEWS
from tests.maps.test_physics import gas
from tests.maps.test_xray import H, flat_table, gaunt_by_sommerfeld
from tests.sims.files import all_candidates

BANDS = {"soft": (0.0, 0.5), "middle": (0.5, 2.0), "hard": (2.0, 10.0), "rest": (10.0, 1e4)}
PLAIN = Maps(lines_of_sight=2, kernel="cubic_spline", adaptive_smoothing=32)
CONFIG = PLAIN.model_copy(update={"bands": {name: Band(energies=energies) for name, energies in BANDS.items()}})
FLAT = flat_table(1e-23)


def particle(kelvin: float) -> Gas:
    one = gas(np.zeros((1, 3)), 1e9, 3e4, 20.0, electron_abundance=1.1)
    return dataclasses.replace(one, internal_energy=one.internal_energy * kelvin / temperature(one))


def spectrum(kelvin: float, charge: int, kev: float) -> u.Quantity:
    """Power per energy over n_e n_i: Rybicki & Lightman (1979) eq. 5.14 with the exact, thermally averaged g_ff."""
    temperature = kelvin * u.K
    gamma2 = charge**2 * float((const.Ryd * const.h * const.c / (const.k_B * temperature)).to_value(1))
    x = float((kev * u.keV / (const.k_B * temperature)).to_value(1))
    gaunt = sum(p * gaunt_by_sommerfeld(w + x, w, gamma2) for w, p in zip(*roots_laguerre(10), strict=True))
    power = 2**5 * np.pi * const.e.esu**6 / (3 * const.m_e * const.c**3)
    slow = np.sqrt(2 * np.pi / (3 * const.k_B * const.m_e * temperature))
    return power.cgs * slow.cgs * charge**2 * np.exp(-x) * gaunt / const.h.cgs


@pytest.mark.parametrize(("kelvin", "energies"), [(2e6, (0.5, 2.0)), (1e7, (2.0, 10.0)), (8e7, (2.0, 10.0))])
def test_a_particle_s_band_is_the_exact_spectrum_s_integral(kelvin: float, energies: tuple[float, float]) -> None:
    x, n_e = 0.76, 1.1
    place, weight = roots_legendre(7)
    low, high = np.log(energies)
    at, width = np.exp((high - low) / 2 * place + (high + low) / 2), (high - low) / 2 * weight
    rho, electrons = 3e4 * u.Msun / u.kpc**3, 1e9 / H * u.Msun / const.m_p * x * n_e
    total = 0 * u.erg / u.s
    for charge, ions in ((1, x * rho / const.m_p), (2, (1 - x) / 4 * rho / const.m_p)):
        total += (
            sum(spectrum(kelvin, charge, e) * e * u.keV * w for e, w in zip(at, width, strict=True)) * electrons * ions
        )
    expected = total.to_value(1e40 * u.erg / u.s) * (1 + RELATIVISTIC * kelvin)
    assert bremsstrahlung_luminosity(particle(kelvin), H, energies)[0] == pytest.approx(expected, rel=0.012)


def test_bands_that_meet_add_up_to_all_photons() -> None:
    kelvin = np.geomspace(1e6, 3e8, 200)
    for charge in (1, 2):
        total = sum(energy_between(kelvin, charge, band) for band in BANDS.values())
        np.testing.assert_allclose(total, 1, rtol=1e-12)
        above = np.array([energy_above(kelvin, charge, kev) for kev in np.geomspace(1e-9, 100, 3000)])
        np.testing.assert_allclose(above[0], 1, rtol=1e-6)
        assert np.all(np.diff(above, axis=0) <= 0)  # no band, however narrow, is negative
        assert np.all(above >= 0)


def test_a_band_of_a_table_is_the_table_s() -> None:
    luminosity = xray_luminosity(particle(3e7), H, flat_table(2e-23))
    assert xray_luminosity(particle(3e7), H, flat_table(1e-23)) == pytest.approx(luminosity / 2)


def test_bands_become_maps_of_the_file(tmp_path: Path) -> None:
    folder = Simulation(name="gadget4", folder=Path("examples/gadget4_L50"), region="region_0001", snapshots=[106])
    halos = all_candidates(find_sources([folder]), Selection(m200_min=1e13))
    write_cooling_table(tmp_path / "table.h5", FLAT)
    table = Band(cooling_table=tmp_path / "table.h5")
    config = CONFIG.model_copy(update={"bands": CONFIG.bands | {"tabulated": table}})
    path = tmp_path / "maps.h5"
    make_maps(path, halos, [], config, MPI.COMM_SELF, lambda _: None)
    consolidate(path)
    maps = open_maps(path, ["mass", *BANDS, "tabulated"], check_values=True)
    assert not check_maps(maps).faults
    assert {maps.units[name] for name in (*BANDS, "tabulated")} == {UNITS["xray"]}
    assert '"middle": {"energies": [0.5, 2.0]' in maps.attributes["bands"]
    total = np.sum([np.asarray(maps.maps[name][:], np.float64) for name in BANDS], axis=0)
    np.testing.assert_allclose(total, maps.maps["xray"][:], rtol=1e-5)  # float32
    alone = halo_maps(read_snapshot(halos[0].source.snapshot_file), halos[0], PLAIN, rotations(2), {"xray": FLAT})
    np.testing.assert_allclose(maps.maps["tabulated"][:], alone["xray"], rtol=1e-6)
    wider = CONFIG.model_copy(update={"bands": CONFIG.bands | {"hard": Band(energies=(2.0, 12.0))}})
    keys = {plan(halos, settings, tmp_path, {})[0].key for settings in (CONFIG, config, PLAIN, wider)}
    assert len(keys | {plan(halos, config, tmp_path, {"tabulated": FLAT})[0].key}) == 5


@pytest.mark.parametrize(
    ("band", "fault"),
    [
        ("xray={energies: [1, 2]}", "bands.*xray is the name of another map"),
        ("b={energies: [2, 1]}", r"maps\.bands\.b.*0 <= low < high"),
        ("b={energies: [-1, 1]}", r"maps\.bands\.b.*0 <= low < high"),
        ("b={energies: [1]}", r"maps\.bands\.b\.energies"),
        ("b={}", r"maps\.bands\.b.*needs energies: \[low, high\] in keV or cooling_table"),
        ("b={energies: [1, 2], cooling_table: a.h5}", "and not both"),
        ("b={energy: [1, 2]}", r"maps\.bands\.b\.energy: unknown key; did you mean energies"),
        ("a/b={energies: [1, 2]}", r"a/b"),
    ],
)
def test_a_band_that_cannot_be(band: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault) as error:
        load_config(Path("configs/multi3.yaml"), [f"maps.bands.{band}"])
    assert "\n" not in str(error.value)


def test_the_names_that_are_taken_are_those_of_all_map_files() -> None:
    assert set(VIEWS) == set(UNITS)
