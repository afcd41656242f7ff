import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.power import power_spectrum, wavelengths

from .made_up import cluster


def independent_modes() -> list[tuple[int, int]]:
    """One (kx, ky) of every pair k and -k, as Pylians picks them."""
    modes = []
    for row in range(80):
        kx = row - 80 if row > 40 else row
        modes += [(kx, ky) for ky in range(41) if not (ky in (0, 40) and kx < 0)]
    assert len(modes) == (80 * 80 - 4) / 2 + 4  # four modes are their own mirror
    return modes


def modes_by_bin() -> FloatArray:
    lengths = [int(np.sqrt(kx * kx + ky * ky)) for kx, ky in independent_modes()]
    return np.array([lengths.count(k) for k in range(1, 57)], float)


def spectrum_by_loop(pixels: FloatArray, r200: float) -> tuple[FloatArray, FloatArray]:
    """Pylians' loop over modes, on a Fourier transform by its definition (eq. 11): wavelengths and powers."""
    n = np.arange(80)
    waves = np.exp(-2j * np.pi * np.outer(n, n) / 80)
    transform = waves @ pixels @ waves.T
    power, k = np.zeros(57), np.zeros(57)
    for kx, ky in independent_modes():
        length = np.sqrt(kx * kx + ky * ky)
        power[int(length)] += abs(transform[kx, ky]) ** 2
        k[int(length)] += length
    power, k, modes = power[1:], k[1:], modes_by_bin()
    wave_number = 2 * np.pi / (2 * r200) * k / modes
    return 2 * np.pi / wave_number / r200, power / modes * (2 * r200 / 80**2) ** 2


def test_spectrum_is_that_of_the_loop() -> None:
    rng = np.random.default_rng(4)
    maps, r200 = np.stack([cluster(rng), rng.standard_normal((80, 80))]).astype(np.float64), np.array([900.0, 1700.0])
    found = power_spectrum(maps, r200)
    assert found.shape == (2, 56)
    for n in range(2):
        wavelength, power = spectrum_by_loop(maps[n], r200[n])
        np.testing.assert_allclose(found[n], power, rtol=1e-10)
        np.testing.assert_allclose(wavelengths(), wavelength, rtol=1e-13)


@pytest.mark.parametrize(("kx", "ky"), [(1, 0), (3, 0), (0, 40), (-5, 12), (40, 40)])
def test_a_sine_has_all_its_power_in_its_bin(kx: int, ky: int) -> None:
    n = np.arange(80)
    wave = np.cos(2 * np.pi * (kx * n[:, None] + ky * n[None, :]) / 80)
    found = power_spectrum(7 + 3 * wave[None], np.array([1000.0]))[0]
    own_mirror = kx % 40 == 0 and ky % 40 == 0
    amplitude = 3 * 6400 * (1 if own_mirror else 0.5)
    expected = np.zeros(56)
    k = int(np.hypot(kx, ky))
    expected[k - 1] = amplitude**2 / modes_by_bin()[k - 1] * (2000 / 6400) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)


def test_all_power_together_is_the_variance() -> None:
    rng = np.random.default_rng(5)
    transform = np.fft.fft2(rng.standard_normal((80, 80)))
    transform[40, :] = transform[:, 40] = 0  # without the modes that are their own mirror every mode has a partner
    pixels = np.fft.ifft2(transform).real
    r200 = 1100.0
    found = power_spectrum(pixels[None], np.array([r200]))[0]
    total = np.sum(2 * modes_by_bin() * found) / (2 * r200 / 6400) ** 2
    assert total == pytest.approx(6400 * np.sum((pixels - pixels.mean()) ** 2), rel=1e-12)


def test_a_map_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(6)
    maps, r200 = rng.standard_normal((5, 80, 80)), np.linspace(700.0, 1500.0, 5)
    together = power_spectrum(maps, r200)
    for n in range(5):
        np.testing.assert_array_equal(power_spectrum(maps[n : n + 1], r200[n : n + 1])[0], together[n])


def test_a_mode_far_below_the_strongest_but_above_its_rounding_counts() -> None:
    ripple = np.cos(2 * np.pi * 8 * np.arange(80) / 80) * np.ones((80, 1))
    weak, alone = power_spectrum(np.stack([1 + 1e-10 * ripple, 1e-10 * ripple]), np.full(2, 1000.0))
    at = np.argmax(alone)
    assert weak[at] == pytest.approx(alone[at], rel=1e-3)
