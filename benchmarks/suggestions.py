#!/usr/bin/env python3
"""Whether parallel workers reach the loss that sequential TPE reaches with the same number of evaluations.

Studies run in virtual time (`pool.py`), on a known function of six dimensions (Hartmann's) and on the U-Net's space of
table 3 (`surrogate.py`). What differs is what TPE is told of running trials; `--all` adds the strategies that were
not chosen. Ratios are of medians over seeds, with their 95% bootstrap interval; p is Mann and Whitney's against the
sequential studies, two-sided.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from hyperopt import JOB_STATE_DONE, STATUS_OK, hp
from scipy.stats import mannwhitneyu

from benchmarks.pool import Documents, Training, simulate
from benchmarks.surrogate import DEMO, Surrogate
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Space, Tune
from hpc_massmap.tune.space import Values, hyperopt_space
from hpc_massmap.tune.suggest import suggest_from

EVALUATIONS = 100  # table 3
RESAMPLES = 4000

HARTMANN_SCALES = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
HARTMANN_CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
HARTMANN_MINIMUM = -3.32237


@dataclass(frozen=True)
class Problem:
    """Something to tune."""

    title: str
    space: dict[str, Any]
    train: Callable[[Values, np.random.Generator], Training]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30, help="studies of each kind (default 30)")
    parser.add_argument("--workers", type=int, default=16, help="workers of a parallel study (default 16)")
    parser.add_argument("--all", action="store_true", help="also the strategies that were not chosen")
    args = parser.parse_args()
    rivals = list(TOLD) if args.all else ["nothing", CHOSEN]
    surrogate = Surrogate()
    for problem in (
        Problem("Hartmann-6, loss above its minimum", hartmann_space(), hartmann_training),
        Problem("U-Net of table 3, validation loss", hyperopt_space(Space()), partial(surrogate.training, scale=DEMO)),
    ):
        start = time.perf_counter()
        print(f"\n{problem.title}: {args.seeds} studies of {EVALUATIONS} evaluations", flush=True)
        print(
            f"{'workers':>8} {'TPE knows of running trials':32} {'median':>8} {'quartiles':>17} {'ratio':>18} {'p':>6}"
        )
        sequential = studies(problem, CHOSEN, 1, args.seeds)
        show(1, "there are none", sequential, sequential)
        for told in rivals:
            show(args.workers, told, studies(problem, told, args.workers, args.seeds), sequential)
        print(f"({time.perf_counter() - start:.0f} s)")


def studies(problem: Problem, told: str, workers: int, seeds: int) -> FloatArray:
    """The best loss of each of some studies."""
    return np.array([study(problem, told, workers, seed) for seed in range(seeds)])


def study(problem: Problem, told: str, workers: int, seed: int) -> float:
    """The best loss of one study."""

    def ask(tid: int, documents: Documents) -> Values:
        return suggest_from(problem.space, tid, TOLD[told](documents), seed, Tune().startup)

    def train(tid: int, values: Values) -> Training:
        return problem.train(values, np.random.default_rng([seed, tid]))

    return simulate(ask, train, workers, EVALUATIONS).best


def show(workers: int, told: str, losses: FloatArray, sequential: FloatArray) -> None:
    """One line of the table."""
    low, high = np.quantile(losses, [0.25, 0.75])
    ratio, (least, most) = ratio_of_medians(losses, sequential)
    p = mannwhitneyu(losses, sequential).pvalue
    print(
        f"{workers:8} {told:32} {np.median(losses):8.4f} {low:8.4f} {high:8.4f} {ratio:6.3f} {least:5.3f}-{most:5.3f} "
        f"{p:6.3f}",
        flush=True,
    )


def ratio_of_medians(losses: FloatArray, baseline: FloatArray) -> tuple[float, FloatArray]:
    """Median over median, and its 95% bootstrap interval."""
    stream = np.random.default_rng(0)
    medians = [np.median(stream.choice(sample, (RESAMPLES, len(sample))), axis=1) for sample in (losses, baseline)]
    return float(np.median(losses) / np.median(baseline)), np.quantile(medians[0] / medians[1], [0.025, 0.975])


def _finished(documents: Documents) -> Documents:
    return [document for document in documents if document["state"] == JOB_STATE_DONE]


def _without_epochs(documents: Documents) -> Documents:
    return [
        document if document["state"] == JOB_STATE_DONE else {**document, "result": {"status": "new"}}
        for document in documents
    ]


def _lying(lie: Callable[[list[float]], float]) -> Callable[[Documents], Documents]:
    """Running trials as if they were finished with what `lie` makes of all finished losses."""

    def told(documents: Documents) -> Documents:
        losses = [document["result"]["loss"] for document in _finished(documents)]
        if not losses:
            return []
        result = {"status": STATUS_OK, "loss": float(lie(losses))}
        return [
            document if document["state"] == JOB_STATE_DONE else {**document, "state": JOB_STATE_DONE, "result": result}
            for document in documents
        ]

    return told


CHOSEN = "their best loss so far (chosen)"
TOLD: dict[str, Callable[[Documents], Documents]] = {
    "nothing": _finished,
    "the lowest finished loss": _lying(min),
    "the mean finished loss": _lying(lambda losses: sum(losses) / len(losses)),
    "the highest finished loss": _without_epochs,
    CHOSEN: lambda documents: documents,
}


def hartmann_space() -> dict[str, Any]:
    """The unit cube."""
    return {f"x{n}": hp.uniform(f"x{n}", 0, 1) for n in range(6)}


def hartmann_training(values: Values, stream: np.random.Generator) -> Training:
    """A loss that halves its distance in each of eight epochs, which take longer far from the origin."""
    x = np.array([values[f"x{n}"][0] for n in range(6)])
    depths = np.exp(-(HARTMANN_SCALES * (x - HARTMANN_CENTRES) ** 2).sum(axis=1))
    value = -depths @ np.array([1, 1.2, 3, 3.2])
    reached = 1 - 0.5 ** np.arange(1, 9)
    losses = value * reached / reached[-1] - HARTMANN_MINIMUM
    return Training(losses.tolist(), float((0.5 + x.mean()) * stream.lognormal(0, 0.3)))


if __name__ == "__main__":
    main()
