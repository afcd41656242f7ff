"""A mixture of what networks say has the moments of a mixture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from hpc_massmap.arrays import FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.posterior.ensemble import Mixture
from hpc_massmap.posterior.point import Point
from hpc_massmap.posterior.quantiles import Quantiles

SHAPE = (2, 1, 8, 8)
LEVELS = [0.05, 0.16, 0.5, 0.84, 0.95]


@dataclass(frozen=True)
class Normal:
    """Independent pixels of one mean and width, by drawing."""

    centre: float
    width: float
    by_samples: bool = True

    def mean(self) -> FloatArray:
        return np.full(SHAPE, self.centre)

    def quantiles(self, levels: Sequence[float]) -> FloatArray:
        return np.stack([np.full(SHAPE, norm.ppf(level, self.centre, self.width)) for level in levels])

    def samples(self, count: int, seed: int) -> Iterator[FloatArray]:
        stream = np.random.default_rng(seed)
        for _ in range(count):
            yield self.centre + self.width * stream.standard_normal(SHAPE)


MIXED = Mixture([Normal(0.0, 1.0), Normal(3.0, 0.5), Normal(-1.0, 2.0)])
MEAN = (0.0 + 3.0 - 1.0) / 3
VARIANCE = (1.0 + 0.25 + 4.0) / 3 + (0.0 + 9.0 + 1.0) / 3 - MEAN**2


def share_below(value: float, level: float) -> float:
    shares = [norm.cdf(value, centre, width) for centre, width in ((0.0, 1.0), (3.0, 0.5), (-1.0, 2.0))]
    return float(np.mean(shares)) - level


def test_samples_have_the_mixture_s_mean_and_variance() -> None:
    drawn = np.stack(list(MIXED.samples(300, seed=1)))
    assert drawn.shape == (300, *SHAPE)
    assert drawn.mean() == pytest.approx(MEAN, abs=5 * np.sqrt(VARIANCE / drawn.size))
    assert drawn.var() == pytest.approx(VARIANCE, rel=0.05)
    np.testing.assert_array_equal(np.stack(list(MIXED.samples(300, seed=1))), drawn)
    assert MIXED.by_samples
    np.testing.assert_allclose(MIXED.mean(), MEAN)


def test_members_draw_by_chance_of_their_own() -> None:
    first, second = Mixture([Normal(0.0, 1.0), Normal(0.0, 1.0)]).samples(2, seed=1)
    assert np.abs(first - second).min() > 0


def test_quantiles_are_those_of_the_mixture() -> None:
    found = MIXED.quantiles(LEVELS)
    assert found.shape == (5, *SHAPE)
    for level, value in zip(LEVELS, found[:, 0, 0, 0, 0], strict=True):
        assert value == pytest.approx(brentq(share_below, -10, 10, args=(level,)), abs=0.15)


def test_points_are_equally_likely_maps() -> None:
    maps = [np.full(SHAPE, value) for value in (1.0, 2.0, 6.0)]
    mixed = Mixture([Point(one) for one in maps])
    assert not mixed.by_samples
    assert (mixed.mean() == 3.0).all()
    drawn = list(mixed.samples(6, seed=0))
    assert [one.flat[0] for one in drawn] == [1.0, 2.0, 6.0, 1.0, 2.0, 6.0]
    assert np.var(drawn) == pytest.approx(np.var([1, 2, 6]))
    assert (mixed.quantiles([0.5]) == 2.0).all()


def test_quantiles_alone_can_be_mixed_but_not_drawn() -> None:
    values = np.stack([np.full(SHAPE, norm.ppf(level)) for level in LEVELS])
    mixed = Mixture([Quantiles(np.zeros(SHAPE), LEVELS, values), Quantiles(np.ones(SHAPE), LEVELS, values + 1)])
    assert (mixed.mean() == 0.5).all()
    np.testing.assert_allclose(mixed.quantiles([0.5]), 0.5, atol=0.05)
    with pytest.raises(InputError, match="of each pixel alone, without samples"):
        next(mixed.samples(2, seed=0))
