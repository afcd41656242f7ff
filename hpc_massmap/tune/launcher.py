"""What the launcher does while workers work: show how far they are, replace those that die, know when it is over.

Nothing depends on it: workers go on without a launcher, and one that is started again takes up the same jobs.
"""

import time

from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_RUNNING

from hpc_massmap.config import Tune
from hpc_massmap.errors import InputError
from hpc_massmap.progress import Bar, say
from hpc_massmap.tune.best import best_of
from hpc_massmap.tune.connection import StudyConnection
from hpc_massmap.tune.documents import Document
from hpc_massmap.tune.trials import Study
from hpc_massmap.tune.worker_jobs import WorkerJobs

SECONDS_BETWEEN_LOOKS = 1.0


def supervise(connection: StudyConnection, tune: Tune, worker_jobs: WorkerJobs, bar: Bar) -> None:
    """Keep `tune.workers` workers at work until every evaluation has ended.

    Raises
    ------
    InputError
        If as many workers as there should be have died again and not one trial has ended meanwhile, or the workers
        stopped the study: something is wrong that more of the same will not mend.
    """
    if worker_jobs.jobs:
        say(f"{len(worker_jobs.jobs)} workers are still there")
    if (missing := tune.workers - len(worker_jobs.jobs)) > 0 and not connection(Study.is_over):
        worker_jobs.add(missing)
    replacements, ended = tune.workers, 0
    while not connection(Study.is_over):
        documents = _look(connection, bar)
        if _ended(documents) > ended:
            replacements, ended = tune.workers, _ended(documents)
        reasons = worker_jobs.forget_ended()
        for reason in reasons:
            say(f"a worker ended: {reason}")
        if (missing := tune.workers - len(worker_jobs.jobs)) > 0:
            if missing > replacements:
                raise InputError(f"too many workers end; {reasons[-1] if reasons else 'see their logs'}")
            replacements -= missing
            worker_jobs.add(missing)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    _look(connection, bar)
    worker_jobs.dismiss()
    if why := connection(Study.stopped):
        raise InputError(f"the study was stopped: {why}; mend the cause and run the same command again")


def _look(connection: StudyConnection, bar: Bar) -> list[Document]:
    documents = connection(lambda study: study.documents("worker"))
    bar.update(_ended(documents), _note(documents))
    return documents


def _ended(documents: list[Document]) -> int:
    return sum(document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR) for document in documents)


def _note(documents: list[Document]) -> str:
    running = [document["tid"] for document in documents if document["state"] == JOB_STATE_RUNNING]
    best = best_of(documents)
    loss = f"best {best['result']['loss']:.4f}" if best else "none finished yet"
    failed = sum(document["state"] == JOB_STATE_ERROR for document in documents)
    shown = f"trials {', '.join(map(str, running[:8]))}{' ...' if len(running) > 8 else ''}" if running else "none"
    return f"{loss}{f', {failed} failed' if failed else ''}; running: {shown}"
