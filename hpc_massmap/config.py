"""The typed configuration: YAML with `extends`, `key.sub=value` overrides, one-line errors.

The classes below are the reference of every key. Their defaults are the paper's where it states one.
Relative paths are relative to the folder the command runs in.
"""

import difflib
import json
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hpc_massmap.errors import InputError

COMMAND_LINE = "command line"
T = TypeVar("T", bound=BaseModel)

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Simulation(Section):
    """Where one simulation's regions are: `folder/region/{snapshot files, catalogues}`."""

    name: Name
    folder: Path
    region: str = "NewMDCLUSTER_*"
    snapshot: str = "snap_{snapshot:03d}.hdf5"
    catalogue: str = "*snap_{snapshot:03d}.z*.AHF_halos"
    snapshots: Annotated[list[int], Field(min_length=1)]


class Selection(Section):
    """Which halos make the sample (section 2.1)."""

    m200_min: Positive = 10**13.5  # Msun/h
    m200_max: Positive = 10**15.5
    uncontaminated: bool = True  # fMhires == 1


class Maps(Section):
    """How the maps are drawn (section 2.2)."""

    file: Path = Path("data/maps.h5")
    lines_of_sight: Count = 29
    kernel: Literal["wendland_c4", "cubic_spline"] = "wendland_c4"
    adaptive_smoothing: Count | None = None  # kernel radius of dark matter and stars: distance of the k-th neighbour


class Split(Section):
    """80/10/10; `halo` keeps a region, all its snapshots and both its simulations on one side, `map` does not."""

    policy: Literal["halo", "map"] = "halo"
    train: Annotated[float, Field(gt=0, lt=1)] = 0.8
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: int = 0

    @model_validator(mode="after")
    def _leaves_a_test_set(self) -> Self:
        if self.train + self.validation >= 1:
            raise ValueError("train + validation must be less than 1: the rest is the test set")
        return self


class Model(Section):
    """The U-Net (section 3.1) and what goes in and out of it."""

    views: Annotated[list[Name], Field(min_length=1)] = ["star", "sz", "xray"]
    targets: Annotated[list[Name], Field(min_length=1)] = ["mass"]
    encoders: Literal["one", "per_view"] = "per_view"
    filters: Annotated[int, Field(ge=2)] = 32
    kernel: Count = 3
    layers: Annotated[int, Field(ge=1, le=4)] = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Train(Section):
    """The recipe (section 3.2); the batch size is not in the paper."""

    batch_size: Count = 32  # over all ranks
    epochs: Count = 100
    learning_rate: Positive = 1e-4
    late_learning_rate: Positive = 1e-5
    late_after: Count = 50  # epochs
    patience: Count = 5  # epochs without a better validation loss
    normalisation: Literal["linear", "log"] = "linear"
    precision: Literal["fp32", "bf16"] = "bf16"
    ranks: Count = 1
    threads: Count = 1  # of each rank
    maps_per_epoch: Count | None = None  # a fresh random part of the training set each epoch; None: all of it


class Range(Section):
    """A closed interval of the search space."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


class IntegerRange(Range):
    low: int
    high: int


class Space(Section):
    """The search space (table 3)."""

    filters: IntegerRange = IntegerRange(low=8, high=32)
    kernel: IntegerRange = IntegerRange(low=1, high=6)
    layers: IntegerRange = IntegerRange(low=1, high=4)
    dropout: Range = Range(low=0.0, high=0.5)

    @model_validator(mode="after")
    def _within_the_model(self) -> Self:
        for end in ("low", "high"):
            Model(**{key: getattr(getattr(self, key), end) for key in ("filters", "kernel", "layers", "dropout")})
        return self


class Tune(Section):
    """TPE over the space, by equal workers that share one database (section 3.2)."""

    evaluations: Count = 100
    workers: Count = 4
    startup: Count = 20  # random trials before TPE's first suggestion
    epochs: Count | None = None  # of a trial, where it differs from train.epochs
    maps_per_epoch: Count | None = None  # of a trial, where it differs from train.maps_per_epoch
    lease: Annotated[float, Field(ge=1)] = 120.0  # seconds without a heartbeat before others may take a trial over
    attempts: Count = 3  # before a trial is given up
    failures: Count = 5  # in a row, before a worker stops


class Database(Section):
    """Where the trials live: a mongod of ours from a wheel, one found on this machine, or somebody's server."""

    kind: Literal["embedded", "mongod", "external"] = "embedded"
    mongod: Path = Path("mongod")  # of kind `mongod`: the program
    uri: str | None = None  # of kind `external`
    bind: str = "127.0.0.1"  # what a server of ours listens on

    @model_validator(mode="after")
    def _external_needs_a_uri(self) -> Self:
        if (self.kind == "external") != (self.uri is not None):
            raise ValueError("`uri` belongs to kind: external, and kind: external needs it")
        return self


class Evaluate(Section):
    """Metrics over the test set (section 4)."""

    mass_intervals: Annotated[list[float], Field(min_length=2)] = [13.5, 14.02, 14.63, 15.38]  # log10 M200/(Msun/h)
    mmd_scales: Annotated[list[Positive], Field(min_length=1)] = [0.25, 0.5, 1.0, 2.0, 4.0]  # of the median heuristic
    mmd_kernel: Literal["gaussian", "printed"] = "gaussian"
    mmd_noise: Annotated[list[Positive], Field(min_length=1)] = [0.05, 0.1, 0.2, 0.3]

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if any(a >= b for a, b in zip(self.mass_intervals, self.mass_intervals[1:], strict=False)):
            raise ValueError("mass_intervals must increase")
        return self


class Config(Section):
    """Everything a run needs to be repeated."""

    name: Name
    runs: Path = Path("runs")
    seed: int = 0
    data: str = "no description of the data was given"  # one sentence, shown in the report
    simulations: Annotated[list[Simulation], Field(min_length=1)]
    selection: Selection = Selection()
    maps: Maps = Maps()
    split: Split = Split()
    model: Model = Model()
    train: Train = Train()
    space: Space = Space()
    tune: Tune = Tune()
    database: Database = Database()
    evaluate: Evaluate = Evaluate()

    def part(self, *sections: str) -> dict[str, Any]:
        """Some sections as plain data, for provenance and for checkpoints."""
        return self.model_dump(mode="json", include=set(sections))

    def with_values(self, section: str, **values: Any) -> "Config":
        """A copy in which keys of one section have other values, checked as if read from a file."""
        data = self.model_dump(mode="json")
        data[section].update(values)
        return validated(Config, data, {}, f"{section} with {values}")


class Site(Section):
    """One cluster: what a job asks Slurm for, and what its shell needs first."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpus_per_task: Annotated[int, Field(ge=0)] = 0
    cpus_per_task: Count = 1
    mem_gb: Positive = 4
    minutes: Count = 60
    setup: list[str] = []  # shell lines: modules, environment
    database: Database | None = None  # in place of the run's own


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a config file with its parents, apply `key.sub=value` overrides, check everything.

    Raises
    ------
    InputError
        One line: the file (or the command line), the key, and what is allowed.
    """
    origins: dict[str, str] = {}
    data: dict[str, Any] = Config.model_construct().model_dump(mode="json")  # so that half a range can be overridden
    _merge(data, _read_with_parents(path, (), origins), {}, "")
    for override in overrides or []:
        _apply_override(data, origins, override)
    return validated(Config, data, origins, str(path))


def load_site(path: Path) -> Site:
    """Read a site file; its errors are those of `load_config`."""
    return validated(Site, load_yaml(path), {}, str(path))


def dump_yaml(data: dict[str, Any]) -> str:
    """Plain data as YAML text, in the order it has."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = StringIO()
    yaml.dump(data, text)
    return text.getvalue()


def validated(schema: type[T], data: dict[str, Any], origins: dict[str, str], source: str) -> T:
    """Check plain data against a schema; the first problem becomes one line."""
    try:
        # JSON mode is the strict mode that still reads a path from a string
        return schema.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise InputError(_first_problem(error, schema, data, origins, source)) from None


def _first_problem(
    error: ValidationError, schema: type[BaseModel], data: dict[str, Any], origins: dict[str, str], source: str
) -> str:
    # an unknown key first: it is often why another is missing
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    location = problem["loc"]
    key = ".".join(map(str, location))
    origin = next((origins[k] for k in _ancestors(key) if k in origins), source)
    if any(where == COMMAND_LINE for k, where in origins.items() if k.startswith(f"{key}.")):
        origin = COMMAND_LINE
    if problem["type"] == "extra_forbidden":
        known = _known_keys(schema, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(known)}"
        return f"{origin}: {key}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{origin}: {key}: missing; it has no default"
    message = problem["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be").replace("String should", "must")
    shown = json.dumps(problem["input"], default=str)
    return f"{origin}: {key} = {shown[:100]}: {message}" if key else f"{origin}: {message}"


def _ancestors(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _known_keys(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    fields: Any = schema
    for part in location:
        if isinstance(part, str) and part in fields.model_fields:
            annotation = fields.model_fields[part].annotation
            candidates = [annotation, *getattr(annotation, "__args__", ())]
            fields = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), fields)
    return sorted(fields.model_fields)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; what is wrong with it in one line."""
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError(f"{path}: no such config file") from None
    except PermissionError:
        raise InputError(f"{path}: cannot be read; check its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file") from None
    except MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}:{line} not valid YAML: {(error.problem or error.context or '').strip()}") from None
    except (YAMLError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InputError(f"{path}: must be a mapping of keys to values")
    return data


def _read_with_parents(path: Path, children: tuple[Path, ...], origins: dict[str, str]) -> dict[str, Any]:
    if path.resolve() in children:
        raise InputError(f"{path}: extends itself")
    own = load_yaml(path)
    parent = own.pop("extends", None)
    data: dict[str, Any] = {}
    if isinstance(parent, str):
        data = _read_with_parents(path.parent / parent, (*children, path.resolve()), origins)
    elif parent is not None:
        raise InputError(f"{path}: extends: must be the name of one file")
    _merge(data, own, origins, str(path))
    return data


def _merge(base: dict[str, Any], extra: dict[str, Any], origins: dict[str, str], source: str, prefix: str = "") -> None:
    for key, value in extra.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value, origins, source, f"{name}.")
            continue
        base[key] = value
        origins[name] = source
        for stale in [k for k in origins if k.startswith(f"{name}.")]:
            del origins[stale]


def _apply_override(data: dict[str, Any], origins: dict[str, str], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"{COMMAND_LINE}: {override}: not of the form key.sub=value")
    try:
        value = YAML(typ="safe", pure=True).load(text) if text else None
    except YAMLError:
        raise InputError(f"{COMMAND_LINE}: {override}: the value is not valid YAML") from None
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    for parent in _ancestors(key)[1:]:
        if not isinstance(_lookup(data, parent), dict | None):
            raise InputError(f"{COMMAND_LINE}: {key}: {parent} has no keys below it")
    _merge(data, nested, origins, COMMAND_LINE)


def _lookup(data: Any, key: str) -> Any:
    for part in key.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data
