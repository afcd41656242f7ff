"""Figures of how the model came about: the loss of every trial, and of every epoch of the final training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpc_massmap.arrays import FloatArray
from hpc_massmap.report import style
from hpc_massmap.report.history import TrainingLog, best_so_far
from hpc_massmap.tune.documents import TrialRecord, best_of, finished

LOSS = "validation loss\n(mean absolute error, normalised)"


def trials_figure(trials: list[TrialRecord], startup: int, colour: str) -> Figure:
    """Loss against evaluation, the best so far, and the trials that failed.

    Parameters
    ----------
    startup : how many trials were random before the first suggestion of TPE
    """
    with style.applied():
        figure = style.canvas(2.6, width=style.WIDTH * 0.6)
        panel = figure.subplots()
        done = finished(trials)
        if done:
            losses = draw_losses(panel, [trial.tid for trial in done], done, colour)
            steps = [*best_so_far(trials), (trials[-1].tid, min(losses))]
            panel.step(*zip(*steps, strict=True), where="post", color=style.TRUTH, lw=1.2, label="best so far")
        best = best_of(trials)
        if best is not None and best.best is not None:
            panel.plot(best.tid, best.best, "*", color=style.TRUTH, ms=10, mew=0, label=f"best: trial {best.tid}")
        failed = [t.tid for t in trials if t.state == "failed"]
        if failed:
            panel.plot(
                failed,
                [0.97] * len(failed),
                "x",
                color=style.TRUTH,
                ms=5,
                transform=panel.get_xaxis_transform(),
                label="failed",
            )
        if trials[0].tid < startup <= trials[-1].tid:
            panel.axvline(startup - 0.5, color=style.GUIDE, ls=":", lw=1, label="TPE after random trials")
        panel.set(xlabel="evaluation", ylabel=LOSS)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside right center")
    return figure


def draw_losses(panel: Axes, places: Sequence[float], trials: list[TrialRecord], colour: str) -> FloatArray:
    """A point for every trial at its place; returns their losses, (trials,)."""
    losses = np.array([trial.best for trial in trials])
    x, top, pruned = np.asarray(places), ceiling(losses), np.array([trial.state == "pruned" for trial in trials])
    within = losses <= top
    point: dict[str, Any] = {"color": colour, "ms": 4, "ls": "none"}
    panel.plot(x[within & ~pruned], losses[within & ~pruned], marker="o", alpha=0.6, mew=0, label="trial", **point)
    if np.any(within & pruned):
        panel.plot(
            x[within & pruned], losses[within & pruned], marker="o", mfc="none", mew=0.8, label="pruned", **point
        )
    if not within.all():
        edge = np.full(np.count_nonzero(~within), 0.9)
        above: dict[str, Any] = {
            "marker": "^",
            "mew": 0,
            "transform": panel.get_xaxis_transform(),
            "label": f"above {top:.3g}",
        }
        panel.plot(x[~within], edge, **point, **above)
    low = float(losses.min())
    margin = 0.12 * (top - low) or 0.1 * abs(low) or 1.0
    panel.set_ylim(low - margin, top + 2 * margin)
    return losses


def ceiling(losses: FloatArray) -> float:
    """Where a scale of losses, (n,), should end: a few trials that diverged must not hide what the others do."""
    low, most = float(losses.min()), float(np.percentile(losses, 90))
    return min(float(losses.max()), low + 1.5 * (most - low)) if most > low else float(losses.max())


def training_figure(log: TrainingLog, colour: str) -> Figure:
    """Loss of the training and of the validation against epoch."""
    with style.applied():
        figure = style.canvas(2.6, width=style.WIDTH * 0.6)
        panel = figure.subplots()
        panel.plot(log.epoch, log.train_loss, color=style.GUIDE, label="training")
        panel.plot(log.epoch, log.validation_loss, color=colour, marker="o", ms=3, label="validation")
        best = log.best
        panel.plot(
            log.epoch[best],
            log.validation_loss[best],
            "*",
            color=style.TRUTH,
            ms=10,
            mew=0,
            label=f"best: epoch {log.epoch[best]}",
        )
        for before, after, epoch in zip(log.learning_rate, log.learning_rate[1:], log.epoch, strict=False):
            if after != before:
                panel.axvline(epoch + 0.5, color=style.GUIDE, ls=":", lw=1, label=f"learning rate {after:g}")
        panel.set(xlabel="epoch", ylabel="mean absolute error, normalised")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
    return figure
