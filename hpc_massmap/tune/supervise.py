"""What the launcher does while workers work: show how far they are, replace those that die, know when it is over."""

import time
from collections.abc import Callable
from typing import Any

from hyperopt import JOB_STATE_DONE, JOB_STATE_ERROR, JOB_STATE_RUNNING

from hpc_massmap.config import Tune
from hpc_massmap.errors import InputError
from hpc_massmap.launch import Job, failure
from hpc_massmap.progress import Bar, say
from hpc_massmap.tune.best import best_of
from hpc_massmap.tune.trials import Study

SECONDS_BETWEEN_LOOKS = 1.0


def supervise(study: Study, tune: Tune, submit: Callable[[int], list[Job]], bar: Bar) -> None:
    """Keep `tune.workers` workers at work until every evaluation has ended.

    Parameters
    ----------
    submit : starts that many workers

    Raises
    ------
    InputError
        If as many workers as were started first have died again: something is wrong that more will not mend.
    """
    jobs = submit(tune.workers)
    replacements = tune.workers
    while not study.is_over():
        documents = study.documents()
        bar.update(_ended(documents), _note(documents))
        dead = [job for job in jobs if job.done()]
        jobs = [job for job in jobs if job not in dead]
        reasons = [reason for job in dead if (reason := failure(job))]
        for reason in reasons:
            say(f"a worker died: {reason}")
        missing = tune.workers - len(jobs)
        if dead and missing > replacements:
            raise InputError(f"too many workers died; {reasons[-1] if reasons else 'see their logs'}")
        if dead and missing:
            replacements -= missing
            jobs += submit(missing)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    documents = study.documents()
    bar.update(_ended(documents), _note(documents))
    for job in jobs:  # they see the same end and leave by themselves
        job.wait()


def _ended(documents: list[dict[str, Any]]) -> int:
    return sum(document["state"] in (JOB_STATE_DONE, JOB_STATE_ERROR) for document in documents)


def _note(documents: list[dict[str, Any]]) -> str:
    running = [document for document in documents if document["state"] == JOB_STATE_RUNNING]
    shown = ", ".join(f"trial {d['tid']} epoch {len(d['result'].get('history', []))}" for d in running)
    best = best_of(documents)
    loss = f"best {best['result']['loss']:.4f}" if best else "none finished yet"
    failed = sum(document["state"] == JOB_STATE_ERROR for document in documents)
    return f"{loss}{f', {failed} failed' if failed else ''}; running: {shown or 'none'}"
