"""Power spectra and profiles against packages that others wrote for them: on record always, live where installed."""

import numpy as np
import pytest

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.metrics.power import power_spectrum, wavelengths
from hpc_massmap.storage import read_json

from .twins import R200, RECORD, photutils_masses, pylians_spectrum, seeded_map


def check_spectrum(twin: dict[str, list[float]]) -> None:
    power = power_spectrum(seeded_map()[None].astype(np.float64), np.array([R200]))[0]
    np.testing.assert_allclose(2 * np.pi / (wavelengths() * R200), twin["k"], rtol=1e-6)
    np.testing.assert_allclose(power, twin["Pk"], rtol=1e-5)  # Pylians transforms in float32
    assert sum(twin["Nmodes"]) == 80 * 80 / 2 + 2 - 1


def check_masses(twin: list[float]) -> None:
    masses = enclosed_mass(seeded_map()[None].astype(np.float64), np.array([R200]))[0]
    np.testing.assert_allclose(masses, twin, rtol=1e-12)


def test_spectrum_is_the_one_pylians_gave() -> None:
    check_spectrum(read_json(RECORD)["pylians"])


def test_spectrum_is_that_of_pylians() -> None:
    pytest.importorskip("Pk_library", reason="Pylians is not installed: only its numbers on record were compared")
    check_spectrum(pylians_spectrum(seeded_map()))


def test_masses_are_those_photutils_gave() -> None:
    check_masses(read_json(RECORD)["photutils"])


def test_masses_are_those_of_photutils() -> None:
    pytest.importorskip("photutils", reason="photutils is not installed: only its numbers on record were compared")
    check_masses(photutils_masses(seeded_map()))
