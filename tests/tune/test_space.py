"""Suggestions cover table 3 and nothing else; values from a database are not trusted."""

from typing import Any

import pytest

from hpc_massmap.config import IntegerRange, Space
from hpc_massmap.errors import InputError
from hpc_massmap.tune.space import hyperparameters
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
