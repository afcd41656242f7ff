"""A run in a notebook: its trials as a DataFrame, and what its steps have done."""

import io
from pathlib import Path
from typing import Any

from hpc_massmap.config import Config
from hpc_massmap.config import load_config as load_checked
from hpc_massmap.errors import InputError


def load_config(path: str | Path, *overrides: str) -> Config:
    """The checked config of a file, or of a run's folder, with `key.sub=value` in place of its values."""
    path = Path(path)
    return load_checked(path / "config.yaml" if path.is_dir() else path, list(overrides))


def trials(run: str | Path) -> Any:
    """The trials of a run, the best first, as a pandas.DataFrame; from its export, so that no database is needed.

    Raises
    ------
    InputError
        If the run has not been tuned.
    """
    import pandas

    from hpc_massmap.report.history import read_trials
    from hpc_massmap.run import Run
    from hpc_massmap.tune.monitor.listing import trials_as_csv

    folder = Path(run)
    opened = Run(load_config(folder), folder)
    if not opened.trials_export.exists():
        raise InputError(f"{opened.trials_export}: no such file; massmap tune {folder} first")
    return pandas.read_csv(io.StringIO(trials_as_csv(read_trials(opened.trials_export, opened.config.space))))
