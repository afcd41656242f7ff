"""What each step of a run has done, with what and how long, what is stale, and what comes next; nothing is written.

A step is stale whose settings or maps have changed since, or that took from a step which was done again after it.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hpc_massmap.config import HYPERPARAMETERS
from hpc_massmap.dataset.imported import was_imported
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.parts import parts_folder
from hpc_massmap.errors import InputError
from hpc_massmap.pipeline.stages import is_calibrated
from hpc_massmap.run import NOTES, Run, difference
from hpc_massmap.storage import read_json

STEPS = ("make_maps", "tune", "train", "predict", "predict_validation", "calibrate", "evaluate", "report")
TAKES_FROM = {  # by the time; maps by digest
    **{"predict": ("train",), "predict_validation": ("train",), "calibrate": ("predict_validation",)},
    **{"evaluate": ("predict", "calibrate"), "report": ("evaluate",)},
}
OF_TRAINING = ("model", "train", "split", "seed", "observe")
OF_MAPS = ("tune", "train", "predict", "predict_validation")


@dataclass(frozen=True)
class Status:
    """One step of a run.

    Attributes
    ----------
    state : done, stale, begun, open, or not needed
    record : its provenance; empty if it is not done
    note : with what it was done, how far it is, or why it is stale
    """

    name: str
    state: str
    record: dict[str, Any]
    note: str

    @property
    def finished(self) -> datetime | None:
        return datetime.fromisoformat(self.record["finished"]) if self.record else None


def status_of(run: Run) -> list[Status]:
    """Each step in its order.

    Raises
    ------
    InputError
        If a record or the map file is damaged.
    """
    found: dict[str, Status] = {}
    maps = open_maps(run.maps).digest if run.maps.exists() else None
    for name in STEPS:
        path = run.folder / "provenance" / f"{name}.json"
        record = read_json(path) if path.exists() else {}
        if path.exists() and not (isinstance(record, dict) and record.keys() >= {"settings", "inputs", "finished"}):
            raise InputError(f"{path}: not the record of a finished step; --force redoes {name}")
        why = _why_stale(run, name, record, maps, found) if record else ""
        if record:
            found[name] = Status(name, "stale" if why else "done", record, why or _with_what(name, record))
        else:
            found[name] = Status(name, *_unfinished(run, name))
    return list(found.values())


def next_of(run: Run, steps: list[Status]) -> str:
    """The command that goes on; nothing if all is done."""
    for step in steps:
        job = step.name.removesuffix("_validation")
        command = f"massmap {job} {run.folder}" + (" --validation" if job != step.name else "")
        if step.state == "stale":
            return f"{command} --force"
        if step.state in ("begun", "open"):
            return command
    return ""


def as_text(run: Run, steps: list[Status]) -> str:
    """A line of each step, and what comes next."""
    lines = [f"{run.folder}: {run.config.data}", "step                state       finished          took      with"]
    for step in steps:
        when = f"{step.finished.astimezone():%Y-%m-%d %H:%M}" if step.finished else ""
        took = duration(step.record["seconds"]) if "seconds" in step.record else ""
        lines.append(f"{step.name:19} {step.state:11} {when:17} {took:9} {step.note}".rstrip())
    following = next_of(run, steps)
    return "\n".join([*lines, f"next: {following}" if following else f"all is done: {run.report / 'index.html'}"])


def summary(run: Run, steps: list[Status]) -> str:
    """One line of a run among others."""
    ended = [step.finished for step in steps if step.finished]
    when = f"{max(ended).astimezone():%Y-%m-%d %H:%M}" if ended else ""
    done = [step.name for step in steps if step.state == "done"]
    stale = [step.name for step in steps if step.state == "stale"]
    told = f"{', '.join(done) or 'nothing'} done" + (f"; {', '.join(stale)} stale" if stale else "")
    following = next_of(run, steps)
    return f"{run.folder!s:24} {when:17} {told}{f'; next: {following}' if following else ''}"


def duration(seconds: float) -> str:
    """A time that a person reads at a glance, as `48 s`, `12 min` or `3.1 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _why_stale(run: Run, name: str, record: dict[str, Any], maps: str | None, before: dict[str, Status]) -> str:
    of_maps = record["inputs"].get("maps")
    if name in OF_MAPS and maps is not None and of_maps != maps:
        return f"of other maps: {str(of_maps)[:12]}, {run.maps} is {maps[:12]} now"
    changed = difference(record["settings"], _settings(run, name, record["settings"]))
    if changed:
        return f"done with {changed}"
    for earlier in (before[step] for step in TAKES_FROM.get(name, ())):
        if earlier.state == "stale":
            return f"{earlier.name} is stale"
        if earlier.record and datetime.fromisoformat(record["finished"]) < datetime.fromisoformat(
            earlier.record["finished"]
        ):
            return f"{earlier.name} was done again after it"
    return ""


def _settings(run: Run, name: str, recorded: dict[str, Any]) -> dict[str, Any]:
    """What the run's config says now of the settings of a step, as far as they are keys of it."""
    from hpc_massmap.tune.best import with_best

    if name in ("predict", "predict_validation"):
        others = {key: value for key, value in recorded.items() if key != "symmetries"}
        return others | ({"symmetries": True} if run.config.predict.symmetries else {})
    config = with_best(run.config, run.best) if name == "train" and run.best.exists() else run.config
    sections = {"make_maps": ("simulations", "selection", "maps"), "evaluate": ("evaluate",)}
    now = config.part(*sections.get(name, OF_TRAINING if name == "train" else ()))
    kept = {key: value for key, value in now.items() if key in recorded}
    if name == "train" and config.observe.is_on:
        kept |= config.part("observe")
    if name == "train":
        kept["train"] = {key: value for key, value in kept["train"].items() if key in recorded["train"]}
    return {**recorded, **kept}


def _with_what(name: str, record: dict[str, Any]) -> str:
    settings = record["settings"]
    commit = f", commit {record['git_commit'][:8]}" if record.get("git_commit") else ""
    where = f"on {record.get('host')}{commit}"
    if name == "tune" and "evaluations" in settings:
        return f"{settings['evaluations']} trials {where}"
    if name == "train":
        model = settings["model"]
        chosen = ", ".join(
            f"{shown.short} = {model[key]:.4g}" for key, shown in HYPERPARAMETERS.items() if key in model
        )
        return f"{chosen}, {settings['train']['epochs']} epochs {where}"
    return where


def _unfinished(run: Run, name: str) -> tuple[str, dict[str, Any], str]:
    if name == "make_maps" and run.maps.exists():
        return "not needed", {}, f"{run.maps} is {'imported' if was_imported(run.maps) else 'of another run'}"
    if name == "tune" and (run.config.tuned_by or run.is_recorded("train")):
        whose = f"takes the hyperparameters of {run.config.tuned_by}" if run.config.tuned_by else "trained without"
        return "not needed", {}, whose
    if name in ("predict_validation", "calibrate") and not is_calibrated(run.config):
        return "not needed", {}, "by itself only of models that say more than one map, with split.policy = halo"
    if name == "make_maps" and parts_folder(run.maps).exists():
        return "begun", {}, f"{len(list(parts_folder(run.maps).iterdir()))} files of parts"
    if name == "tune" and (run.logs / "tune").exists():
        return "begun", {}, f"massmap monitor {run.folder} watches it"
    if name == "train" and (run.model / NOTES).exists():
        at = read_json(run.model / NOTES)
        return "begun", {}, f"epoch {at['epoch']} of {run.config.train.epochs}"
    return "open", {}, ""


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs in a folder, by name."""
    return sorted(path.parent for path in folder.glob("*/config.yaml"))
