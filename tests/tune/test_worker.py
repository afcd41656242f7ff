"""Workers as real processes: what fails is recorded, whatever it is and on whichever rank, and the worker goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpc_massmap.config import Pruning
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.tune.best import with_best, write_best
from hpc_massmap.tune.connection import open_study
from hpc_massmap.tune.database.connect import database
from hpc_massmap.yamlfile import load_yaml
from tests.patience import within
from tests.tune.crew import EPOCHS, TRIALS, calm_losses, losses, small_run, working

pytestmark = pytest.mark.xdist_group("faults")  # they share the calm losses


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = small_run(tmp_path, failures=5)
    with database(run.config.database, run.database):
        open_study(run).create(TRIALS, {})
        yield run


def documents(run: Run) -> list[dict[str, Any]]:
    return open_study(run).documents("error", "result.history", "worker")


def test_failing_trials_are_recorded_with_their_tracebacks_and_the_worker_goes_on(run: Run) -> None:
    open_study(run).create(TRIALS + 1, {})
    with working(run, train="tests.tune.faulty:each_in_its_way") as (worker,):
        assert worker.wait(within(120)) == 0
    trials = documents(run)
    assert [trial["state"] for trial in trials] == [3, 3, 3, 3, 2]
    assert [trial["error"]["type"] for trial in trials[:4]] == ["Diverged", "MemoryError", "RuntimeError", "KeyError"]
    assert all("each_in_its_way" in trial["error"]["traceback"] for trial in trials[:4])
    assert len({trial["worker"]["pid"] for trial in trials}) == 1
    exported = [json.loads(line) for line in run.trials_export.read_text().splitlines()]
    assert [trial["error"] for trial in exported] == [trial["error"] for trial in trials]
    write_best(run.best, trials, run.config)
    assert load_yaml(run.best)["tid"] == 4
    assert with_best(run.config, run.best).model.filters == trials[4]["misc"]["vals"]["filters"][0]


def test_failures_in_a_row_stop_the_study_before_it_burns_the_allocation(run: Run) -> None:
    open_study(run).create(50, {})
    with working(run, train="tests.tune.faulty:always") as (worker,):
        assert worker.wait(within(120)) == 0
    reason = "5 trials failed in a row, the last is 4: ValueError: ?[31ma bug"
    assert open_study(run).stopped() == reason
    assert len(documents(run)) == 5
    with pytest.raises(InputError, match="none of the 5 trials finished"):
        write_best(run.best, documents(run), run.config)
    assert not run.best.exists()


def test_a_trial_that_takes_its_process_down_is_given_up_and_the_worker_goes_on(run: Run) -> None:
    with working(run, train="tests.tune.faulty:crash") as (worker,):
        assert worker.wait(within(120)) == 0
    trials = documents(run)
    assert [trial["state"] for trial in trials] == [3, 2, 2, 2]
    assert trials[0]["attempts"] == 3
    assert trials[0]["error"]["message"] == "a training process was killed by SIGSEGV"
    assert [trial["result"]["loss"] for trial in trials[1:]] == list(calm_losses()[1:])


def test_what_happens_to_one_rank_ends_the_trial_on_all(run: Run) -> None:
    with working(run, ranks=2, train="tests.tune.faulty:on_one_rank_only") as ranks_at_work:
        assert [rank.wait(within(200)) for rank in ranks_at_work] == [0, 0]
    trials = documents(run)
    assert [trial["state"] for trial in trials] == [3, 2, 2, 2]
    assert trials[0]["error"]["type"] == "ValueError"
    assert "this rank is out of luck" in trials[0]["error"]["traceback"]
    assert [trial["attempts"] for trial in trials] == [1, 2, 1, 1]
    assert trials[1]["worker"]["ranks"] == 2
    assert [trial["result"]["loss"] for trial in trials[1:]] == list(calm_losses(ranks=2)[1:])


def test_pruning_ends_bad_trials_and_keeps_good_ones(tmp_path: Path) -> None:
    run = small_run(tmp_path, pruning=Pruning(first=2, reduction=2))
    with database(run.config.database, run.database):
        open_study(run).create(TRIALS, {})
        with working(run) as (worker,):
            assert worker.wait(within(120)) == 0
        trials = documents(run)
    losses(run)
    lengths = [len(trial["result"]["history"]) for trial in trials]
    assert lengths[0] == EPOCHS  # the first has nobody to compare with
    assert {2} <= set(lengths) <= {2, 4, 8, EPOCHS}
    assert [trial["result"]["pruned"] for trial in trials] == [length < EPOCHS for length in lengths]
