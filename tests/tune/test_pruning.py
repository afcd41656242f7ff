"""Asynchronous successive halving against a twin that spells it out, and the promises of its docstring."""

import numpy as np
import pytest

from hpc_massmap.config import Pruning
from hpc_massmap.tune.pruning import ends_early


def ends_early_by_sorting(history: list[float], others: list[list[float]], first: int, reduction: int) -> bool:
    """Put the bests of all who came as far in a row, best first; of n, the places 0 to n/reduction go on."""
    if len(history) not in [first * reduction**n for n in range(20)]:
        return False
    row = [min(history)]
    for other in others:
        if len(other) >= len(history):
            row.append(min(other[n] for n in range(len(history))))
    if len(row) < reduction:
        return False
    place = sorted(row).index(min(history))
    return place >= len(row) / reduction


@pytest.mark.parametrize(("first", "reduction"), [(1, 2), (1, 3), (2, 3), (3, 4)])
def test_agrees_with_its_slow_twin(first: int, reduction: int) -> None:
    stream = np.random.default_rng(first * 10 + reduction)
    rule, decisions = Pruning(first=first, reduction=reduction), []
    for _ in range(2000):
        lengths = stream.integers(0, 30, size=stream.integers(0, 12))
        others = [np.round(stream.random(length), 1).tolist() for length in lengths]  # rounded: with ties
        history = np.round(stream.random(stream.choice([1, 2, 3, 4, 6, 8, 9, 12, 18])), 1).tolist()
        decisions.append(ends_early(history, others, rule))
        assert decisions[-1] == ends_early_by_sorting(history, others, first, reduction)
    assert 0.05 < np.mean(decisions) < 0.95


def test_nobody_to_compare_with_goes_on() -> None:
    assert not ends_early([9.0], [], Pruning(first=1, reduction=3))
    assert not ends_early([9.0], [[]], Pruning(first=1, reduction=3))
    assert not ends_early([9.0, 9.0, 9.0], [[1.0], [1.0, 1.0]], Pruning(first=1, reduction=3))


def test_the_first_few_go_on_and_the_worst_of_more_ends() -> None:
    rule = Pruning(first=1, reduction=3)
    assert not ends_early([9.0], [[1.0]], rule)
    assert ends_early([9.0], [[1.0], [2.0]], rule)
    assert not ends_early([0.5], [[1.0], [2.0]], rule)


def test_only_a_rung_decides() -> None:
    rule, others = Pruning(first=2, reduction=3), [[0.1] * 100] * 9
    ended = [epochs for epochs in range(1, 101) if ends_early([1.0] * epochs, others, rule)]
    assert ended == [2, 6, 18, 54]


def test_ties_go_on() -> None:
    assert not ends_early([1.0], [[1.0]] * 50, Pruning(first=1, reduction=3))


def test_one_bad_epoch_does_not_end_a_good_trial() -> None:
    assert not ends_early([0.1, 0.1, 5.0], [[0.2, 0.2, 0.2]] * 8, Pruning(first=3, reduction=3))


def test_later_epochs_of_others_do_not_count() -> None:
    slow_starters = [[3.0, 0.1, 0.1]] * 8
    assert not ends_early([2.0], slow_starters, Pruning(first=1, reduction=3))
