"""Suggestions by hyperopt's TPE over the trials so far (Bergstra et al. 2011).

The same seed, history and trial number give the same suggestion on any worker.
"""

import logging
from typing import Any

import numpy as np
from hyperopt import JOB_STATE_DONE, STATUS_OK, Domain, Trials, tpe

from hpc_massmap.config import Space
from hpc_massmap.tune.space import Values, hyperopt_space

logging.getLogger("hyperopt.tpe").setLevel(logging.WARNING)  # it logs a line for each suggestion


def suggest(tid: int, documents: list[dict[str, Any]], space: Space, seed: int, startup: int) -> Values:
    """Hyperparameters for trial `tid`, as hyperopt's `misc.vals`.

    Parameters
    ----------
    documents : all trials of the study, in hyperopt's schema; only finished ones with a loss inform TPE
    startup : how many finished trials TPE waits for; before that it draws at random
    """
    names = set(Space.model_fields)
    history = [_for_hyperopt(d) for d in documents if _is_informative(d) and set(d["misc"]["vals"]) == names]
    trials = Trials()
    if history:
        trials.insert_trial_docs(sorted(history, key=lambda document: document["tid"]))
        trials.refresh()
    domain = Domain(lambda _: None, hyperopt_space(space))
    stream = int(np.random.SeedSequence([seed, tid]).generate_state(1)[0])
    (document,) = tpe.suggest([tid], domain, trials, stream, n_startup_jobs=startup)
    return {name: [value.item() for value in values] for name, values in document["misc"]["vals"].items()}


def _is_informative(document: dict[str, Any]) -> bool:
    return bool(document["state"] == JOB_STATE_DONE and document["result"].get("status") == STATUS_OK)


def _for_hyperopt(document: dict[str, Any]) -> dict[str, Any]:
    tid, misc = document["tid"], document["misc"]
    return {
        "tid": tid,
        "exp_key": None,
        "state": JOB_STATE_DONE,
        "spec": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
        "result": {"status": STATUS_OK, "loss": float(document["result"]["loss"])},
        "misc": {
            "tid": tid,
            "cmd": ("domain_attachment", "FMinIter_Domain"),
            "workdir": None,
            "vals": misc["vals"],
            "idxs": {name: [tid] for name in misc["vals"]},
        },
    }
