"""What is known of the errors of predictions: what the model says, how it is calibrated, what a constant would do.

Metrics of error bars apply where there is something to measure; without any, an evaluation is what it always was.
"""

from dataclasses import dataclass, field

import numpy as np

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.diagnostics.bands import FRACTIONS, central, quantiles_between
from hpc_massmap.diagnostics.calibration import Calibration, Residuals, TargetCalibration
from hpc_massmap.diagnostics.coverage import LEVELS
from hpc_massmap.diagnostics.said import FEWEST_SAMPLES, Said
from hpc_massmap.metrics.predictions import Predictions, training_of
from hpc_massmap.metrics.said import said_of

SAMPLES, QUANTILES, CALIBRATION, RESIDUALS, VIEWS = "samples", "quantiles", "calibration", "residuals", "views"

Intervals = tuple[FloatArray, FloatArray]  # low and high


@dataclass(frozen=True)
class Known:
    """What is known of errors beside the predictions themselves.

    Attributes
    ----------
    calibration : of the model, if it has one
    residuals : of each target, the error bar of constant width
    """

    calibration: Calibration | None = None
    residuals: dict[str, Residuals] = field(default_factory=dict)

    @classmethod
    def by(cls, calibration: Calibration | None) -> "Known":
        """What a calibration tells."""
        if calibration is None:
            return cls()
        return cls(calibration, {target: of.residuals for target, of in calibration.targets.items()})


NOTHING = Known()


@dataclass(frozen=True)
class ErrorBars:
    """Of n maps of one target.

    Attributes
    ----------
    reference : (n, 80, 80), what TARP measures distances from: a view, with the total of the predicted map; None if
        nobody knows which views the model sees
    """

    said: Said
    calibration: TargetCalibration | None
    residuals: Residuals | None
    reference: FloatArray | None

    @property
    def has_samples(self) -> bool:
        """Whether there are samples that have a spread."""
        return bool(self.said.samples.shape[1] >= FEWEST_SAMPLES)

    def own_masses(self) -> Intervals | None:
        """What the model says by itself of enclosed masses: (levels, n, 10) each; None if that has no width."""
        band = self.said.mass_band
        return (band.low, band.high) if self.has_samples else None

    def own_pixels(self) -> Intervals | None:
        """The same of pixels: (levels, n, 80, 80) each."""
        band = self.said.pixel_band
        return (band.low, band.high) if self.has_samples or self.said.levels else None

    def masses(self) -> Intervals | None:
        """The best intervals of enclosed masses that there are: calibrated, the model's own, of constant width."""
        if self.calibration is not None:
            return self.calibration.of_masses(self.said.mass_band)
        return self.own_masses() or self.constant_masses()

    def pixels(self) -> Intervals | None:
        """The same of pixels: (levels, n, 80, 80) each."""
        if self.calibration is not None:
            return self.calibration.of_pixels(self.said.pixel_band)
        return self.own_pixels() or self.constant_pixels()

    def constant_masses(self) -> Intervals | None:
        """Of constant width: (levels, n, 10) each; None if nobody knows how wide."""
        if self.residuals is None:
            return None
        return central(self.residuals.of_masses(enclosed_mass(self.said.mean, self.said.r200)), LEVELS)

    def constant_pixels(self) -> Intervals | None:
        """The same of pixels: (levels, n, 80, 80) each."""
        if self.residuals is None:
            return None
        found = [central(self.residuals.of_pixels(one), LEVELS) for one in self.said.mean]
        return np.stack([low for low, _ in found], axis=1), np.stack([high for _, high in found], axis=1)

    def pixel_quantiles(self, n: int) -> FloatArray:
        """Of the pixels of a map, from the quantiles of the model: (99, 80, 80)."""
        return quantiles_between(self.said.quantiles[n], self.said.levels, FRACTIONS)


def aspects_of(predictions: Predictions, known: Known) -> frozenset[str]:
    """What there is to measure beside the maps that stand for all."""
    there = {
        SAMPLES: predictions.n_samples >= FEWEST_SAMPLES,
        QUANTILES: bool(predictions.levels),
        CALIBRATION: known.calibration is not None,
        RESIDUALS: bool(known.residuals),
        VIEWS: predictions.n_samples >= FEWEST_SAMPLES and training_of(predictions) is not None,
    }
    return frozenset(name for name, is_there in there.items() if is_there)


def error_bars_of(predictions: Predictions, target: str, part: slice, mean: FloatArray, known: Known) -> ErrorBars:
    """Of some maps, (n, 80, 80); raises what `Predictions.block` does."""
    calibration = known.calibration.targets[target] if known.calibration is not None else None
    said = said_of(predictions, target, part, mean)
    reference = _reference(predictions, part, mean) if predictions.n_samples >= FEWEST_SAMPLES else None
    return ErrorBars(said, calibration, known.residuals.get(target), reference)


def _reference(predictions: Predictions, part: slice, mean: FloatArray) -> FloatArray | None:
    training = training_of(predictions)
    if training is None:
        return None
    view = predictions.maps.maps[training.views[0]][predictions.rows[part]].astype(np.float64)
    found = np.zeros(view.shape)
    for n, (one, total) in enumerate(zip(view, mean.sum(axis=(1, 2)), strict=True)):
        if one.sum() > 0:
            found[n] = one * (total / one.sum())
    return found
