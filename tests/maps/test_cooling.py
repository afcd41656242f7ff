"""The table of the cooling function: its file, and the job that makes it, with a stand-in for PyAtomDB."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps
from hpc_massmap.errors import InputError
from hpc_massmap.jobs import cooling_table
from hpc_massmap.maps.cooling import CoolingTable, read_cooling_table, write_cooling_table


def power_law(slope: float = 0.5) -> CoolingTable:
    log_t, z = np.linspace(4, 9, 51), np.array([0.0, 0.3, 1.0])
    return CoolingTable(log_t, z, 1e-27 * 10 ** (slope * log_t[:, None] + 0.2 * z), "AG89", 0.0189, "made for a test")


def test_a_power_law_is_interpolated_exactly_and_clamped() -> None:
    table = power_law()
    kelvin, z = np.array([3.3e6, 2e7, 1e10, 10.0]), np.array([0.17, 3.0, 0.3, -1.0])
    expected = 1e-27 * np.sqrt([3.3e6, 2e7, 1e9, 1e4]) * 10 ** (0.2 * np.array([0.17, 1.0, 0.3, 0.0]))
    np.testing.assert_allclose(table(kelvin, z), expected, rtol=1e-12)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_cooling_table(tmp_path / "table.h5", power_law())
    table = read_cooling_table(tmp_path / "table.h5")
    np.testing.assert_array_equal(table.cooling, power_law().cooling)
    assert (table.abundances, table.solar_metallicity, table.provenance) == ("AG89", 0.0189, "made for a test")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cooling", np.ones((2, 2)), "has the shape"),
        ("cooling", np.full((51, 3), np.nan), "not positive"),
        ("metallicity", np.array([1.0, 0.0, 2.0]), "not an increasing"),
        ("log_temperature", None, "damaged"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(tmp_path: Path, name: str, value: FloatArray | None, message: str) -> None:
    path = tmp_path / "table.h5"
    write_cooling_table(path, power_law())
    with h5py.File(path, "a") as file:
        attributes = dict(file[name].attrs)
        del file[name]
        if value is not None:
            file[name] = value
            file[name].attrs.update(attributes)
    with pytest.raises(InputError, match=rf"^[^\n]*table.h5: [^\n]*{message}[^\n]*$"):
        read_cooling_table(path)


def test_missing_foreign_and_cut_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.h5"
    with pytest.raises(InputError, match="no such cooling table"):
        read_cooling_table(path)
    write_cooling_table(path, power_law())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        read_cooling_table(path)
    path.unlink()
    with h5py.File(path, "w") as file:
        file["maps"] = 1
    with pytest.raises(InputError, match="not a 'hpc_massmap cooling table"):
        read_cooling_table(path)


def test_the_config_s_two_keys_need_each_other() -> None:
    assert Maps(xray="table", cooling_table=Path("table.h5")).xray == "table"
    for keys in ({"xray": "table"}, {"cooling_table": Path("table.h5")}):
        with pytest.raises(ValueError, match="need each other"):
            Maps(**keys)


class StandInSession:
    """Not AtomDB: one photon of 1 keV per cm^3/s for every element, times its abundance."""

    linefile = "stand-in.fits"

    def __init__(self, elements: list[int], abundset: str) -> None:
        self.abund = dict.fromkeys(elements, 1.0)

    def set_eebrems(self, do_eebrems: bool) -> None:
        assert do_eebrems

    def set_response(self, rmf: FloatArray, raw: bool) -> None:
        assert raw
        self.edges = rmf

    def set_abund(self, elements: list[int], abund: float) -> None:
        self.abund.update(dict.fromkeys(elements, abund))

    def return_spectrum(self, te: float, teunit: str, nearest: bool) -> FloatArray:
        assert nearest
        assert teunit == "K"
        return np.histogram([1.0], self.edges)[0] * sum(self.abund.values()) * te


def stand_in_pyatomdb() -> Any:
    return SimpleNamespace(
        __version__="stand-in",
        spectrum=SimpleNamespace(CIESession=StandInSession),
        atomdb=SimpleNamespace(get_abundance=lambda abundset: {z: 1.0 if z < 3 else 0.001 for z in range(1, 31)}),
        atomic=SimpleNamespace(Z_to_mass=lambda z: float(z)),
    )


def test_the_job_sums_the_spectrum_s_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cooling_table.FILES:
        (tmp_path / name).touch()
    monkeypatch.setenv("ATOMDB", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pyatomdb", stand_in_pyatomdb())
    cooling_table.main([str(tmp_path / "table.h5")])
    table = read_cooling_table(tmp_path / "table.h5")
    at = list(table.metallicity).index(0.3)
    expected = 1.602177e-9 * 10**table.log_temperature * (2 + 5 * 0.3)  # erg per keV; H, He and five metals
    np.testing.assert_allclose(table.cooling[:, at], expected, rtol=1e-3)  # of a bin's width
    assert table.solar_metallicity == pytest.approx(0.462 / 3.462)
    assert "pyatomdb stand-in" in table.provenance
    cooling_table.main([str(tmp_path / "band.h5"), "--energies", "2", "10"])  # it shines at 1 keV alone
    band = read_cooling_table(tmp_path / "band.h5")
    assert np.all(band.cooling == cooling_table.FAINTEST)
    assert "2-10 keV" in band.provenance
    with pytest.raises(InputError, match=r"--energies 3 1: must be two energies in keV, the lower first"):
        cooling_table.main([str(tmp_path / "band.h5"), "--energies", "3", "1"])


@pytest.mark.parametrize("folder", [None, "empty"])
def test_the_job_says_how_to_get_the_data(folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATOMDB", raising=False)
    if folder:
        monkeypatch.setenv("ATOMDB", str(tmp_path))
    with pytest.raises(InputError, match=r"pyatomdb\.util\.initialize\(\), then export ATOMDB"):
        cooling_table.main([str(tmp_path / "table.h5")])
