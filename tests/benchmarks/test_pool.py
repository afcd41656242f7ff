"""The virtual pool does what a real one does, and the surrogate says what the measured trainings say."""

import json

import numpy as np
import pytest

from benchmarks.pool import Documents, Training, simulate
from benchmarks.surrogate import DEMO, NAMES, TRAININGS, Surrogate
from hpc_massmap.tune.space import Values


def four_epochs(tid: int, values: Values) -> Training:
    return Training([4.0 + tid, 3.0 + tid, 1.0 + tid, 2.0 + tid], seconds=1.0 + tid % 3)


def ask(tid: int, documents: Documents) -> Values:
    return {"x": [float(sum(document["state"] == 1 for document in documents))]}


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_as_many_trials_as_asked_and_never_more_at_once_than_workers(workers: int) -> None:
    outcome = simulate(ask, four_epochs, workers, evaluations=20)
    assert [document["result"]["loss"] for document in outcome.documents] == [1.0 + tid for tid in range(20)]
    assert max(document["misc"]["vals"]["x"][0] for document in outcome.documents) == workers
    assert len(outcome.trace) == 80
    assert outcome.best == 1.0


def test_epochs_come_in_the_order_of_time() -> None:
    outcome = simulate(ask, four_epochs, workers=2, evaluations=2)  # trial 0 takes 1 s an epoch, trial 1 takes 2 s
    assert outcome.trace == [4.0, 3.0, 5.0, 1.0, 2.0, 4.0, 2.0, 3.0]
    assert outcome.epochs_to(1.5) == 4
    assert outcome.epochs_to(0.5) is None


def test_a_pruned_trial_ends_with_its_best_loss_so_far() -> None:
    outcome = simulate(ask, four_epochs, 1, 2, lambda history, others: len(history) == 2)
    assert outcome.documents[1]["result"] == {"status": "ok", "history": [5.0, 4.0], "loss": 4.0, "pruned": True}
    assert len(outcome.trace) == 4


def test_the_surrogate_is_close_to_what_was_measured() -> None:
    surrogate = Surrogate()
    trainings = json.loads(TRAININGS.read_text())["trainings"]
    late = [np.mean(training["losses"][8:]) for training in trainings]
    floors = [surrogate.floor({name: [float(training[name])] for name in NAMES}) for training in trainings]
    assert np.corrcoef(np.log(late), np.log(floors))[0, 1] > 0.8
    assert 0.5 < np.median(floors) / np.median(late) < 1.0


def test_a_training_stops_when_it_no_longer_improves() -> None:
    values = {"filters": [16.0], "kernel": [3.0], "layers": [3.0], "dropout": [0.1]}
    losses = Surrogate().training(values, np.random.default_rng(0), DEMO).losses
    assert len(losses) - 1 - int(np.argmin(losses)) == 5
