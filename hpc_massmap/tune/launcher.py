"""The launcher of a study: starts its database and workers, replaces workers that die, and writes the best at the end.

Nothing depends on it while workers work: they go on without a launcher, and one that is started again takes up the
same jobs.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_RUNNING

from hpc_massmap.cluster.requeue import handing_over
from hpc_massmap.cluster.site import Site
from hpc_massmap.cluster.submit import check_site, ranks_of, reattach, submit
from hpc_massmap.config import Config, Tune
from hpc_massmap.dataset.mapfile import describe as describe_maps
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.observe.observation import observed
from hpc_massmap.progress import Bar, progress, say
from hpc_massmap.run import Run, Step
from hpc_massmap.storage import read_json, write_json
from hpc_massmap.train.loop import settings_of
from hpc_massmap.train.recipe import check_shares
from hpc_massmap.tune.best import said_of_best, said_of_trials, write_best
from hpc_massmap.tune.connection import StudyConnection, open_study
from hpc_massmap.tune.database.connect import DatabaseUnreachable, database, ensure, stop
from hpc_massmap.tune.documents import Document
from hpc_massmap.tune.export import export, read_export, restore
from hpc_massmap.tune.folders import keep_rest
from hpc_massmap.tune.machine import fault_of_machine, outlast
from hpc_massmap.tune.ownership import Ownership
from hpc_massmap.tune.study import Study
from hpc_massmap.tune.watchdog import launchers, start_watchdog
from hpc_massmap.tune.worker import Worker
from hpc_massmap.tune.worker_jobs import Losses, WorkerJobs

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class _Plan:
    """What a study is made of, checked before anything is spent."""

    run: Run
    settings: dict[str, Any]  # all that the losses of its trials depend on
    site: Site | None
    ranks: int
    maps: str  # described for people
    jobs: str  # what would be submitted

    @property
    def name(self) -> str:
        return f"tune_{self.run.config.name}"

    @property
    def logs(self) -> Path:
        return self.run.logs / "tune"

    def step_of(self, evaluations: int) -> Step:
        """The study as a step of the run, with so many evaluations."""
        run, settings = self.run, {name: value for name, value in self.settings.items() if name != "maps"}
        outputs = [run.best, run.trials_export, run.trials]
        if run.config.database.folder is None:
            outputs.append(run.database)
        return run.step("tune", {**settings, "evaluations": evaluations}, {"maps": self.settings["maps"]}, outputs)

    def worker_jobs(self, ownership: Ownership) -> WorkerJobs:
        """The jobs of workers that are there, from this launcher's or an earlier one's submissions."""
        worker = Worker(self.run, self.site.signal_seconds if self.site else 0, secret=token_hex())
        return WorkerJobs(
            self.logs / "workers.json",
            lambda n: submit(worker, name=self.name, logs=self.logs, copies=n, ranks=self.ranks, site=self.site),
            lambda names: reattach(names, self.logs, self.ranks, self.site),
            ownership.check,
        )


def launch_study(config: Config, site: Site | None, force: bool = False, dry_run: bool = False) -> None:
    """Have every trial of a study done, and write `best.yaml`; nothing if that has been done.

    Parameters
    ----------
    site : where workers are submitted to; None: they are processes of this machine
    force : discard what there is of the study
    dry_run : only check, and print what would be submitted

    Raises
    ------
    InputError
        If maps, site or database cannot be used, the trials there are of other settings, or the study stopped; or if
        another launcher is at work, wherever it is.
    """
    plan = _plan(config, site, force)
    if dry_run:
        print(plan.jobs)
        return
    ownership = launchers(plan.run)
    with ownership.hold(f"{plan.run.folder}: the launcher of its study", 0):
        _launch(plan, ownership, force)


def _launch(plan: _Plan, ownership: Ownership, force: bool) -> None:
    config, settings = plan.run.config, plan.settings
    run = plan.run
    worker_jobs = plan.worker_jobs(ownership)
    if force:
        worker_jobs.cancel()
        if config.database.folder is None:
            stop(run.database)
    else:
        _reopen_if_it_grows(plan)
    step = plan.step_of(config.tune.evaluations)
    if step.is_finished(force):
        return
    if run.trials_export.exists() and run.study.exists() and read_json(run.study) != settings:
        raise InputError(f"{run.trials_export}: its trials have other settings; use a new run name, or --force")
    say(plan.maps)
    with handing_over(), database(config.database, run.database):
        connection = _connection(run, ownership)
        if force:
            connection(Study.discard)
        evaluations = _prepare_study(run, connection, settings)
        with progress(f"tuning {config.name}", evaluations, "trials") as bar:
            try:
                supervise(connection, config.tune, worker_jobs, bar)
            except KeyboardInterrupt:
                worker_jobs.interrupt()  # while the database can hear them
                raise
        _refuse_stopped(run, connection)
        connection(lambda study: export(study, run.trials_export))
        documents = connection(Study.documents)
        keep_rest(run, documents)
        trials = write_best(run.best, documents, config)
        evaluations = connection(Study.document)["evaluations"]  # another launcher may have made them more
    plan.step_of(evaluations).finish(said_of_trials(trials), said_of_best(trials))


def _reopen_if_it_grows(plan: _Plan) -> None:
    """A finished study that is asked for more evaluations is no longer finished."""
    done, asked = _evaluations_done(plan.run), plan.run.config.tune.evaluations
    if 0 < done < asked:
        finished = plan.step_of(done)
        finished.recorded()  # with other settings it is another study
        say(f"{plan.run.config.name}: goes on from {done} evaluations to {asked}")
        finished.record.unlink()


def _evaluations_done(run: Run) -> int:
    """How many evaluations a finished study has; 0 if it is not finished, or its record is damaged."""
    with suppress(InputError, KeyError, TypeError):
        done = read_json(run.step("tune", {}, {}, []).record)["settings"]["evaluations"]
        return done if type(done) is int else 0
    return 0


def _say_fewer(asked: int, evaluations: int) -> None:
    say(f"tune.evaluations = {asked}: the study has {evaluations} already, and it only ever grows")


def _plan(config: Config, site: Site | None, force: bool) -> _Plan:
    if config.tuned_by is not None:
        raise InputError(f"tuned_by = {config.tuned_by}: this model takes that study's best; there is nothing to tune")
    run = Run(config, config.runs / config.name)
    if not force and config.tune.evaluations < (done := _evaluations_done(run)):
        _say_fewer(config.tune.evaluations, done)
        run = Run(config.with_values("tune", evaluations=done), run.folder)
    maps = open_maps(run.maps, [*config.model.views, *config.model.targets], check_values=True)
    observed(maps, config.observe, config.model.views)  # refuses what cannot be seen
    rows = split_maps(maps, config.split)
    settings = {
        **settings_of(config),
        **config.part("space"),
        "trial": config.tune.model_dump(mode="json", include={"startup", "epochs", "maps_per_epoch", "pruning"}),
    }
    ranks = ranks_of(site, config.tune.ranks)
    check_shares(config.train, len(rows.train), ranks)
    jobs = check_site(f"tune_{config.name}", run.logs / "tune", config.tune.workers, ranks, site)
    return _Plan(run, {**settings, "maps": maps.digest}, site, ranks, describe_maps(maps), jobs)


def _connection(run: Run, ownership: Ownership) -> StudyConnection:
    """A connection that starts the server anew when it has gone.

    A server that runs share may end with the launcher that started it, at any moment; then it is ours to start.
    """
    config = run.config.database
    if config.kind != "external":
        start_watchdog(run)

    def reopen() -> Study:
        ownership.check()
        try:
            if ensure(config, run.database):
                start_watchdog(run)
        except (InputError, OSError) as error:  # its data may still be held by one that is about to end
            raise DatabaseUnreachable(str(error)) from None
        return open_study(run)

    return StudyConnection(reopen, run.config.tune.wait)


def _prepare_study(run: Run, connection: StudyConnection, settings: dict[str, Any]) -> int:
    """Have a study that workers can join: from its creation on they take what is left; how many evaluations it has."""
    asked, exported = run.config.tune.evaluations, read_export(run.trials_export)
    connection(lambda study: study.refuse_others(settings))
    run.keep_config()
    write_json(run.study, settings)
    if restored := connection(lambda study: restore(study, exported)):
        say(f"{restored} trials of {run.trials_export} were restored: the database did not have them")
    evaluations = connection(lambda study: study.create(max(asked, len(exported)), settings))
    if asked < evaluations:
        _say_fewer(asked, evaluations)
        Run.open(run.config.with_values("tune", evaluations=evaluations))  # what the study is, for whoever looks at it
    return evaluations


def supervise(connection: StudyConnection, tune: Tune, worker_jobs: WorkerJobs, bar: Bar) -> None:
    """Keep `tune.workers` workers at work until every evaluation has ended.

    Raises
    ------
    InputError
        If workers end, again and again for one cause, or cannot be submitted for `tune.wait` seconds, and none is at
        work: something is wrong that more of the same will not mend.
    """
    if worker_jobs.jobs:
        say(f"{len(worker_jobs.jobs)} workers are still there")
    if (missing := tune.workers - len(worker_jobs.jobs)) > 0 and not connection(Study.is_over):
        worker_jobs.add(missing)
    losses, epochs = Losses(tune.workers, tune.wait), connection(Study.epochs)
    while not connection(Study.is_over):
        _look(connection, bar)
        if (now := connection(Study.epochs)) != epochs:
            epochs = now
            losses.forget()
        _replace_ended(tune.workers, worker_jobs, losses)
        if (reason := losses.too_many()) and not connection(Study.workers_at_work):
            raise InputError(f"too many workers end; {reason}")
        if (reason := losses.refused_for_long()) and not connection(Study.workers_at_work):
            raise InputError(f"workers that ended cannot be replaced; {reason}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    _look(connection, bar)
    outlast(worker_jobs.dismiss, tune.wait, say)


def _refuse_stopped(run: Run, connection: StudyConnection) -> None:
    """Name what tries failed trials again; raise an InputError if the study ended before its evaluations did."""
    failed = [document["tid"] for document in connection(Study.documents) if document["state"] == JOB_STATE_ERROR]
    if failed:
        shown = f"{', '.join(map(str, failed[:8]))}{' ...' if len(failed) > 8 else ''}"
        say(f"trials {shown} failed for reasons of their own; massmap trials retry {run.folder} tries them again")
    if why := connection(Study.stopped):
        raise InputError(f"the study was stopped: {why}; mend the cause and run the same command again")


def _replace_ended(workers: int, worker_jobs: WorkerJobs, losses: Losses) -> None:
    try:
        reasons = worker_jobs.forget_ended()
        for reason in reasons:
            say(f"a worker ended: {reason}")
        losses.add(reasons)
        missing = workers - len(worker_jobs.jobs)
        if missing > 0 and losses.may_replace():
            # while others do well, one tries now and then whether it has been mended
            worker_jobs.add(1 if losses.too_many() else missing)
            losses.replaced()
    except Exception as error:
        fault = fault_of_machine(error)
        if fault is None:
            raise
        if losses.refuse(fault):
            say(f"workers that ended are not replaced for now: {fault}")


def _look(connection: StudyConnection, bar: Bar) -> list[Document]:
    documents = connection(lambda study: study.documents("worker"))
    bar.update(_ended(documents), _note(documents))
    return documents


def _ended(documents: list[Document]) -> int:
    return sum(document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR) for document in documents)


def _note(documents: list[Document]) -> str:
    running = [document["tid"] for document in documents if document["state"] == JOB_STATE_RUNNING]
    losses = [document["result"]["loss"] for document in documents if document["state"] == JOB_STATE_DONE]
    loss = f"best {min(losses):.4f}" if losses else "none finished yet"
    failed = sum(document["state"] == JOB_STATE_ERROR for document in documents)
    shown = f"trials {', '.join(map(str, running[:8]))}{' ...' if len(running) > 8 else ''}" if running else "none"
    return f"{loss}{f', {failed} failed' if failed else ''}; running: {shown}"
