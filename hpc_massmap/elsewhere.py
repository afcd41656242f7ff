"""A trained model on another map file: its predictions, metrics and report in a folder of their own.

The folder has `elsewhere.json`, which names the run whose model it is and the map file. The run is left alone.
"""

from pathlib import Path

from hpc_massmap.config import Config, load_config
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.storage import read_json, write_json

RECORD = "elsewhere.json"


def make_elsewhere(config: Config, folder: Path, maps: Path) -> Run:
    """The folder for what a run's model says of another map file, for `massmap predict`; nothing is written yet.

    Raises
    ------
    InputError
        If the folder is a run's, or of another model or map file.
    """
    home, maps = _home(config), maps.resolve()
    if folder.resolve() == home.resolve() or (folder / "model").exists():
        raise InputError(f"{folder}: is the folder of a run, which keeps its own predictions; choose another --out")
    if (folder / RECORD).exists():
        before = _read(folder)
        if before != (str(home.resolve()), str(maps)):
            raise InputError(f"{folder}: holds what {before[0]} says of {before[1]}; choose another --out")
    return _run(config, folder, home, maps)


def keep_elsewhere(run: Run, note: str) -> None:
    """Write down, in its folder, whose model predicts which map file, and what a reader should know of that."""
    write_json(run.folder / RECORD, {"run": str(run.home.resolve()), "maps": str(run.maps), "note": note})


def elsewhere(config: Config, folder: Path) -> Run:
    """The folder that `massmap predict --maps` made for this run's model.

    Raises
    ------
    InputError
        If it is none, or another run's.
    """
    home, (made_by, maps) = _home(config), _read(folder)
    if made_by != str(home.resolve()):
        raise InputError(f"{folder}: holds what the model of {made_by} says, not that of {home}; give its config")
    return _run(config, folder, home, Path(maps))


def elsewhere_at(folder: Path) -> Run:
    """The same by the folder alone, with the config that its run keeps."""
    return elsewhere(load_config(Path(_read(folder)[0]) / "config.yaml"), folder)


def notes_of(run: Run) -> list[str]:
    """What the reader of a report should know of maps that are not of the run's own file; nothing of a run itself."""
    if run.trained is None:
        return []
    note = read_json(run.folder / RECORD).get("note")
    what = f"The maps are of {run.maps}, not the test set of {run.home}, whose model predicted them."
    return [what, *([f"{note}."] if note else [])]


def _home(config: Config) -> Path:
    return config.runs / config.name


def _run(config: Config, folder: Path, home: Path, maps: Path) -> Run:
    file = config.maps.model_copy(update={"file": maps})
    return Run(config.model_copy(update={"maps": file, "data": f"maps of {maps}"}), folder, home)


def _read(folder: Path) -> tuple[str, str]:
    path = folder / RECORD
    if not path.exists():
        raise InputError(f"{folder}: holds no predictions of another map file; run massmap predict --maps --out first")
    record = read_json(path)
    if not isinstance(record, dict) or not {"run", "maps"} <= record.keys():
        raise InputError(f"{path}: damaged; remove it and run massmap predict again")
    return str(record["run"]), str(record["maps"])
