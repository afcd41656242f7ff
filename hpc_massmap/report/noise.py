"""Figure 9 in numbers: MMD by mass interval, and the noise that changes a true map as much (eq. 16)."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.metrics.mmd import Mmd
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.metrics.sample import BoolArray, in_intervals
from hpc_massmap.metrics.sample_mmd import SampleMmd
from hpc_massmap.metrics.spread import Spread
from hpc_massmap.metrics.summary import mmd_of, sample_mmd_of
from hpc_massmap.report import contents, paper
from hpc_massmap.report.tables import Cell, Table
from hpc_massmap.views import title_of


def equivalent_noise(value: float, calibration: FloatArray, noise: FloatArray) -> str:
    """The alpha of the noise whose MMD^2 is `value`, along straight lines between the calibration's in logarithms.

    Parameters
    ----------
    calibration : (n_noise,), MMD^2 of truths with noise
    noise : (n_noise,), alpha

    Returns
    -------
    As it is shown: a number, or a bound outside the calibration.
    """
    order = np.argsort(noise)
    alpha, at = noise[order], np.maximum.accumulate(calibration[order])
    if value < at[0]:
        return f"< {alpha[0]:g}"
    if value > at[-1]:
        return f"> {alpha[-1]:g}"
    # of too little noise the unbiased estimate may be negative, which has no logarithm
    least = min(int(np.searchsorted(at, 0, side="right")), len(at) - 1)
    if value <= 0 or value < at[least]:
        return f"< {alpha[least]:g}"
    return f"{np.exp(np.interp(np.log(value), np.log(at[least:]), np.log(alpha[least:]))):.3f}"


def mmd_table(models: list[tuple[str, Metrics]], target: str, data: str) -> Table:
    """MMD and its equivalent noise in each mass interval of the first model, a row a model, and one of its samples."""
    columns = ["model"]
    for low, high in pairwise(models[0][1].mass_intervals):
        columns += [f"1000 MMD², {low:g} to {high:g}", "as noise of α"]
    rows: list[list[Cell]] = []
    for name, metrics in models:
        rows.append([name, *_cells(metrics, target, mmd_of)])
        samples = metrics.targets[target].find(SampleMmd)
        if samples is not None:
            of_samples = f"{name}, {samples.values.shape[1]} samples a map"
            rows.append([of_samples, *_cells(metrics, target, sample_mmd_of)])
    several = "_models" if len(models) > 1 else ""
    said = f"Intervals of log10 M200/(Msun/h). {contents.SPREAD}"
    said += f" {paper.NOISE}" * (target == paper.TARGET)
    title = f"MMD of pixel values by mass interval, {title_of(target)} maps (fig. 9)"
    return Table(f"mmd{several}_{target}", title, said, columns, rows, f"Data: {data}.")


def _cells(metrics: Metrics, target: str, of: Callable[[Metrics, str, BoolArray], Spread | None]) -> Iterator[Cell]:
    """Two of each mass interval."""
    mmd = metrics.targets[target][Mmd]
    for inside in in_intervals(metrics):
        found = of(metrics, target, inside)
        assert found is not None
        yield contents.measured(found, contents.MMD_UNIT)
        calibration = np.median(mmd.calibration[inside], axis=0) if inside.any() else None
        yield None if calibration is None else equivalent_noise(float(found.median), calibration, mmd.noise)
