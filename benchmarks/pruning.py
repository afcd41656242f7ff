#!/usr/bin/env python3
"""How many epochs pruning saves: TPE with asynchronous successive halving against plain TPE, to the same best loss.

Studies run in virtual time (`pool.py`) on the U-Net's space (`surrogate.py`); trials have at most 100 epochs and stop
by themselves after 5 without a better loss. The target is the best validation loss of plain studies of 100 trials
(the median over seeds). Counted are the epochs of all workers together until a study first reaches it, if need be
with more than 100 trials: `saved` is the plain median over the pruned one, with its 95% bootstrap interval. The last
columns are of pruned studies that end after 100 trials: their epochs and best loss over the plain ones' (medians).
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hyperopt import JOB_STATE_DONE

from benchmarks.pool import Documents, Outcome, Training, simulate
from benchmarks.surrogate import DEMO, MEASURED, PAPER, Scale, Surrogate
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Pruning, Space, Tune
from hpc_massmap.tune.pruning import ends_early
from hpc_massmap.tune.space import Values
from hpc_massmap.tune.suggest import suggest

EVALUATIONS, MOST_PLAIN, MOST_PRUNED = 100, 200, 400
RULES = [(1, 3), (1, 2), (1, 4), (2, 3), (3, 3)]
RESAMPLES = 4000
NEVER = 10**9  # epochs


@dataclass(frozen=True)
class Studies:
    """Studies of one kind of training."""

    surrogate: Surrogate
    scale: Scale
    workers: int

    def run(
        self, seed: int, evaluations: int, rule: Pruning | None = None, told: str = "", target: float = float("-inf")
    ) -> Outcome:
        """One study; without a rule, a plain one."""

        def ask(tid: int, documents: Documents) -> Values:
            return suggest(tid, TOLD[told](documents) if told else documents, Space(), seed, Tune().startup)

        def train(tid: int, values: Values) -> Training:
            # not the stream of the plain study, or a trial of the same number would repeat its luck
            return self.surrogate.training(values, np.random.default_rng([seed, rule is not None, tid]), self.scale)

        def prune(history: list[float], others: list[list[float]]) -> bool:
            return rule is not None and ends_early(history, others, rule)

        return simulate(ask, train, self.workers, evaluations, prune, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="studies of each kind (default 20)")
    parser.add_argument("--workers", type=int, default=8, help="workers of a study (default 8)")
    parser.add_argument("--rules", action="store_true", help="also other rules than the default")
    parser.add_argument("--told", action="store_true", help="also other things TPE may be told of pruned trials")
    args = parser.parse_args()
    surrogate = Surrogate()
    kinds = [(rule, CHOSEN) for rule in (RULES if args.rules else RULES[:1])]
    kinds += [(RULES[0], told) for told in TOLD if args.told and told != CHOSEN]
    for scale in (DEMO, PAPER, MEASURED):
        start = time.perf_counter()
        studies = Studies(surrogate, scale, args.workers)
        plain = [studies.run(seed, MOST_PLAIN) for seed in range(args.seeds)]
        target = float(np.median([first_trials(outcome)[1] for outcome in plain]))
        reached = epochs_to(target, plain)
        print(f"\n{scale.title}: {args.seeds} studies of each kind on {args.workers} workers")
        epochs = np.median([first_trials(outcome)[0] for outcome in plain])
        print(f"plain: {EVALUATIONS} trials take {epochs:.0f} epochs; {target:.4f} is reached after {spread(reached)}")
        print(f"{'rule':>6} {'TPE knows of pruned':26} {'epochs':>19} {'saved':>14} {'100: epochs':>12} {'loss':>6}")
        for (first, reduction), told in kinds:
            show(studies, Pruning(first=first, reduction=reduction), told, plain, target)
        print(f"({time.perf_counter() - start:.0f} s)")


def show(studies: Studies, rule: Pruning, told: str, plain: list[Outcome], target: float) -> None:
    """One line of the table."""
    seeds = range(len(plain))
    baseline = epochs_to(target, plain)
    pruned = epochs_to(target, [studies.run(seed, MOST_PRUNED, rule, told, target) for seed in seeds])
    stream = np.random.default_rng(0)
    medians = [np.median(stream.choice(epochs, (RESAMPLES, len(seeds))), axis=1) for epochs in (baseline, pruned)]
    low, high = np.quantile(medians[0] / medians[1], [0.025, 0.975])
    short = [first_trials(studies.run(seed, EVALUATIONS, rule, told)) for seed in seeds]
    epochs, losses = np.median(np.array(short) / [first_trials(outcome) for outcome in plain], axis=0)
    print(
        f"{rule.first:4},{rule.reduction} {told:26} {spread(pruned):>19} "
        f"{np.median(baseline) / np.median(pruned):4.1f} ({low:3.1f}-{high:4.1f}) {epochs:12.2f} {losses:6.3f}",
        flush=True,
    )


def epochs_to(target: float, outcomes: list[Outcome]) -> FloatArray:
    """When each study first reached the target."""
    return np.array([outcome.epochs_to(target) or NEVER for outcome in outcomes], dtype=float)


def spread(epochs: FloatArray) -> str:
    """Median and quartiles."""
    low, middle, high = (
        f"{value:.0f}" if value < NEVER else "never" for value in np.quantile(epochs, [0.25, 0.5, 0.75])
    )
    return f"{middle} ({low}-{high})"


def first_trials(outcome: Outcome) -> tuple[int, float]:
    """Epochs and best loss of the first 100 trials."""
    results = [document["result"] for document in outcome.documents[:EVALUATIONS]]
    return sum(len(result["history"]) for result in results), min(result["loss"] for result in results)


def _is_pruned(document: dict[str, Any]) -> bool:
    return document["state"] == JOB_STATE_DONE and bool(document["result"].get("pruned"))


def _as_worst(documents: Documents) -> Documents:
    losses = [document["result"]["loss"] for document in documents if document["state"] == JOB_STATE_DONE]
    return [
        {**document, "result": {**document["result"], "loss": max(losses)}} if _is_pruned(document) else document
        for document in documents
    ]


CHOSEN = "their best loss (chosen)"
TOLD: dict[str, Callable[[Documents], Documents]] = {
    CHOSEN: lambda documents: documents,
    "the worst loss of all": _as_worst,
    "nothing": lambda documents: [document for document in documents if not _is_pruned(document)],
}


if __name__ == "__main__":
    main()
