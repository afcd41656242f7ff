"""Suggestions cover table 3 and nothing else; values from a database are not trusted."""

from typing import Any

import numpy as np
import pytest
from hyperopt.pyll.stochastic import sample
from scipy.stats import chisquare

from hpc_massmap.config import IntegerRange, Space
from hpc_massmap.errors import InputError
from hpc_massmap.tune.space import hyperopt_space, hyperparameters
from hpc_massmap.tune.suggest import suggest


def test_random_suggestions_reach_both_ends_of_every_integer_range() -> None:
    space = Space()
    drawn = [hyperparameters(suggest(tid, [], space, seed=0, startup=20), space) for tid in range(400)]
    assert {d["filters"] for d in drawn} == set(range(8, 33))
    assert {d["kernel"] for d in drawn} == set(range(1, 7))
    assert {d["layers"] for d in drawn} == set(range(1, 5))
    assert min(d["dropout"] for d in drawn) < 0.02
    assert max(d["dropout"] for d in drawn) > 0.48
    assert all(isinstance(d["filters"], int) for d in drawn)


def test_every_integer_is_as_likely_as_every_other() -> None:
    """The ends too; rounded from a draw between them they would have half the weight (17 % of 4 and 10 % of 6)."""
    rng, count = np.random.default_rng(0), 6000
    drawn = [sample(hyperopt_space(Space()), rng=rng) for _ in range(count)]
    for name, values in (("filters", range(8, 33)), ("kernel", range(1, 7)), ("layers", range(1, 5))):
        found = np.array([sum(one[name] == value for one in drawn) for value in values])
        assert found.sum() == count
        assert chisquare(found).pvalue > 1e-3, (name, found)


def test_a_study_begun_with_half_weighted_ends_goes_on() -> None:
    """Its documents are of the same kind as new ones, and the ends of a range are where TPE can go."""
    vals = {"filters": [32.0], "kernel": [1.0], "layers": [4.0], "dropout": [0.5]}
    old = [
        {"tid": tid, "state": 2, "misc": {"vals": vals}, "result": {"status": "ok", "loss": 0.1}} for tid in range(25)
    ]
    suggested = suggest(25, old, Space(), seed=0, startup=20)
    assert {name: type(value[0]) for name, value in suggested.items()} == dict.fromkeys(vals, float)
    hyperparameters(suggested, Space())


def test_a_range_of_one_value_is_that_value() -> None:
    space = Space(kernel=IntegerRange(low=3, high=3))
    for tid in range(5):
        assert hyperparameters(suggest(tid, [], space, 0, 20), space)["kernel"] == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"filters": [33.0]},
        {"filters": ["8"]},
        {"filters": ["__import__('os')"]},
        {"filters": []},
        {"filters": [8.0, 9.0]},
        {"filters": 8.0},
        {"filters": [True]},
        {"dropout": [float("nan")]},
        {"kernel": [None]},
    ],
)
def test_values_that_were_tampered_with_are_refused(bad: dict[str, Any]) -> None:
    values = {"filters": [8.0], "kernel": [3.0], "layers": [2.0], "dropout": [0.1], **bad}
    with pytest.raises(InputError, match=rf"misc\.vals\.{next(iter(bad))}") as error:
        hyperparameters(values, Space())
    assert "\n" not in str(error.value)
