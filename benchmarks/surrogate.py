"""What a U-Net of table 3 would reach and how fast, after the real trainings of `trainings.json`.

A training's losses are floor + AMPLITUDE x epoch^-POWER, one amplitude and one power for all, times deviations. The
floor is interpolated (thin plate splines with a linear part) in log2 filters, kernel, layers and dropout. The
deviations of the first epochs are those of a measured training drawn at random, so that early losses promise no more
about late ones than they did; later ones are white noise.

What this trades: leave-one-out, the floor is off by 14% where the measured ones differ by 19% (root mean squares), so
this is a surface like the U-Net's rather than the U-Net's. Many filters with large kernels (40% of the space) were too
dear to train but for the very corner, and there it interpolates over a gap. Epochs beyond the twelfth are extrapolated.
"""

import json
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
NOISE = 0.03  # of the log loss from epoch to epoch: that of the demo's final training, of 75 steps an epoch


class Surrogate:
    """Losses and durations of the U-Net anywhere in the space."""

    def __init__(self, path: Path = TRAININGS) -> None:
        trainings = json.loads(path.read_text())["trainings"]
        losses = np.array([training["losses"] for training in trainings])
        floors, self.amplitude, self.power = power_laws(losses)
        epochs = np.arange(1, losses.shape[1] + 1)
        self.deviations = np.log(losses / (floors[:, None] + self.amplitude * epochs**-self.power))
        self.noise = float(1.48 * np.median(np.abs(self.deviations)))  # of the measured trainings, of 12 steps an epoch
        places = np.array([_place(*(training[name] for name in NAMES)) for training in trainings])
        seconds = [training["seconds"] for training in trainings]
        self._floor = RBFInterpolator(places, np.log(floors), smoothing=SMOOTHING)
        self._seconds = RBFInterpolator(places, np.log(seconds), smoothing=1.0)

    def floor(self, values: Values) -> float:
        """The loss after endless epochs."""
        return float(np.exp(self._floor(_place_of(values))[0]))

    def training(self, values: Values, stream: np.random.Generator, noise: float = NOISE) -> Training:
        """What a trial gives, until its loss has not improved for 5 epochs."""
        measured = self.deviations[stream.integers(len(self.deviations))] / self.noise
        deviations = noise * np.concatenate([measured, stream.standard_normal(EPOCHS - len(measured))])
        losses = np.exp(deviations) * (self.floor(values) + self.amplitude * np.arange(1, EPOCHS + 1) ** -self.power)
        bests = np.minimum.accumulate(losses)
        stalled = np.flatnonzero(bests[PATIENCE:] == bests[:-PATIENCE])
        epochs = int(stalled[0]) + PATIENCE + 1 if len(stalled) else EPOCHS
        seconds = np.exp(self._seconds(_place_of(values))[0]) * stream.lognormal(0, 0.1)
        return Training(losses[:epochs].tolist(), float(seconds))


def _place(filters: float, kernel: float, layers: float, dropout: float) -> tuple[float, ...]:
    return np.log2(filters / 8) / 2, (kernel - 1) / 5, (layers - 1) / 3, dropout / 0.5


def _place_of(values: Values) -> FloatArray:
    return np.array([_place(*(values[name][0] for name in NAMES))])


def power_laws(losses: FloatArray) -> tuple[FloatArray, float, float]:
    """The floor of each curve (n, epochs), and amplitude and power of all: robust least squares of log losses."""
    n, epochs = losses.shape

    def residuals(parameters: FloatArray) -> FloatArray:
        floors, amplitude, power = np.exp(parameters[:n, None]), np.exp(parameters[-2]), parameters[-1]
        modelled: FloatArray = np.log(floors + amplitude * np.arange(1, epochs + 1) ** -power)
        return (modelled - np.log(losses)).ravel()

    start = np.concatenate([np.log(0.8 * losses.min(axis=1)), [np.log(0.3)], [1.0]])
    # robust, as a first epoch may diverge in validation, before the running statistics of BatchNorm have settled
    fitted = least_squares(residuals, start, loss="soft_l1", f_scale=0.1).x
    return np.exp(fitted[:n]), float(np.exp(fitted[-2])), float(fitted[-1])
