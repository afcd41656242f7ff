"""Each test of coverage passes the right posterior and finds out those that lie, by name."""

import numpy as np
import pytest
from scipy.special import ndtri

from hpc_massmap.diagnostics.bands import band_of_samples
from hpc_massmap.diagnostics.coverage import LEVELS, coverage
from hpc_massmap.diagnostics.crps import crps
from hpc_massmap.diagnostics.estimate import Estimate, ratio_of
from hpc_massmap.diagnostics.interval_score import interval_score
from hpc_massmap.diagnostics.pit import histogram, pit, pit_density
from hpc_massmap.diagnostics.tarp import expected_coverage, tarp_fraction

from .toy import Posterior, ignores_the_data, right, shifted, too_narrow, toy

TOY = toy(regions=400, maps=5, k=16)
UNIFORM = np.random.default_rng(3).random(TOY.truth.shape)
SAMPLES = 63


def off(found: Estimate, expected: object) -> float:
    """By how many of its errors the worst number is off."""
    return float(np.max(np.abs(found.value - np.asarray(expected)) / found.error))


def coverage_of_intervals(posterior: Posterior) -> float:
    band = band_of_samples(np.sort(TOY.samples(posterior, SAMPLES), axis=0), LEVELS)
    found = [coverage(TOY.truth, low, high, TOY.region) for low, high in zip(band.low, band.high, strict=True)]
    return max(off(of, level) for of, level in zip(found, LEVELS, strict=True))


def coverage_by_parts(posterior: Posterior) -> float:
    """Of the maps whose datum is large, as of clusters that are massive."""
    chosen = np.abs(TOY.data[:, 0]) > 1.5
    band = band_of_samples(np.sort(TOY.samples(posterior, SAMPLES), axis=0), [0.68])
    found = coverage(TOY.truth[chosen, 0], band.low[0, chosen, 0], band.high[0, chosen, 0], TOY.region[chosen])
    return off(found, 0.68)


def pits(posterior: Posterior) -> float:
    values = pit(TOY.truth, TOY.samples(posterior, SAMPLES), UNIFORM)
    return off(pit_density(histogram(values), TOY.region), 1)


def tarp(posterior: Posterior, reference: np.ndarray = TOY.data) -> float:
    """Over the vector of all quantities of a map; the reference is the datum."""
    samples = np.moveaxis(TOY.samples(posterior, SAMPLES), 0, 1)
    fractions = tarp_fraction(TOY.truth, samples, reference, UNIFORM[:, 0])
    levels = np.linspace(0.05, 0.95, 19)
    return off(expected_coverage(fractions, levels, TOY.region), levels)


TESTS = {"coverage": coverage_of_intervals, "by parts": coverage_by_parts, "PIT": pits, "TARP": tarp}
FINDS = {
    too_narrow: ["coverage", "by parts", "PIT", "TARP"],
    shifted: ["coverage", "PIT", "TARP"],
    ignores_the_data: ["by parts", "TARP"],
}


@pytest.mark.parametrize("name", TESTS)
def test_the_right_posterior_passes(name: str) -> None:
    assert TESTS[name](right) < 4  # the worst of up to 64 numbers


@pytest.mark.parametrize(("liar", "name"), [(liar, name) for liar, names in FINDS.items() for name in names])
def test_a_liar_is_found_out(liar: Posterior, name: str) -> None:
    assert TESTS[name](liar) > 5


def test_coverage_over_all_maps_and_references_without_data_do_not_see_who_ignores_the_data() -> None:
    """Which is why coverage is given by parts and references follow from the data."""
    assert coverage_of_intervals(ignores_the_data) < 4
    assert tarp(ignores_the_data, np.random.default_rng(5).standard_normal(TOY.truth.shape)) < 4


@pytest.mark.parametrize("liar", FINDS)
def test_scores_are_worse_than_those_of_the_right_posterior(liar: Posterior) -> None:
    """Also that of the prior, which is right over all maps."""
    score = {posterior: crps(TOY.truth, TOY.samples(posterior, SAMPLES)).mean(axis=1) for posterior in (liar, right)}
    of_crps = ratio_of(score[liar], score[right], TOY.region)
    assert of_crps.value - 1 > 3 * of_crps.error
    z = ndtri(0.95)
    found = {}
    for posterior in (liar, right):
        mean, sigma = posterior(TOY.data)
        found[posterior] = interval_score(TOY.truth, mean - z * sigma, mean + z * sigma, 0.9).mean(axis=1)
    of_score = ratio_of(found[liar], found[right], TOY.region)
    assert of_score.value - 1 > 3 * of_score.error
