"""The first rank of a worker: decides with the database what all ranks do, and tells it what came of it.

What the database hears is the trial's own end (done, failed) or that somebody else must go on with it (released, lost);
a worker that dies says nothing, and its lease runs out.
"""

import os
import platform
import time
import uuid
from collections.abc import Callable
from typing import Any

from hpc_massmap.cluster.preemption import COME_BACK, Notice
from hpc_massmap.config import Config
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.errors import InputError
from hpc_massmap.progress import clock, say
from hpc_massmap.run import Run
from hpc_massmap.tune import trials
from hpc_massmap.tune.attempt import Attempt, Message, Task, TrainTask
from hpc_massmap.tune.connection import DatabaseSilent, StudyConnection, join_study, seconds_between_beats
from hpc_massmap.tune.documents import plain
from hpc_massmap.tune.export import export_if_due
from hpc_massmap.tune.folders import keep, prepare
from hpc_massmap.tune.machine import Outage, check_files, fault_of_machine, say_fault
from hpc_massmap.tune.pruning import ends_early
from hpc_massmap.tune.rank_store import RankStore
from hpc_massmap.tune.space import hyperparameters, with_trial
from hpc_massmap.tune.study import Study
from hpc_massmap.tune.suggest import suggest
from hpc_massmap.tune.trials import LeaseLost, Trial

SECONDS_BETWEEN_CLAIMS = 1.0
SECONDS_BETWEEN_LOOKS = 0.2


class Leader:
    """The first rank: decides with the database what all ranks do, and tells it what came of it."""

    def __init__(
        self, run: Run, rank_store: RankStore, notice: Notice, normalisation: Normalisation, train: TrainTask
    ) -> None:
        self.run, self.rank_store, self.notice = run, rank_store, notice
        self.train, self.normalisation = train, normalisation
        self.connection = StudyConnection(
            lambda: join_study(run), run.config.tune.wait, lambda: notice.given is not None
        )
        self.worker = _describe(rank_store.size)
        self.rounds = 0  # of training that all ranks were called to
        self.outage: Outage | None = None
        self.epochs_at_outage = 0
        self.beat_every = seconds_between_beats(run.config.tune.lease)

    def lead(self) -> int:
        """Trial after trial; returns how many were done."""
        finished = 0
        try:
            while not self.notice.given and (trial := self._next_trial()) is not None:
                finished += self._attempt(trial)
                if lost := self.rank_store.lost():
                    raise InputError(f"rank {lost[0]} of this worker's {self.rank_store.size} is lost; its job ends")
            comes_back = self.notice.given == COME_BACK and not self.connection(Study.is_over)
            self._export(at_once=True)
            self._report("ended", None)
        except DatabaseSilent as silence:
            if not self.notice.given:
                raise
            say(str(silence))
            comes_back = self.notice.given == COME_BACK
        finally:
            self.rank_store.write(f"round/{self.rounds}", {"end": True})
            self.rank_store.leave()
        if comes_back:
            say("this job's time is up: it is requeued, to go on with what is left")
            self.notice.come_back()
        return finished

    def _next_trial(self) -> Trial | None:
        """A trial to work on; None if there is no more, or no time for any."""
        while not self.notice.given:
            if self.notice.ends is not None and self.notice.seconds_left() < self.connection(Study.longest_epoch):
                self.notice.given = COME_BACK  # it could not finish an epoch of it
                break
            trial = self._claim()
            if trial is not None or self.connection(Study.is_over):
                return trial
            self._report("idle", None)
            time.sleep(SECONDS_BETWEEN_CLAIMS)  # others still run: one of theirs may come free
        return None

    def _claim(self) -> Trial | None:
        owner = f"{self.worker['id']}:{uuid.uuid4().hex[:8]}"
        again = [False, True]  # the first time it is new

        def ask(study: Study) -> Trial | None:
            return trials.claim(study, self.worker, owner, again.pop(0) if len(again) > 1 else True)

        return self.connection(ask)

    def _attempt(self, trial: Trial) -> bool:
        """Run one trial on all ranks as far as it goes; whether it was done."""
        try:
            try:
                trial, config = self._with_values(trial)
            except InputError as error:
                if isinstance(error, DatabaseSilent):
                    raise
                # of a document that somebody has changed
                self._fail(trial, {"type": "Refused", "message": str(error), "traceback": ""})
                return False
            return self._record(trial, self._train_together(trial, config))
        except LeaseLost as lost:
            say(str(lost))
            return False

    def _with_values(self, trial: Trial) -> tuple[Trial, Config]:
        config, tune = self.run.config, self.run.config.tune
        if trial.values is None:
            documents = self.connection(lambda study: study.documents("result.history"))
            values = suggest(trial.tid, documents, config.space, config.seed, tune.startup)
            trial = self.connection(lambda study: trials.suggest(study, trial, values))
        assert trial.values is not None
        return trial, with_trial(config, hyperparameters(trial.values, config.space), trial.tid, self.rank_store.size)

    def _train_together(self, trial: Trial, config: Config) -> Message:
        """Have all ranks train it; what came of it. A fault of the machine is an outcome, whoever meets it."""
        try:
            folder, resumes = prepare(self.run, trial, config, self.rank_store.size)
        except Exception as error:
            return _outcome_of_fault(error)
        say(f"trial {trial.tid}, attempt {trial.attempt}: {config.part('model')['model']}")
        key, self.rounds = f"round/{self.rounds}", self.rounds + 1
        self.rank_store.write(key, {"config": config.model_dump_json(), "folder": str(folder), "resumes": resumes})
        task = Task(config, self.run.maps, folder, self.normalisation, resumes, f"{key}/training")
        own = None
        try:
            with Attempt(self.train, task) as own:
                decided = self._watch(own, trial, key)
                outcome = own.outcome if own.outcome and own.outcome["kind"] == "done" else None
        finally:
            if own is None or own.outcome is None or own.outcome["kind"] != "done":
                self.rank_store.write(f"{key}/stop", {})
        return decided or outcome or _combined([own.stop(), *self.rank_store.all_reports(f"{key}/end")])

    def _watch(self, own: Attempt, trial: Trial, key: str) -> Message | None:
        """Keep the lease while the ranks train; an outcome if it is for us to decide, None if a rank has ended."""
        rule = self.run.config.tune.pruning
        seen = beaten = time.monotonic()
        typical = 0.0
        self._report("training", trial.tid)
        while own.outcome is None:
            for epoch in own.new_epochs(SECONDS_BETWEEN_LOOKS):
                seen, typical = time.monotonic(), epoch["seconds"][-1]
                self._progress(trial, epoch)
                if self.notice.given:
                    return {"kind": "leave"}
                if rule and ends_early(epoch["history"], self._others(trial), rule):
                    return {**epoch, "kind": "done", "pruned": True}
            if self.notice.given:
                needs = typical - (time.monotonic() - seen)  # till the next checkpoint
                if not 0 < needs < self.notice.seconds_left():
                    return {"kind": "leave"}
            reports = self.rank_store.reports(f"{key}/end")
            if self.rank_store.lost() or any(report["kind"] in ("failed", "lost") for report in reports):
                return None
            if time.monotonic() - beaten > self.beat_every:
                beaten = time.monotonic()
                self.connection(lambda study: trials.beat(study, trial))
                self._export_meanwhile()
                self._report("leaving" if self.notice.given else "training", trial.tid)
        return None

    def _progress(self, trial: Trial, epoch: Message) -> None:
        self.outage = None
        losses, of = epoch["history"], self.run.config.tune.epochs or self.run.config.train.epochs
        say(f"{clock()} trial {trial.tid}: epoch {len(losses)}/{of}, validation loss {losses[-1]:.4f}")
        self.connection(lambda study: trials.progress(study, trial, epoch["history"], epoch["seconds"]))

    def _others(self, trial: Trial) -> list[list[float]]:
        documents = self.connection(lambda study: study.documents("result.history"))
        return [d["result"].get("history", []) for d in documents if d["tid"] != trial.tid]

    def _record(self, trial: Trial, outcome: Message) -> bool:
        """Tell the database how it went; whether the trial is done."""
        kind = outcome["kind"]
        if kind == "done":
            history, seconds = outcome["history"], outcome["seconds"]
            pruned = outcome.get("pruned", False)
            self.connection(lambda study: trials.finish(study, trial, history, seconds, pruned))
            self._outlast(lambda: keep(self.run, trial.tid, trial.version))
            self._export(due=True)
        elif outcome.get("machine"):
            self._release(trial)
            self._await_machine(outcome["machine"])
        elif kind == "failed":
            self._fail(trial, outcome)
        elif kind == "lost":
            say(f"trial {trial.tid}: {outcome['reason']}")
            self.connection(lambda study: trials.lose(study, trial, outcome["reason"]))
        else:
            self._release(trial)
        return bool(kind == "done")

    def _release(self, trial: Trial) -> None:
        try:
            self.connection(lambda study: trials.release(study, trial))
        except DatabaseSilent as silence:
            say(f"{silence}: trial {trial.tid} is free when its lease has run out")

    def _outlast(self, act: Callable[[], None]) -> None:
        """Do something with files as soon as the machine lets us; left to the launcher if we have to leave first."""
        while True:
            try:
                return act()
            except Exception as error:
                fault = fault_of_machine(error)
                if fault is None:
                    raise
            if not self._await_machine(fault):
                return None

    def _await_machine(self, fault: str) -> bool:
        """Wait until files can be used again; False if this worker has to leave first, or the study is stopped.

        Raises
        ------
        InputError
            If it lasts for `tune.wait` while others finish epochs: then it is this machine alone, and not the study.
        """
        say_fault(fault)
        if self.outage is None:
            self.outage, self.epochs_at_outage = Outage(), self.connection(Study.epochs)
        while not self.notice.given and not self.connection(Study.stopped):
            if self.outage.lasted() > self.run.config.tune.wait:
                self._give_up(f"{fault}, for {self.outage.lasted():.0f} s on {platform.node()}")
                return False
            self._report("waiting", None)
            self.outage.sleep(lambda: self.notice.given is not None)
            try:
                check_files(self.run)
                return True
            except Exception as error:
                fault = fault_of_machine(error) or fault
        return False

    def _give_up(self, reason: str) -> None:
        if self.connection(Study.epochs) > self.epochs_at_outage:
            self._report("ended", None)
            raise InputError(f"{reason}; other workers go on")
        self.connection(lambda study: study.stop(reason))

    def _fail(self, trial: Trial, error: Message) -> None:
        kind, message = str(error["type"]), str(error["message"])
        say(f"trial {trial.tid} failed: {kind}: {message}")
        self.connection(lambda study: trials.fail(study, trial, kind, message, str(error["traceback"])))
        self._export(due=True)
        limit = self.run.config.tune.failures
        if self.connection(Study.failures) >= limit:
            reason = f"{limit} trials failed in a row, the last is {trial.tid}: {kind}: {plain(message, 200)}"
            self.connection(lambda study: study.stop(reason))

    def _export(self, due: bool = False, at_once: bool = False) -> None:
        path = self.run.trials_export
        self._outlast(lambda: self.connection(lambda study: export_if_due(study, path, due, at_once)))

    def _export_meanwhile(self) -> None:
        """Write what ended elsewhere, while this trial runs; a disk that fails is waited for when it has ended."""
        try:
            self.connection(lambda study: export_if_due(study, self.run.trials_export))
        except Exception as error:
            if fault_of_machine(error) is None:
                raise

    def _report(self, state: str, tid: int | None) -> None:
        self.connection(lambda study: study.see(self.worker, state, tid))


def _combined(outcomes: list[Message]) -> Message:
    """What all ranks together make of a trial that did not end well: the machine's fault, else the first cause."""
    faults = [outcome for outcome in outcomes if outcome.get("machine")]
    if faults:
        return faults[0]
    failures = [outcome for outcome in outcomes if outcome["kind"] == "failed"]
    causes = sorted((f for f in failures if not f["secondary"]), key=lambda failure: failure["time"])
    if causes:
        return causes[0]
    lost = [outcome for outcome in outcomes if outcome["kind"] == "lost"]
    if lost:
        return lost[0]
    return {"kind": "lost", "reason": f"the ranks lost each other: {plain(failures[0]['message'], 200)}"}


def _outcome_of_fault(error: Exception) -> Message:
    """What a rank that met a fault of the machine reports; raises what is none."""
    fault = fault_of_machine(error)
    if fault is None:
        raise error
    return {"kind": "failed", "machine": fault}


def _describe(ranks: int) -> dict[str, Any]:
    """This worker, for its trials' documents and for whoever watches."""
    host, pid = platform.node(), os.getpid()
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    return {
        "id": f"{host}:{pid}:{uuid.uuid4().hex[:8]}",
        "host": host,
        "pid": pid,
        "slurm_job": f"{job}_{task}" if job and task else os.environ.get("SLURM_JOB_ID"),
        "ranks": ranks,
        "gpus": len([g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g.strip()]),
    }
