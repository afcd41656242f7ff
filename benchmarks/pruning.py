#!/usr/bin/env python3
"""How many epochs pruning saves: TPE with asynchronous successive halving against plain TPE, to the same best loss.

Studies run in virtual time (`pool.py`) on the U-Net's space (`surrogate.py`), trials of at most 100 epochs that stop by
themselves after 5 without a better loss. A plain study of 100 trials sets the target, its best validation loss; what
counts is how many epochs all workers together had done when the target was first reached, in the plain study itself
and in the pruned one, which may start as many trials as it needs (at most 400). `saved` is the median of that ratio
over seeds, with its 95% bootstrap interval. The last columns are of a pruned study that ends after 100 trials too: its
share of the plain one's epochs, and its best loss over the plain one's (medians).
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from hyperopt import JOB_STATE_DONE

from benchmarks.pool import Documents, Outcome, simulate
from benchmarks.surrogate import NOISE, Surrogate
from hpc_massmap.config import Pruning, Space, Tune
from hpc_massmap.tune.pruning import ends_early
from hpc_massmap.tune.space import Values
from hpc_massmap.tune.suggest import suggest

EVALUATIONS, MOST_EVALUATIONS = 100, 400
RULES = [(1, 2), (1, 3), (1, 4), (2, 3), (3, 3), (4, 4)]
RESAMPLES = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="studies of each kind (default 20)")
    parser.add_argument("--workers", type=int, default=16, help="workers of a study (default 16)")
    parser.add_argument("--told", action="store_true", help="also other things that TPE may be told of pruned trials")
    args = parser.parse_args()
    surrogate = Surrogate()
    for noise in (NOISE, surrogate.noise):
        start = time.perf_counter()
        study = partial(run, surrogate, noise, args.workers)
        plain = [study(seed) for seed in range(args.seeds)]
        print(
            f"\nlosses jump by {noise:.0%} from epoch to epoch; {args.seeds} plain studies of {EVALUATIONS} trials on "
            f"{args.workers} workers: best loss {np.median([o.best for o in plain]):.4f}, reached after "
            f"{np.median([o.epochs_to(o.best) for o in plain]):.0f} of {np.median([len(o.trace) for o in plain]):.0f} "
            "epochs (medians)"
        )
        print(f"{'first':>6} {'reduction':>9} {'TPE knows of pruned':26} {'saved':>18} {'100: epochs':>11} {'loss':>6}")
        for first, reduction in RULES:
            for told in list(TOLD) if args.told and (first, reduction) == (1, 3) else [CHOSEN]:
                rule = Pruning(first=first, reduction=reduction)
                show(rule, told, plain, partial(study, rule=rule, told=told))
        print(f"({time.perf_counter() - start:.0f} s)")


def run(
    surrogate: Surrogate,
    noise: float,
    workers: int,
    seed: int,
    rule: Pruning | None = None,
    told: str = "",
    evaluations: int = EVALUATIONS,
    target: float = float("-inf"),
) -> Outcome:
    """One study; without a rule, a plain one."""

    def ask(tid: int, documents: Documents) -> Values:
        return suggest(tid, TOLD[told](documents) if told else documents, Space(), seed, Tune().startup)

    def prune(history: list[float], others: list[list[float]]) -> bool:
        return rule is not None and ends_early(history, others, rule)

    # another stream than that of the plain study, or a trial of the same number would repeat its luck
    stream = [seed, rule is not None]
    return simulate(
        ask,
        lambda tid, values: surrogate.training(values, np.random.default_rng([*stream, tid]), noise),
        workers,
        evaluations,
        prune,
        target,
    )


def show(rule: Pruning, told: str, plain: list[Outcome], pruned: Callable[..., Outcome]) -> None:
    """One line of the table."""
    saved, epochs, losses, missed = [], [], [], 0
    for seed, reference in enumerate(plain):
        longest = pruned(seed, evaluations=MOST_EVALUATIONS, target=reference.best)
        reached = longest.epochs_to(reference.best)
        missed += reached is None
        saved.append((reference.epochs_to(reference.best) or 0) / (reached or len(longest.trace)))
        short = pruned(seed)
        epochs.append(len(short.trace) / len(reference.trace))
        losses.append(short.best / reference.best)
    stream = np.random.default_rng(0)
    medians = np.median(stream.choice(saved, (RESAMPLES, len(saved))), axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    print(
        f"{rule.first:6} {rule.reduction:9} {told:26} {np.median(saved):6.2f} {low:5.2f}-{high:5.2f} "
        f"{np.median(epochs):11.2f} {np.median(losses):6.3f}" + (f"  ({missed} never)" if missed else ""),
        flush=True,
    )


def _pruned(document: dict[str, object]) -> bool:
    result = document["result"]
    return document["state"] == JOB_STATE_DONE and isinstance(result, dict) and bool(result.get("pruned"))


def _as_bad(documents: Documents) -> Documents:
    losses = [document["result"]["loss"] for document in documents if document["state"] == JOB_STATE_DONE]
    return [
        {**document, "result": {**document["result"], "loss": max(losses)}} if _pruned(document) else document
        for document in documents
    ]


CHOSEN = "their loss so far (chosen)"
TOLD: dict[str, Callable[[Documents], Documents]] = {
    CHOSEN: lambda documents: documents,
    "the worst loss": _as_bad,
    "nothing": lambda documents: [document for document in documents if not _pruned(document)],
}


if __name__ == "__main__":
    main()
