"""Figures of a tuning after the fact: how fast it got better, what was tried, and which hyperparameters matter.

`trials.jsonl` alone is enough for them: see `write_tuning_figures`.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import HYPERPARAMETERS
from hpc_massmap.errors import InputError
from hpc_massmap.report import contents, style
from hpc_massmap.report.curves import LOSS, ceiling, draw_losses, trials_figure
from hpc_massmap.report.history import hours_to_loss, read_trials
from hpc_massmap.report.importance import Importance, importance, varied
from hpc_massmap.report.tables import write_table
from hpc_massmap.tune.documents import TrialRecord, best_of, finished

HOURS_IN_MINUTES = 2.0  # of a study that is shorter
JITTER = 0.12  # of integers, so that lines lie beside each other


def _titled(name: str) -> str:
    shown = HYPERPARAMETERS[name]
    return f"{shown.title} ${shown.symbol}$" if shown.symbol else shown.title


def time_figure(trials: list[TrialRecord], colour: str) -> Figure | None:
    """Loss against the time at which a trial ended; None where the trials do not say when."""
    timed = hours_to_loss(trials)
    if not timed:
        return None
    with style.applied():
        figure = style.canvas(2.6, width=style.WIDTH * 0.6)
        panel = figure.subplots()
        unit, length = ("h", 1.0) if timed[-1][0] >= HOURS_IN_MINUTES else ("min", 60.0)
        times = [hour * length for hour, _ in timed]
        losses = draw_losses(panel, times, [trial for _, trial in timed], colour)
        panel.step(times, np.minimum.accumulate(losses), where="post", color=style.TRUTH, lw=1.2, label="best so far")
        panel.set(xlabel=f"time since the first trial started [{unit}]", ylabel=LOSS, xlim=(0, None))
        figure.legend(loc="outside right center")
    return figure


def parallel_figure(trials: list[TrialRecord]) -> Figure | None:
    """Every finished trial as a line through its hyperparameters to its loss; None if nothing was varied."""
    done = sorted(finished(trials), key=lambda trial: -(trial.best or 0.0))
    names = varied(done)
    done = [trial for trial in done if set(trial.values) >= set(names)]
    if len(done) < 2 or not names:
        return None
    losses = np.array([trial.best for trial in done])
    scale = Normalize(losses.min(), ceiling(losses), clip=True)
    with style.applied():
        figure = style.canvas(2.8)
        panel = figure.subplots()
        heights = [_axis(panel, n, np.array([t.values[name] for t in done])) for n, name in enumerate(names)]
        paths = _paths(np.stack([*heights, np.asarray(scale(losses))], axis=1))
        colours = colormaps["viridis"]
        panel.add_collection(LineCollection(paths[:-1], colors=colours(scale(losses[:-1])), lw=0.9, alpha=0.75))
        panel.add_collection(LineCollection(paths[-1:], colors=[style.COLOURS["xray"]], lw=2, zorder=3))
        panel.set(xlim=(-0.1, len(names)), ylim=(-0.03, 1.03), yticks=[])
        panel.set_xticks(range(len(names)), [_titled(name) for name in names])
        panel.tick_params(axis="x", length=0, pad=6)
        panel.spines[:].set_visible(False)
        _loss_scale(panel, scale, len(names), bool(losses.max() > scale.vmax))
        best = best_of(done)
        assert best is not None
        panel.plot([], [], color=style.COLOURS["xray"], lw=2, label=f"best: trial {best.tid}")
        figure.legend(loc="outside upper left")
    return figure


def _axis(panel: Axes, place: int, values: FloatArray) -> FloatArray:
    """Draw one hyperparameter's axis with its own ticks; returns the heights of the values, from 0 to 1."""
    low, high = values.min(), values.max()
    whole = bool(np.all(values == np.rint(values)))
    spread = JITTER if whole else 0.0
    bottom, top = low - spread, high + spread
    panel.axvline(place, color=style.TRUTH, lw=0.8, zorder=4)
    for tick in MaxNLocator(6, integer=whole, steps=[1, 2, 5, 10]).tick_values(low, high):
        if not bottom <= tick <= top:
            continue
        panel.text(
            place - 0.02,
            (tick - bottom) / (top - bottom),
            f"{tick:g}",
            ha="right",
            va="center",
            fontsize=7,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
        )
    moved = values + np.random.default_rng(place).uniform(-spread, spread, len(values))
    heights: FloatArray = (moved - bottom) / (top - bottom)
    return heights


def _paths(heights: FloatArray) -> list[FloatArray]:
    """Smooth curves through heights at 0, 1, 2, ...: level at each axis, so that lines can be told apart there."""
    t = np.linspace(0, 1, 25)
    ease = t * t * (3 - 2 * t)
    places = np.concatenate([n + t for n in range(heights.shape[1] - 1)])
    curves = np.concatenate([a[:, None] + np.outer(b - a, ease) for a, b in pairwise(heights.T)], axis=1)
    return [np.stack([places, curve], axis=1) for curve in curves]


def _loss_scale(panel: Axes, scale: Normalize, place: int, is_cut: bool) -> None:
    """The last axis: the losses, in the lines' colours."""
    strip = panel.inset_axes((place, 0, 0.06 * place / 4, 1), transform=panel.transData)
    bar = Colorbar(strip, cmap=colormaps["viridis"], norm=scale)
    bar.set_label(LOSS)
    if is_cut:
        panel.text(place, 1.02, f"≥ {scale.vmax:.3g}", va="bottom", fontsize=7)
    bar.outline.set_linewidth(0.6)


def importance_figure(found: Importance, colour: str) -> Figure:
    """The share of every hyperparameter, and of what only several explain together."""
    shares = {_titled(name): share for name, share in found.share.items()}
    with style.applied():
        figure = style.canvas(1.9, width=style.WIDTH * 0.6)
        panel = figure.subplots()
        names = [*shares, "together"]
        values = [*shares.values(), found.together]
        bars = panel.barh(names, values, color=[colour] * len(shares) + [style.GUIDE], height=0.65)
        panel.bar_label(bars, [f"{value:.2f}" for value in values], padding=3, fontsize=7)
        panel.invert_yaxis()
        panel.set(xlabel="share of the variance of the trials' ranks", xlim=(0, max(values) * 1.15))
        panel.tick_params(axis="y", length=0)
        trust = f"{found.trials} trials; forest's $R^2$ on those it did not see: {found.explained:.2f}"
        panel.set_title(trust.replace("-", "−"), loc="right")
    return figure


def write_tuning_figures(export: Path, folder: Path, startup: int = 0) -> list[Path]:
    """The figures that a study's `trials.jsonl` is enough for, and the numbers in them as CSV.

    Parameters
    ----------
    startup : how many trials were random before the first suggestion of TPE

    Raises
    ------
    InputError
        If it holds no trials, or a line is not one.
    """
    trials, colour = read_trials(export), style.COLOURS["sz"]
    if not trials:
        raise InputError(f"{export}: holds no trials; run massmap tune first")
    found = importance(trials)
    figures = {
        "trials": trials_figure(trials, startup, colour),
        "best_over_time": time_figure(trials, colour),
        "parallel_coordinates": parallel_figure(trials),
        "importance": importance_figure(found, colour) if found else None,
    }
    for name, figure in figures.items():
        if figure is not None:
            style.write_figure(figure, folder / name)
    write_table(contents.trials_table(trials), folder)
    if found:
        write_table(contents.importance_table(found), folder)
    return sorted(folder.iterdir())
