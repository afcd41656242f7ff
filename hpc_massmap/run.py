"""A run is a folder: what each step wrote, with which settings, from which input.

A step that is finished has `provenance/<step>.json`, written after all its outputs. Running it again says so and
does nothing; with other settings or inputs it stops, unless forced.
"""

import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hpc_massmap.config import Config
from hpc_massmap.errors import InputError
from hpc_massmap.progress import say
from hpc_massmap.storage import read_json, write_json, write_text
from hpc_massmap.yamlfile import dump_yaml

NOTES = "progress.json"  # of a training, in its model's folder: where it is
PACKAGES = ("hpc_massmap", "torch", "numpy", "scipy", "h5py", "hyperopt", "pymongo", "astropy", "mpi4py", "submitit")


@dataclass(frozen=True)
class Run:
    """The folder of a run and the config it is used with.

    Attributes
    ----------
    trained : the run whose model this one uses, if it has none of its own
    """

    config: Config
    folder: Path
    trained: Path | None = None

    @classmethod
    def open(cls, config: Config) -> "Run":
        """Make the folder if need be and keep the resolved config in it."""
        run = cls.of(config)
        run.keep_config()
        return run

    @classmethod
    def of(cls, config: Config) -> "Run":
        """The run of a config, of which nothing is written yet."""
        return cls(config, config.runs / config.name)

    def keep_config(self) -> None:
        """Keep the resolved config in the folder, once what it asks for was found to be possible."""
        write_text(self.folder / "config.yaml", dump_yaml(self.config.model_dump(mode="json")))

    @property
    def home(self) -> Path:
        """Where the model and its tuning are."""
        return self.trained or self.folder

    @property
    def maps(self) -> Path:
        return self.config.maps.file

    @property
    def database(self) -> Path:
        """Of the server of this run, or of several that share one."""
        return self.config.database.folder or self.folder / "database"

    @property
    def trials(self) -> Path:
        return self.folder / "trials"

    @property
    def trials_export(self) -> Path:
        return self.home / "trials.jsonl"

    @property
    def study(self) -> Path:
        """The settings of the trials in `trials_export`."""
        return self.folder / "study.json"

    @property
    def best(self) -> Path:
        """The best hyperparameters, of this run's own study or of the one it names."""
        return self.config.runs / (self.config.tuned_by or self.config.name) / "best.yaml"

    @property
    def model(self) -> Path:
        return self.home / "model"

    @property
    def likeness(self) -> Path:
        """What the maps that trained and validated look like, by which others are told from them."""
        return self.home / "likeness.h5"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.h5"

    @property
    def predictions_of_validation(self) -> Path:
        """Of the maps that validated, in the same layout: what error bars are calibrated on."""
        return self.folder / "predictions_validation.h5"

    @property
    def calibration(self) -> Path:
        """Of the error bars of its predictions."""
        return self.folder / "calibration.h5"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.h5"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def is_recorded(self, *steps: str) -> bool:
        """Whether these steps have been finished, with whatever settings."""
        return all((self.home / "provenance" / f"{step}.json").exists() for step in steps)

    def step(self, name: str, settings: dict[str, Any], inputs: dict[str, str], outputs: list[Path]) -> "Step":
        """One step of this run; `settings` and `inputs` are all that its outputs depend on."""
        return Step(name, self.folder / "provenance" / f"{name}.json", settings, inputs, outputs)


@dataclass(frozen=True)
class Step:
    """Whether a step of a run is done, and the record that it is."""

    name: str
    record: Path
    settings: dict[str, Any]
    inputs: dict[str, str]
    outputs: list[Path]
    began: float = field(default_factory=time.monotonic, compare=False)

    def is_finished(self, force: bool) -> bool:
        """True if there is nothing to do; says so. With `force` what the step wrote is discarded and it is not.

        Raises
        ------
        InputError
            If the step was finished with other settings or from another input, or its record is damaged.
        """
        if force:
            self._discard()
        if not self.record.exists() or not all(path.exists() for path in self.outputs):
            return False
        say(f"{self.name}: already done on {self.recorded()['finished']}; --force redoes it")
        return True

    def recorded(self) -> dict[str, Any]:
        """The record that it is finished; raises what `is_finished` does."""
        before = self._recorded()
        for kind, now in (("settings", self.settings), ("inputs", self.inputs)):
            changed = difference(before.get(kind), now)
            if changed:
                raise InputError(
                    f"{self.record}: {self.name} was done with {changed}; use a new run name, or --force to redo it"
                )
        return before

    def _recorded(self) -> dict[str, Any]:
        try:
            recorded = read_json(self.record)
        except InputError as error:
            raise InputError(f"{error}; --force redoes {self.name}") from None
        if not isinstance(recorded, dict) or not recorded.keys() >= {"settings", "inputs", "finished"}:
            raise InputError(f"{self.record}: not the record of a finished step; --force redoes {self.name}")
        return recorded

    def _discard(self) -> None:
        self.record.unlink(missing_ok=True)  # first: without it, what remains is merely unfinished
        for path in self.outputs:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def finish(self, done: str = "", good: str = "") -> None:
        """Record that every output stands; say what was done, how good it is, and where it is and what comes next.

        Parameters
        ----------
        done, good : a line each; nothing where there is nothing to say
        """
        write_json(
            self.record,
            {
                "step": self.name,
                "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "seconds": round(time.monotonic() - self.began, 1),  # of the call that finished it
                "settings": self.settings,
                "inputs": self.inputs,
                "outputs": [str(path) for path in self.outputs],
                **machine(),
            },
        )
        for line in (done, good, self._where_and_next(done + good)):
            if line:
                say(line)

    def _where_and_next(self, said: str) -> str:
        """The output, unless it has been said, and the command of the next step; nothing if none follows."""
        if self.name not in NEXT:
            return ""
        where = "".join(f"{path}; " for path in self.outputs[:1] if str(path) not in said)
        return f"{where}next: massmap {NEXT[self.name]} {self.record.parents[1]}"


def machine() -> dict[str, Any]:
    """Where and with what this process runs."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "git_commit": git_commit(),
        "host": platform.node(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "timezone": time.tzname[0],
    }


def git_commit() -> str | None:
    """The commit of the source tree, with a + if it was changed since; None for an installed package."""
    here = Path(__file__).parent
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


NEXT = {
    "make_maps": "tune, or massmap train without a search:",
    **{"tune": "train", "train": "predict", "predict": "evaluate", "evaluate": "report"},
    **{"predict_validation": "calibrate", "calibrate": "evaluate"},
}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def difference(before: Any, now: Any, key: str = "") -> str:
    """The first value that two nested settings do not share, as `train.epochs = 8, now 3`; else nothing."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            found = difference(before.get(name), now.get(name), f"{key}.{name}".lstrip("."))
            if found:
                return found
        return ""
    return "" if before == now else f"{key} = {before}, now {now}"
