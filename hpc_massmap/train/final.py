"""The final training of a run: what each of its ranks does, and how the launcher follows it."""

import csv
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from submitit.helpers import DelayedSubmission

from hpc_massmap.cluster.preemption import COME_BACK, LEAVE, Notice
from hpc_massmap.cluster.submit import Job, cancel, ended, failure, interrupt, was_taken
from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.progress import Bar, say
from hpc_massmap.run import NOTES, Run, Step
from hpc_massmap.storage import UNFINISHED, digest_of, read_json, telling, write_json
from hpc_massmap.train.logs import SECONDS_BETWEEN_NOTES, logs
from hpc_massmap.train.loop import BEST, LOG, Callbacks, Pause, fit
from hpc_massmap.train.meeting import ToldToLeave
from hpc_massmap.train.precision import precision_on
from hpc_massmap.train.ranks import is_of_another_rank, join_ranks

SECONDS_TO_LEAVE = 5.0  # for the ranks of a job that was just ended
EXIT_REQUEUE = 75  # EX_TEMPFAIL: a checkpoint is written, the same job can go on


def train_rank(config: Config, maps_path: Path, folder: Path, notice: Notice | None = None) -> None:
    """Train the model of `config` into `folder`; run by every rank.

    When the first rank is given notice, it writes a checkpoint after the step, or the batch of the validation, that it
    is in and raises `Pause`; the others are ended with the job.

    Raises
    ------
    InputError
        If another training writes into the folder, one whose launcher was killed for instance; or the loss diverges.
    """

    def leaves() -> bool:
        return notice is not None and notice.given is not None

    with (
        join_ranks(config.train.threads, leaves=leaves) as ranks,
        _sole_writer(folder) if ranks.is_first else nullcontext(),
    ):
        if ranks.is_first and precision_on(ranks.device, config.train.precision) != config.train.precision:
            say(f"{ranks.device} here has no bf16: convolutions are in fp32")
        maps = open_maps(maps_path, [*config.model.views, *config.model.targets])
        callbacks = _heeding(logs(folder, config.train, ranks.device), notice) if ranks.is_first else Callbacks()
        fit(maps, split_maps(maps, config.split), config, ranks, folder, callbacks)


def _heeding(callbacks: Callbacks, notice: Notice | None) -> Callbacks:
    def on_step(epoch: int, step: int, steps: int) -> None:
        callbacks.on_step(epoch, step, steps)
        heed()

    def heed() -> None:
        if notice is not None and notice.given is not None:
            raise Pause

    return Callbacks(on_step, callbacks.on_epoch, heed)


class FinalTraining:
    """What each rank of the training's job runs, whoever started it; requeued, it goes on at its last step.

    Ends with code 75 if it was given notice. Where another rank failed, it says so and ends with 1, without an error of
    its own: the first is the one to look at.
    """

    def __init__(self, config: Config, maps_path: Path, folder: Path) -> None:
        self.config, self.maps_path, self.folder = config, maps_path, folder

    def __call__(self) -> None:
        notice = Notice(signal_seconds=0.0)
        signal.signal(signal.SIGUSR1, signal.getsignal(COME_BACK))  # what `#SBATCH --signal` mostly names
        try:
            train_rank(self.config, self.maps_path, self.folder, notice)
        except (Pause, ToldToLeave):
            if notice.given != LEAVE:
                notice.come_back()
            sys.exit(EXIT_REQUEUE)
        except Exception as error:
            if not is_of_another_rank(error):
                raise
            if notice.given is not None:
                sys.exit(EXIT_REQUEUE)  # the first rank has written its checkpoint and gone
            # whole: where all say so, as for two ranks on one GPU, its end is the only word on why
            sys.exit(f"another rank failed, see its error: {' '.join(str(error).split())}")

    def checkpoint(self) -> DelayedSubmission:
        return DelayedSubmission(self)


def is_trained(step: Step, folder: Path, force: bool) -> bool:
    """Whether the training into `folder` is finished; `force` discards nothing while another process trains there.

    Raises
    ------
    InputError
        If another process trains there and `force` would discard it, and what `step.is_finished` raises.
    """
    with _sole_writer(folder, SECONDS_TO_LEAVE) if force and folder.exists() else nullcontext():
        return step.is_finished(force)


def train_as_rank(rank: int, training: FinalTraining, run: Run, step: Step, force: bool) -> None:
    """Be one of the ranks that torchrun or srun started; the first keeps the records of the run.

    Raises
    ------
    InputError
        If the step was finished with other settings, or another process trains there.
    """
    if rank > 0:
        if force or not step.is_finished(force=False):
            training()
        return
    # before the others are met: with `force` nothing old is there when they look
    if is_trained(step, training.folder, force):
        return
    Run.open(run.config)
    training()
    step.finish(*how_it_went(training.folder, training.config))


@contextmanager
def _sole_writer(folder: Path, seconds: float = 0.0) -> Iterator[None]:
    lock = FileLock(folder / "lock", timeout=seconds)
    try:
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            for left in folder.glob(f".*{UNFINISHED}"):  # by who was killed as it wrote; a checkpoint is large
                left.unlink()
    except Timeout:
        raise InputError(f"{folder}: another process trains here; wait for it to end, or end it") from None
    try:
        yield
    finally:
        lock.release()


class Record:
    """The job that trains this run, written down for a launcher that is started again.

    Parameters
    ----------
    file : where
    settings : what the training depends on
    reattach : the job of that name, as another launcher submitted it; none if it cannot be one of ours
    """

    def __init__(self, file: Path, settings: Any, reattach: Callable[[list[str]], list[Job]]) -> None:
        self._file, self._of, self._reattach = file, digest_of(settings), reattach

    def running(self, force: bool) -> Job | None:
        """The job if it has not ended; with `force` it is ended first.

        Raises
        ------
        InputError
            If it trains with other settings.
        """
        if not self._file.exists():
            return None
        known = read_json(self._file)
        jobs = [job for job in self._reattach([known["job"]]) if not ended(job)]
        if jobs and force:
            cancel(jobs)
            return None
        if jobs and known["of"] != self._of:
            raise InputError(f"job {known['job']} trains this run with other settings; wait for it, or --force ends it")
        if jobs:
            say(f"job {known['job']} is still there; following it")
        return jobs[0] if jobs else None

    def write(self, job: Job) -> None:
        write_json(self._file, {"job": job.job_id, "of": self._of})


def follow(job: Job, config: Config, folder: Path, bar: Bar) -> bool:
    """Show the progress of a training job until it ends; false if Slurm took it away before that, for good.

    Raises
    ------
    InputError
        If it ends badly; names its log.
    """
    try:
        while not ended(job):
            bar.update(*_where(folder, config))
            time.sleep(SECONDS_BETWEEN_NOTES)
    except KeyboardInterrupt:
        interrupt([job])
        raise
    if was_taken(job):
        say(f"Slurm took job {job.job_id} away; another goes on with what it has")
        return False
    reason = failure(job)
    if reason:
        raise InputError(f"training: {reason}")
    done, note, _ = _where(folder, config)
    bar.total = done or bar.total  # it may have stopped early
    bar.update(done or bar.total, note)
    return True


def _where(folder: Path, config: Config) -> tuple[int, str, float | None]:
    """Epochs that are done, a note on the one that runs, and the seconds left if nothing stops early."""
    path = folder / NOTES
    if not path.exists():
        return 0, "starting", None
    at: dict[str, Any] = read_json(path)
    loss = f", validation loss {at['validation_loss']:.4f}" if at["validation_loss"] is not None else ""
    best = f" (best {at['best_loss']:.4f} of epoch {at['best_epoch']})" if at.get("best_epoch") else ""
    return (
        at.get("epochs_done", at["epoch"] - 1),
        (
            f"epoch {at['epoch']}/{config.train.epochs}, step {at['step']}/{at['steps']}{loss}{best}, "
            f"{at['images_per_second']:.0f} images/s, {at['peak_memory_gib']:.1f} GiB"
        ),
        at["seconds_left"],
    )


def how_it_went(folder: Path, config: Config) -> tuple[str, str]:
    """What a training that has ended says: how many epochs and why no more, the best of them, and where it is."""
    with (folder / LOG).open(encoding="utf-8", newline="") as file:
        losses = [float(line["validation_loss"]) for line in csv.DictReader(file)]
    best = min(range(len(losses)), key=lambda n: losses[n])
    early = f"stopped early: none of the last {config.train.patience} was better"
    return (
        f"trained {len(losses)} of at most {config.train.epochs} epochs"
        + (f"; {early}" if len(losses) < config.train.epochs else ""),
        f"the best is epoch {best + 1}, validation loss {losses[best]:.4f}: {folder / BEST}",
    )
