"""All that a report is made from, read and checked to belong together."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.metrics.baselines import BASELINES
from hpc_massmap.metrics.floor import FLOOR
from hpc_massmap.metrics.predictions import Predictions, read_predictions
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics, read_metrics
from hpc_massmap.report.history import TrainingLog, read_training_log, read_trials
from hpc_massmap.report.importance import Importance, importance
from hpc_massmap.run import Run
from hpc_massmap.storage import read_json
from hpc_massmap.tune.documents import TrialRecord

TRAINING_LOG = "log.csv"


@dataclass(frozen=True)
class Inputs:
    """A run, read.

    Attributes
    ----------
    trials : by number; empty if the run was not tuned
    records : provenance of the finished steps, in the order they finished
    """

    run: Run
    predictions: Predictions
    metrics: Metrics
    trials: list[TrialRecord]
    training: TrainingLog
    records: list[dict[str, Any]]

    @cached_property
    def importance(self) -> Importance | None:
        return importance(self.trials)

    @property
    def test_halos(self) -> int:
        return len(np.unique(self.metrics.maps["halo"]))


def input_digests(run: Run) -> dict[str, str]:
    """SHA-256 of every file that the report shows.

    Raises
    ------
    InputError
        If one is missing; names the job that makes it.
    """
    files = {
        "training": (run.model / TRAINING_LOG, "train"),
        "predictions": (run.predictions, "predict"),
        "metrics": (run.metrics, "evaluate"),
    }
    if run.trials_export.exists():  # a run may be trained without tuning
        files["trials"] = (run.trials_export, "tune")
    if (floor := run.metrics.with_name(FLOOR)).exists():
        files["floor"] = (floor, "evaluate")
    if (baselines := run.metrics.with_name(BASELINES)).exists():
        files["baselines"] = (baselines, "evaluate")
    if run.calibration.exists():
        files["calibration"] = (run.calibration, "calibrate")
    return {name: _digest(path, job) for name, (path, job) in files.items()}


def _digest(path: Path, job: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run massmap {job} first") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run massmap {job} again") from None


def read_inputs(run: Run) -> Inputs:
    """Read what the jobs before this one wrote.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the metrics are of other predictions; names the job to run.
    """
    training = read_training_log(run.model / TRAINING_LOG)
    maps = open_maps(run.maps, [*run.config.model.views, *run.config.model.targets])
    predictions = read_predictions(run.predictions, maps)
    metrics = read_metrics(run.metrics)
    if not _belong_together(metrics, predictions):
        raise InputError(f"{run.metrics}: not the metrics of {run.predictions}; run massmap evaluate again")
    return Inputs(run, predictions, metrics, read_trials(run.trials_export, run.config.space), training, _records(run))


def _belong_together(metrics: Metrics, predictions: Predictions) -> bool:
    """Same maps, same rows, and the masses of the first prediction: metrics of an older model's differ in them."""
    same_rows = np.array_equal(metrics.maps["row"], predictions.rows)
    if (
        metrics.maps_digest != predictions.maps.digest
        or not same_rows
        or sorted(metrics.targets) != predictions.targets
    ):
        return False
    r200 = predictions.of_halos("r200")[:1]
    return all(
        np.allclose(
            enclosed_mass(predictions.block(target, slice(0, 1))[0], r200),
            metrics.targets[target][Profiles].mass_predicted[:1],
        )
        for target in predictions.targets
    )


def _records(run: Run) -> list[dict[str, Any]]:
    """Of the steps that these numbers come from: those of the model, and those that were done with it here."""
    here = list((run.folder / "provenance").glob("*.json"))
    of_model = [run.home / "provenance" / f"{step}.json" for step in ("make_maps", "tune", "train")]
    records = [read_json(path) for path in {*here, *(path for path in of_model if path.exists())}]
    steps = [record for record in records if isinstance(record, dict) and record.get("step") != "report"]
    return sorted(steps, key=lambda record: (str(record.get("finished")), str(record.get("step"))))
