"""Suggestions by hyperopt's TPE over the trials so far (Bergstra et al. 2011), the running ones included.

The same seed, documents and trial number give the same suggestion on any worker. A running trial counts as if it
ended now: with the best loss of its epochs so far, and before its first with the worst loss of all finished ones
(a pessimistic constant liar), so that others look elsewhere until it has shown something.
"""

import logging
from typing import Any

import numpy as np
from hyperopt import JOB_STATE_DONE, JOB_STATE_NEW, JOB_STATE_RUNNING, STATUS_OK, Domain, tpe
from hyperopt.base import trials_from_docs

from hpc_massmap.config import Space
from hpc_massmap.tune.space import Values, hyperopt_space

Document = dict[str, Any]

logging.getLogger("hyperopt.tpe").setLevel(logging.WARNING)  # it logs a line for each suggestion


def suggest(tid: int, documents: list[Document], space: Space, seed: int, startup: int) -> Values:
    """Hyperparameters for trial `tid`, as hyperopt's `misc.vals`.

    Parameters
    ----------
    documents : all trials of the study, in hyperopt's schema, in any order
    startup : how many finished and running trials TPE waits for; before that it draws at random
    """
    return suggest_from(hyperopt_space(space), tid, documents, seed, startup)


def suggest_from(distributions: dict[str, Any], tid: int, documents: list[Document], seed: int, startup: int) -> Values:
    """`suggest` over any flat hyperopt space."""
    history = [
        _for_hyperopt(document["tid"], document["misc"]["vals"], loss)
        for document, loss in _with_losses(documents)
        if document["misc"]["vals"].keys() == distributions.keys()
    ]
    domain = Domain(lambda _: None, distributions)
    stream = int(np.random.SeedSequence([seed, tid]).generate_state(1)[0])
    trials = trials_from_docs(history, validate=False)
    (document,) = tpe.suggest([tid], domain, trials, stream, n_startup_jobs=startup)
    return {name: [value.item() for value in values] for name, values in document["misc"]["vals"].items()}


def _with_losses(documents: list[Document]) -> list[tuple[Document, float]]:
    finished = [
        (document, float(document["result"]["loss"]))
        for document in documents
        if document["state"] == JOB_STATE_DONE and document["result"].get("status") == STATUS_OK
    ]
    if not finished:
        return []
    worst = max(loss for _, loss in finished)
    running = [
        (document, min(document["result"].get("history") or [worst]))
        for document in documents
        if document["state"] in (JOB_STATE_NEW, JOB_STATE_RUNNING)
    ]
    return finished + running


def _for_hyperopt(tid: int, values: Values, loss: float) -> Document:
    return {
        "tid": tid,
        "exp_key": None,
        "state": JOB_STATE_DONE,
        "spec": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
        "result": {"status": STATUS_OK, "loss": loss},
        "misc": {
            "tid": tid,
            "cmd": None,
            "workdir": None,
            "vals": values,
            "idxs": {name: [tid] for name in values},
        },
    }
