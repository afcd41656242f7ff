"""What the whole paper consists of: a config for each of its models, and stages that follow each other.

A stage is a script of slurm/ and, on one machine, the jobs that this script runs. Stages know by their records whether
they are done with these settings, so that the whole can be asked for again at any point.
"""

from dataclasses import dataclass, field
from pathlib import Path

from hpc_massmap.config import HYPERPARAMETERS, Config, load_config
from hpc_massmap.dataset.imported import was_imported
from hpc_massmap.errors import InputError
from hpc_massmap.run import Run
from hpc_massmap.shipped import here_or_shipped
from hpc_massmap.storage import write_text
from hpc_massmap.yamlfile import dump_yaml, validated

TUNED = ("star", "sz", "xray", "multi1", "multi3", "gas2")  # section 3.1
RETRAINED = ("low_mass", "high_mass", "low_mass_gizmo_simba", "low_mass_gadget_x")  # appendix A
MAIN = "multi3"  # whose report shows the others beside it


@dataclass(frozen=True)
class Stage:
    """One job of the whole paper, and those that it needs.

    Attributes
    ----------
    script : of slurm/, and its arguments
    jobs : what it runs, each the arguments of a Python process
    is_done : whether the steps it makes are recorded, with the config as it is now
    after : names of the stages whose success it needs
    """

    name: str
    script: list[str]
    jobs: list[list[str]]
    is_done: bool
    after: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Chosen:
    """One training of the whole.

    Attributes
    ----------
    model : of the paper
    only : simulations that train; None: those of the model's own config
    """

    model: str
    only: list[str] | None = None


def chosen_of(base: Config, models: list[str], between: bool) -> dict[str, Chosen]:
    """All trainings by their names.

    Parameters
    ----------
    between : whether each tuned model is also trained on each simulation alone, and of more than two on all but each

    Raises
    ------
    InputError
        If there is but one simulation to train on.
    """
    names = [simulation.name for simulation in base.simulations]
    if between and len(names) < 2:
        raise InputError(f"--between: {base.name} has one simulation, {names[0]}, and nothing to be tested between")
    found: dict[str, Chosen] = {}
    for model in models:
        found[model] = Chosen(model)
        if not between or model not in TUNED:
            continue
        found |= {f"{model}_{name}": Chosen(model, [name]) for name in names}
        if len(names) > 2:
            others = {name: [other for other in names if other != name] for name in names}
            found |= {f"{model}_without_{name}": Chosen(model, rest) for name, rest in others.items()}
    return found


def config_of_model(base: Config, name: str, chosen: Chosen, tune: bool = True) -> Config:
    """One model of the paper on the data and with the recipe of `base`; what is not tuned has its hyperparameters too.

    Raises
    ------
    InputError
        If there is no such model, or it trains on a simulation that `base` does not have.
    """
    if chosen.model not in TUNED + RETRAINED:
        raise InputError(f"--models {chosen.model}: not one of {', '.join(TUNED + RETRAINED)}")
    its = load_config(here_or_shipped(Path("configs") / f"{chosen.model}.yaml"))
    tuner = its.tuned_by if chosen.only is None else chosen.model
    model, split = (its.model_dump(mode="json")[section] for section in ("model", "split"))
    data = base.model_dump(mode="json")
    data["name"] = name_of(base, name)
    data["tuned_by"] = name_of(base, tuner) if tuner and tune else None
    data["model"] |= {key: value for key, value in model.items() if key not in HYPERPARAMETERS}
    data["split"] |= {"log_m200": split["log_m200"], "only": split["only"] if chosen.only is None else chosen.only}
    if base.database.kind != "external" and base.database.data is None and base.database.folder is None:
        data["database"]["folder"] = str(base.runs / base.name / "database")  # of whoever comes first
    return validated(Config, data, {}, f"configs/{chosen.model}.yaml with the data of {base.name}")


def name_of(base: Config, model: str) -> str:
    """The run of a model: its own name for the paper's data, and those of other data apart."""
    return model if base.name == "paper" else f"{base.name}_{model}"


def write_configs(base: Config, models: list[str], between: bool = False, tune: bool = True) -> dict[str, Path]:
    """Keep each training's config beside the run of the whole; which file is whose."""
    folder, paths = base.runs / base.name / "configs", dict[str, Path]()
    for name, chosen in chosen_of(base, models, between).items():
        paths[name] = folder / f"{name}.yaml"
        write_text(paths[name], dump_yaml(config_of_model(base, name, chosen, tune).model_dump(mode="json")))
    return paths


def stages(
    base: Config, paths: dict[str, Path], base_path: Path, tune: bool = True, calibrate: bool = False
) -> list[Stage]:
    """All stages but the report, each after those it needs.

    Parameters
    ----------
    tune : whether to search for hyperparameters
    calibrate : also models that say one map

    Raises
    ------
    InputError
        If a retrained model is asked for without the one whose hyperparameters it takes, and these are not there yet.
    """
    found = [_making(Run.of(base), [str(base_path)])]
    configs = {model: load_config(path) for model, path in paths.items()}
    by_run = {config.name: model for model, config in configs.items()}
    for model, config in configs.items():
        run, words, before = Run.of(config), [str(paths[model])], "make_maps"
        if config.tuned_by is None and tune:
            before = f"tune_{model}"
            found.append(_tuning(before, run, words))
        elif config.tuned_by in by_run:
            before = f"tune_{by_run[config.tuned_by]}"
        elif config.tuned_by is not None and not run.best.exists():
            raise InputError(
                f"--models {model}: it takes the hyperparameters of {config.tuned_by}: ask for {MAIN}, too"
            )
        found.append(_training(f"train_{model}", run, words, before))
        found += _calibrating(f"calibrate_{model}", run, words, f"train_{model}", calibrate)
        found.append(_judging(f"evaluate_{model}", run, words, found[-1].name))
    return found


def is_calibrated(config: Config) -> bool:
    """Whether a run calibrates by itself: a model that says more than one map, and validates on regions new to it."""
    return config.model.output != "point" and config.split.policy == "halo"


def stages_of_run(config: Config, words: list[str], tune: bool) -> list[Stage]:
    """All stages of one run, each after the one it needs.

    Parameters
    ----------
    words : the config and values in place of its own, as each job takes them
    tune : whether to search for hyperparameters, unless the config names another run that did
    """
    run = Run.of(config)
    found = [_making(run, words)]
    if tune and config.tuned_by is None:
        found.append(_tuning("tune", run, words))
    found.append(_training("train", run, words, found[-1].name))
    found += _calibrating("calibrate", run, words, "train")
    return [*found, _judging("evaluate", run, words, found[-1].name)]


def _making(run: Run, words: list[str]) -> Stage:
    jobs = [_job("make_maps", *words, "--consolidate")]
    done = _is_done(run, "make_maps") or was_imported(run.maps)
    return Stage("make_maps", ["slurm/make_maps.sh", *words], jobs, done)


def _tuning(name: str, run: Run, words: list[str]) -> Stage:
    return Stage(name, ["slurm/tune.sh", *words], [_job("tune", *words)], _is_done(run, "tune"), ["make_maps"])


def _training(name: str, run: Run, words: list[str], after: str) -> Stage:
    jobs = [_job("train", *words), _job("predict", *words)]
    return Stage(name, ["slurm/train.sh", *words], jobs, _is_done(run, "train", "predict"), [after])


def _calibrating(name: str, run: Run, words: list[str], after: str, point: bool = False) -> list[Stage]:
    by_itself = is_calibrated(run.config)
    if not by_itself and not (point and run.config.split.policy == "halo"):
        return []
    jobs = [_job("predict", *words, "--validation"), _job("calibrate", *words)]
    # what was judged without a calibration stays as it is
    done = _is_done(run, "predict_validation", "calibrate") or (not by_itself and _is_done(run, "evaluate"))
    return [Stage(name, ["slurm/calibrate.sh", *words], jobs, done, [after])]


def _judging(name: str, run: Run, words: list[str], after: str) -> Stage:
    jobs = [_job("evaluate", *words), _job("report", *words)]
    return Stage(name, ["slurm/evaluate.sh", *words], jobs, _is_done(run, "evaluate", "report"), [after])


def report_job(paths: dict[str, Path], notes: list[str]) -> list[str]:
    """The report that compares all, on the page of the first model that has metrics, the paper's best if it can.

    Parameters
    ----------
    notes : lines for the page, as what is missing and why

    Raises
    ------
    InputError
        If no model has any.
    """
    ordered = sorted(paths, key=lambda model: model != MAIN)
    judged = [model for model in ordered if _judged(paths[model])]
    if not judged:
        raise InputError("no model has metrics yet: there is nothing to report")
    others = [str(paths[model]) for model in ordered if model != judged[0]]
    # by force: this model's own stage has drawn a report of it alone
    with_others = ["--with", *others] if others else []
    return _job("report", str(paths[judged[0]]), "--force", *with_others, *(f"--note={note}" for note in notes))


def _job(step: str, *words: str) -> list[str]:
    return ["-m", f"hpc_massmap.jobs.{step}", *words]


def _judged(path: Path) -> bool:
    config = load_config(path)
    return Run(config, config.runs / config.name).metrics.exists()


def _is_done(run: Run, *steps: str) -> bool:
    """Whether these steps are recorded and the run's config is still the one they were done with."""
    if not run.is_recorded(*steps):
        return False
    try:
        kept = load_config(run.folder / "config.yaml")  # with what keys that are newer than it mean where they are not
    except InputError:
        return False
    before, now = (config.model_dump(mode="json") | {"database": None} for config in (kept, run.config))
    return before == now  # a site's own database is in the kept one
