"""A tuning worker: claim a trial, suggest, train, report, until no ticket is left.

Every worker is equal and there is no driver to lose. A trial that fails is recorded and the worker goes on; a
trial whose worker died is taken over with its checkpoint.
"""

import os
import platform
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType

from pymongo.errors import PyMongoError

from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.split import Rows, split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.train.loop import LAST, Callbacks, Epoch, Fit, fit
from hpc_massmap.train.ranks import Ranks, join_ranks
from hpc_massmap.tune.database import connect
from hpc_massmap.tune.space import hyperparameters, with_trial
from hpc_massmap.tune.suggest import suggest
from hpc_massmap.tune.trials import LeaseLost, Study, Trial

BEATS_PER_LEASE = 4
SECONDS_BETWEEN_CLAIMS = 1.0


class Heartbeat:
    """Keeps a trial's lease alive from a thread of its own; `check` raises LeaseLost once it is not ours."""

    def __init__(self, study: Study, trial: Trial) -> None:
        self._study, self._trial = study, trial
        self._stop, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(self._study.lease / BEATS_PER_LEASE):
            try:
                self._study.beat(self._trial)
            except LeaseLost:
                self._lost.set()
                return
            except PyMongoError:
                continue  # the server may come back within the lease; if not, the next beat is refused

    def check(self) -> None:
        if self._lost.is_set():
            raise LeaseLost(f"trial {self._trial.tid} was taken over")


def open_study(run: Run) -> Study:
    """The study of a run, whose database answers."""
    tune = run.config.tune
    return Study(connect(run.config.database, run.database), run.config.name, tune.lease, tune.attempts)


def work(run: Run) -> int:
    """Work until the study is over; returns how many trials this worker finished.

    Raises
    ------
    InputError
        If `tune.failures` trials in a row failed: something is wrong that more trials will not mend.
    """
    with join_ranks(run.config.train.threads) as ranks:
        maps = open_maps(run.maps, [*run.config.model.views, *run.config.model.targets])
        rows = split_maps(maps, run.config.split)
        study = open_study(run)
        worker = {"host": platform.node(), "pid": os.getpid(), "slurm_job": os.environ.get("SLURM_JOB_ID")}
        finished = failures = 0
        while not study.is_over():
            trial = study.claim(worker)
            if trial is None:
                time.sleep(SECONDS_BETWEEN_CLAIMS)  # others still run: one of theirs may expire
                continue
            succeeded = attempt(run, study, trial, lambda t: _train(run, study, t, maps, rows, ranks))
            if succeeded is not None:
                finished, failures = finished + succeeded, 0 if succeeded else failures + 1
            if failures >= run.config.tune.failures:
                raise InputError(
                    f"{failures} trials failed in a row, the last is {trial.tid}; see its error in {run.trials_export}"
                )
        return finished


def attempt(run: Run, study: Study, trial: Trial, train: Callable[[Trial], Fit]) -> bool | None:
    """Run one trial to its end: True if done, False if it failed, None if it was taken over."""
    try:
        with Heartbeat(study, trial) as heart:
            result = train(_with_values(run, study, trial))
            heart.check()
        history = [epoch.validation_loss for epoch in result.history]
        study.finish(trial, result.best.validation_loss, history)
    except LeaseLost as lost:
        print(lost, flush=True)
        return None
    except PyMongoError:
        raise  # the database, not the trial: its lease expires and somebody takes it over
    except Exception as error:
        study.fail(trial, type(error).__name__, str(error), traceback.format_exc())
        study.export(run.trials_export)
        return False
    (run.trials / str(trial.tid) / LAST).unlink(missing_ok=True)
    study.export(run.trials_export)
    return True


def _with_values(run: Run, study: Study, trial: Trial) -> Trial:
    if trial.values is not None:
        return trial
    config = run.config
    values = suggest(trial.tid, study.documents(), config.space, config.seed, config.tune.startup)
    return study.suggest(trial, values)


def _train(run: Run, study: Study, trial: Trial, maps: MapFile, rows: Rows, ranks: Ranks) -> Fit:
    assert trial.values is not None
    config = with_trial(run.config, hyperparameters(trial.values, run.config.space), trial.tid)
    print(f"trial {trial.tid}, attempt {trial.attempt}: {config.part('model')['model']}", flush=True)

    def on_epoch(history: list[Epoch]) -> None:
        study.beat(trial, [epoch.validation_loss for epoch in history])

    return fit(maps, rows, config, ranks, run.trials / str(trial.tid), Callbacks(on_epoch=on_epoch))
