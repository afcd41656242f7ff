"""Suggestions see running trials, skip what is not yet suggested, and follow from seed and documents alone."""

import random
from typing import Any

import numpy as np
import pytest

from hpc_massmap.config import Space
from hpc_massmap.tune.space import Values, hyperparameters
from hpc_massmap.tune.suggest import suggest

Document = dict[str, Any]
SPACE, SEED, STARTUP = Space(), 3, 10


def document(tid: int, values: Values, state: int = 2, **result: Any) -> Document:
    return {"tid": tid, "state": state, "result": {"status": "new", **result}, "misc": {"tid": tid, "vals": values}}


def loss_of(values: Values) -> float:
    return abs(values["filters"][0] - 20) / 12 + abs(values["dropout"][0] - 0.25)


@pytest.fixture(scope="module")
def finished() -> list[Document]:
    """Forty trials, each suggested with the ones before."""
    documents: list[Document] = []
    for tid in range(40):
        values = suggest(tid, documents, SPACE, SEED, STARTUP)
        documents.append(document(tid, values, status="ok", loss=loss_of(values)))
    return documents


def suggestions(documents: list[Document], count: int = 12) -> list[Values]:
    return [suggest(1000 + tid, documents, SPACE, SEED, STARTUP) for tid in range(count)]


def distance(place: Values, others: list[Values]) -> float:
    """Mean distance in dropout, which no two trials have in common."""
    return float(np.mean([abs(place["dropout"][0] - other["dropout"][0]) for other in others]))


def running(finished: list[Document], **result: Any) -> list[Document]:
    """Sixteen trials that run where the best one was."""
    best = min(finished, key=lambda d: d["result"]["loss"])["misc"]["vals"]
    return [document(100 + n, best, state=1, **result) for n in range(16)]


def architectures(finished: list[Document], told: bool) -> set[tuple[float, ...]]:
    """The filters, kernels and layers of sixteen workers that ask in turn, before any of them has a loss."""
    busy: list[Document] = []
    for tid in range(100, 116):
        busy.append(document(tid, suggest(tid, finished + told * busy, SPACE, SEED, STARTUP), state=1))
    return {tuple(d["misc"]["vals"][name][0] for name in ("filters", "kernel", "layers")) for d in busy}


def test_parallel_workers_do_not_repeat_each_other(finished: list[Document]) -> None:
    assert len(architectures(finished, told=False)) <= 8
    assert len(architectures(finished, told=True)) >= 14


def test_a_running_trial_that_does_well_attracts(finished: list[Document]) -> None:
    place = {"filters": [9.0], "kernel": [1.0], "layers": [1.0], "dropout": [0.48]}
    unknown = [document(100 + n, place, state=1) for n in range(3)]
    excellent = [document(100 + n, place, state=1, history=[0.5, -1.0, 0.3]) for n in range(3)]
    assert distance(place, suggestions(finished + excellent)) < 0.5 * distance(place, suggestions(finished + unknown))


@pytest.mark.parametrize("history", [None, [], [0.5, 0.05, 0.3]], ids=["new", "no epoch yet", "three epochs"])
def test_a_running_trial_counts_as_if_it_ended_now(finished: list[Document], history: list[float] | None) -> None:
    loss = min(history) if history else max(d["result"]["loss"] for d in finished)
    busy = running(finished, **({} if history is None else {"history": history}))
    ended = [{**d, "state": 2, "result": {"status": "ok", "loss": loss}} for d in busy]
    assert suggestions(finished + busy, 3) == suggestions(finished + ended, 3)


@pytest.mark.parametrize("state", [0, 1])
def test_released_and_running_trials_count_alike(finished: list[Document], state: int) -> None:
    busy = [{**d, "state": state} for d in running(finished)]
    assert suggestions(finished + busy, 3) == suggestions(finished + running(finished), 3)
    assert suggestions(finished + busy, 3) != suggestions(finished, 3)


@pytest.mark.parametrize(
    "bystander",
    [
        document(100, {}, state=1),
        document(100, {"dropout": [0.1]}, state=1),
        document(100, {"filters": [8.0], "kernel": [1.0], "layers": [1.0], "dropout": [0.1]}, state=3, history=[-9.0]),
    ],
    ids=["not yet suggested", "half suggested", "failed"],
)
def test_what_has_no_place_or_no_loss_is_not_seen(finished: list[Document], bystander: Document) -> None:
    assert suggestions([*finished, bystander], 3) == suggestions(finished, 3)


def test_running_trials_shorten_the_random_phase(finished: list[Document]) -> None:
    few = finished[: STARTUP - 4]
    busy = [{**d, "state": 1, "result": {"status": "new"}} for d in finished[STARTUP - 4 : STARTUP]]
    at_random = suggestions([], 3)
    assert suggestions(few, 3) == at_random
    assert suggestions(few + busy, 3) != at_random
    assert suggestions([{**d, "state": 1} for d in finished], 3) == at_random  # no loss is known: nothing to learn from


def test_a_pruned_trial_counts_with_its_loss(finished: list[Document]) -> None:
    pruned = [{**d, "result": {**d["result"], "pruned": True}} for d in finished]
    assert suggestions(pruned, 3) == suggestions(finished, 3)


def test_the_order_of_documents_does_not_matter(finished: list[Document]) -> None:
    documents = finished + running(finished, history=[0.4])
    shuffled = random.Random(0).sample(documents, len(documents))
    assert suggestions(documents, 3) == suggestions(shuffled, 3)


def test_workers_that_see_the_same_suggest_different_places(finished: list[Document]) -> None:
    dropouts = {values["dropout"][0] for values in suggestions(finished, 16)}
    assert len(dropouts) == 16


def test_every_value_is_in_the_space(finished: list[Document]) -> None:
    for values in suggestions(finished + running(finished)):
        assert hyperparameters(values, SPACE).keys() == values.keys()
