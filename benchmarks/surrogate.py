"""What a U-Net of table 3 would reach and how fast, after the real trainings of `trainings.json`.

Measured losses are floor + amplitude x epoch^-power, with one power for all, and noise. The late loss is interpolated
(thin plate splines with a linear part) in log2 filters, kernel, layers and dropout; the amplitude does not follow from
them (leave-one-out no better than its mean), so every trial draws its own, and curves cross as the measured ones do.

Time is counted in learning rate x steps: an epoch of the demo is 6 measured ones, and so stretched the power law falls
as the demo's final training does (0.043, 0.021, 0.016, 0.007 above its floor after 1, 3, 5, 10 epochs; 0.056, 0.021,
0.013, 0.007 here). An epoch of the paper is 15 of them.

What this trades: leave-one-out, the late loss is off by 14% where the measured ones differ by 18% (root mean squares),
so this is a surface like the U-Net's rather than the U-Net's. Many filters with large kernels (40% of the space) were
too dear to train but for the very corner, and there it interpolates over a gap.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.optimize import least_squares

from benchmarks.pool import Training
from hpc_massmap.arrays import FloatArray
from hpc_massmap.tune.space import Values

TRAININGS = Path(__file__).parent / "trainings.json"
NAMES = ("filters", "kernel", "layers", "dropout")
SMOOTHING = 0.1  # the best of a few, leave-one-out
EPOCHS, PATIENCE = 100, 5  # of configs/paper.yaml
MEASURED_RATE = 2e-3 * 12  # learning rate x steps of a measured epoch


@dataclass(frozen=True)
class Scale:
    """How trainings look whose epochs are longer than the measured ones."""

    title: str
    stretch: float  # measured epochs in one of these
    noise: float  # of the log loss from epoch to epoch


MEASURED = Scale("epochs and noise as measured", 1.0, 0.075)
DEMO = Scale("epochs and noise of the demo's final training", 2e-3 * 75 / MEASURED_RATE, 0.03)
PAPER = Scale("epochs of the paper, noise a guess", 1e-4 * 3660 / MEASURED_RATE, 0.01)


class Surrogate:
    """Losses and durations of the U-Net anywhere in the space."""

    def __init__(self, path: Path = TRAININGS) -> None:
        trainings = json.loads(path.read_text(encoding="utf-8"))["trainings"]
        losses = np.array([training["losses"] for training in trainings])
        floors, amplitudes, self.power = power_laws(losses)
        self.amplitude, self.scatter = float(np.median(amplitudes)), float(np.log(amplitudes).std())
        # of the mean curve with the same late loss
        floors = floors + (amplitudes - self.amplitude) * losses.shape[1] ** -self.power
        places = np.array([_place(*(training[name] for name in NAMES)) for training in trainings])
        seconds = [training["seconds"] for training in trainings]
        self._floor = RBFInterpolator(places, np.log(floors), smoothing=SMOOTHING)
        self._seconds = RBFInterpolator(places, np.log(seconds), smoothing=1.0)

    def floor(self, values: Values) -> float:
        """The loss after endless epochs."""
        return float(np.exp(self._floor(_place_of(values))[0]))

    def training(self, values: Values, stream: np.random.Generator, scale: Scale) -> Training:
        """What a trial gives, until its loss has not improved for 5 epochs."""
        amplitude = self.amplitude * np.exp(self.scatter * stream.standard_normal())
        curve = self.floor(values) + amplitude * (scale.stretch * np.arange(1, EPOCHS + 1)) ** -self.power
        losses = curve * np.exp(scale.noise * stream.standard_normal(EPOCHS))
        bests = np.minimum.accumulate(losses)
        stalled = np.flatnonzero(bests[PATIENCE:] == bests[:-PATIENCE])
        epochs = int(stalled[0]) + PATIENCE + 1 if len(stalled) else EPOCHS
        seconds = np.exp(self._seconds(_place_of(values))[0]) * stream.lognormal(0, 0.1)
        return Training(losses[:epochs].tolist(), float(seconds))


def _place(filters: float, kernel: float, layers: float, dropout: float) -> tuple[float, ...]:
    return np.log2(filters / 8) / 2, (kernel - 1) / 5, (layers - 1) / 3, dropout / 0.5


def _place_of(values: Values) -> FloatArray:
    return np.array([_place(*(values[name][0] for name in NAMES))])


def power_laws(losses: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Floor and amplitude of each curve (n, epochs), and the power of all, by robust least squares of log losses."""
    n, epochs = losses.shape

    def residuals(parameters: FloatArray) -> FloatArray:
        floors, amplitudes = np.exp(parameters[:n, None]), np.exp(parameters[n:-1, None])
        modelled: FloatArray = np.log(floors + amplitudes * np.arange(1, epochs + 1) ** -parameters[-1])
        return (modelled - np.log(losses)).ravel()

    # robust, as a first epoch may diverge in validation, before the running statistics of BatchNorm have settled
    start = np.concatenate([np.log(0.8 * losses.min(axis=1)), np.full(n, np.log(0.3)), [1.0]])
    fitted = least_squares(residuals, start, loss="soft_l1", f_scale=0.1).x
    return np.exp(fitted[:n]), np.exp(fitted[n:-1]), float(fitted[-1])
