"""A pool of tuning workers in virtual time: what a study would do, without processes, databases or trainings.

Workers start together; each asks, trains epoch by epoch, reports every epoch, and asks again, as a worker of
`hpc_massmap.tune.worker` does. A trial's epochs take as long as its hyperparameters say, with a seeded jitter.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_OK

from hpc_massmap.tune.space import Values

Documents = list[dict[str, Any]]


@dataclass(frozen=True)
class Training:
    """What a trial would give if nobody stopped it."""

    losses: list[float]  # of each epoch
    seconds: float  # an epoch


@dataclass(frozen=True)
class Outcome:
    """A study that has ended."""

    documents: Documents
    trace: list[float]  # the validation loss of every epoch of every trial, in the order of time

    @property
    def best(self) -> float:
        """The lowest loss of any trial that has ended."""
        return min(float(document["result"]["loss"]) for document in self.documents if "loss" in document["result"])

    def epochs_to(self, loss: float) -> int | None:
        """How many epochs all workers together had done when one first reached a loss; None: never."""
        return next((n for n, reached in enumerate(self.trace, 1) if reached <= loss), None)


def simulate(
    ask: Callable[[int, Documents], Values],
    train: Callable[[int, Values], Training],
    workers: int,
    evaluations: int,
    ends_early: Callable[[list[float], list[list[float]]], bool] = lambda history, others: False,
    target: float = float("-inf"),
) -> Outcome:
    """Run a study of `evaluations` trials, or until an epoch's loss reaches `target`.

    Parameters
    ----------
    ask : hyperparameters for trial `tid`, given all documents so far
    train : the training of trial `tid` with these hyperparameters
    ends_early : whether a trial ends, given its losses and those of all others
    """
    documents: Documents = []
    trainings: list[Training] = []
    trace: list[float] = []
    events: list[tuple[float, int]] = []  # when the next epoch of a trial ends

    def start(now: float) -> None:
        tid = len(documents)
        if tid == evaluations:
            return
        document = {"tid": tid, "state": JOB_STATE_RUNNING, "result": {"status": "new"}, "misc": {"vals": {}}}
        documents.append(document)
        document["misc"] = {"tid": tid, "vals": ask(tid, documents)}
        trainings.append(train(tid, document["misc"]["vals"]))
        heapq.heappush(events, (now + trainings[tid].seconds, tid))

    for _ in range(workers):
        start(0.0)
    while events:
        now, tid = heapq.heappop(events)
        result, training = documents[tid]["result"], trainings[tid]
        history = result.setdefault("history", [])
        history.append(training.losses[len(history)])
        trace.append(history[-1])
        if history[-1] <= target:
            break
        others = [document["result"].get("history", []) for document in documents if document["tid"] != tid]
        is_over = len(history) == len(training.losses)
        pruned = not is_over and ends_early(history, others)
        if is_over or pruned:
            result.update(status=STATUS_OK, loss=min(history), **({"pruned": True} if pruned else {}))
            documents[tid]["state"] = JOB_STATE_DONE
            start(now)
        else:
            heapq.heappush(events, (now + training.seconds, tid))
    return Outcome(documents, trace)
