"""The typed configuration of a run and of a site.

The classes below and in the files beside are the reference of every key. Their defaults are the paper's where it states
one. Relative paths are relative to the folder the command runs in.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from hpc_massmap.config.halos import Band, Flat, Maps, Mock, Selection, Simulation, Split
from hpc_massmap.config.network import LACKS, LEVELS, Model, Network, Output, Train
from hpc_massmap.config.observe import AS_DRAWN, Beam, Counts, Effects, Noise, Observe, Sources
from hpc_massmap.config.search import (
    HYPERPARAMETERS,
    Database,
    IntegerRange,
    Pruning,
    Range,
    Shown,
    Space,
    Tune,
)
from hpc_massmap.config.section import LARGEST, Count, Name, Positive, Section, Seed
from hpc_massmap.errors import InputError
from hpc_massmap.yamlfile import apply_override, merge, read_with_parents, validated

__all__ = [
    "AS_DRAWN",
    "HYPERPARAMETERS",
    "LARGEST",
    "LEVELS",
    "Band",
    "Beam",
    "Config",
    "Count",
    "Counts",
    "Database",
    "Effects",
    "Evaluate",
    "Flat",
    "IntegerRange",
    "Maps",
    "Mock",
    "Model",
    "Network",
    "Noise",
    "Observe",
    "Output",
    "Positive",
    "Predict",
    "Pruning",
    "Range",
    "Section",
    "Selection",
    "Shown",
    "Simulation",
    "Sources",
    "Space",
    "Split",
    "Train",
    "Tune",
    "load_config",
    "load_with_origins",
]


class Evaluate(Section):
    """Metrics over the test set (section 4)."""

    mass_intervals: Annotated[list[float], Field(min_length=2)] = [13.5, 14.02, 14.63, 15.38]
    """log10 M200/(Msun/h)"""
    mmd_scales: Annotated[list[Positive], Field(min_length=1)] = [0.25, 0.5, 1.0, 2.0, 4.0]
    """of the median heuristic"""
    mmd_kernel: Literal["gaussian", "printed"] = "gaussian"
    """of the MMD: Gaussian, or the formula as the paper prints it"""
    mmd_noise: Annotated[list[Positive], Field(min_length=1)] = [0.05, 0.1, 0.2, 0.3]
    """shares of the peak, of noise on the truth that the MMD is compared with"""

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if any(a >= b for a, b in zip(self.mass_intervals, self.mass_intervals[1:], strict=False)):
            raise ValueError("mass_intervals must increase")
        return self


class Predict(Section):
    """What a prediction keeps of what a model says."""

    samples: Annotated[int, Field(ge=0, le=LARGEST)] | None = None
    """of each map; None: 16 if the model has samples"""
    symmetries: bool = False
    """the mean over the 8 symmetries of the square, 8 times slower"""
    members: Count | list[Name] | None = None
    """an ensemble: so many best trials of the study, or models of these runs"""


class Config(Section):
    """Everything a run needs to be repeated."""

    name: Name
    """of the run, and of its folder"""
    runs: Path = Path("runs")
    """the folder of all runs"""
    seed: Seed = 0
    """of weights, batches and trials"""
    tuned_by: Name | None = None
    """another run, whose best hyperparameters the final training takes"""
    data: str = "no description of the data was given"
    """one sentence, shown in the report"""
    simulations: Annotated[list[Simulation], Field(min_length=1)]
    """where the halos are from"""
    mock: Mock | None = None
    """a mock universe to write there; none: they are real"""
    selection: Selection = Selection()
    """which halos make the sample"""
    maps: Maps = Maps()
    """how the maps are drawn"""
    split: Split = Split()
    """into training, validation and test"""
    observe: Observe = Observe()
    """what a telescope sees of the views"""
    model: Model = Model()
    """the network"""
    train: Train = Train()
    """the recipe"""
    space: Space = Space()
    """what the tuning searches"""
    tune: Tune = Tune()
    """how it searches"""
    database: Database = Database()
    """where the trials live"""
    predict: Predict = Predict()
    """what is kept of a prediction"""
    evaluate: Evaluate = Evaluate()
    """the metrics"""

    @model_validator(mode="after")
    def _has_the_loss_of_its_output(self) -> Self:
        if self.train.loss == "relative" and self.model.output != "point":
            raise ValueError(f"train.loss = relative is for model.output = point; {self.model.output} has its own loss")
        return self

    @model_validator(mode="after")
    def _searches_what_its_network_has(self) -> Self:
        alone = {
            name: type(getattr(self.space, name))(low=getattr(self.model, name), high=getattr(self.model, name))
            for name in LACKS[self.model.network]
        }
        if alone:
            object.__setattr__(self, "space", self.space.model_copy(update=alone))
        return self

    @model_validator(mode="after")
    def _observes_its_views(self) -> Self:
        for view, effects in self.observe.views.items():
            if view not in self.model.views:
                raise ValueError(f"observe.views: {view}: not one of model.views ({', '.join(self.model.views)})")
            subtracts = effects.counts is not None and effects.counts.output == "subtracted"
            below = effects.noise is not None or effects.large_scales is not None or subtracts
            if self.train.normalisation == "log" and below:
                raise ValueError(
                    f"observe.views.{view}: noise leaves pixels below 0, which have no logarithm; set "
                    "train.normalisation = linear"
                )
        return self

    @model_validator(mode="after")
    def _names_its_simulations(self) -> Self:
        known = [simulation.name for simulation in self.simulations]
        for name in self.split.only:
            if name not in known:
                raise ValueError(f"split.only: {name}: not one of the simulations ({', '.join(known)})")
        return self

    def part(self, *sections: str) -> dict[str, Any]:
        """Some sections as plain data, for provenance and for checkpoints."""
        return self.model_dump(mode="json", include=set(sections))

    def with_values(self, section: str, **values: Any) -> "Config":
        """A copy in which keys of one section have other values, checked as if read from a file."""
        data = self.model_dump(mode="json")
        data[section].update(values)
        return validated(Config, data, {}, f"{section} with {values}")


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a config file with its parents, apply `key.sub=value` overrides, check everything.

    Raises
    ------
    InputError
        One line: the file (or the command line), the key, and what is allowed.
    """
    return load_with_origins(path, overrides)[0]


def load_with_origins(path: Path, overrides: list[str] | None = None) -> tuple[Config, dict[str, str]]:
    """The same, and the file that each key is from, or the command line; none of those that have their default."""
    origins: dict[str, str] = {}
    data: dict[str, Any] = Config.model_construct().model_dump(mode="json")  # so that half a range can be overridden
    merge(data, read_with_parents(path, (), origins), {}, "")
    for override in overrides or []:
        apply_override(data, origins, override)
    config = validated(Config, data, origins, str(path))
    _refuse_ranges_of_another_network(config, data["space"], origins)
    return config, origins


def _refuse_ranges_of_another_network(config: Config, space: dict[str, Any], origins: dict[str, str]) -> None:
    """A range that a parent has for its own network goes; one that is said with this network, or after it, is wrong."""
    files = list(dict.fromkeys(origins.values()))  # parents first, the command line last
    network = config.model.network
    for name in LACKS[network]:
        said = [files.index(where) for key, where in origins.items() if f"{key}.".startswith(f"space.{name}.")]
        is_left = space[name] == getattr(config.space, name).model_dump()  # as in a config that was written down
        if said and not is_left and max(said) >= files.index(origins["model.network"]):
            raise InputError(
                f"{files[max(said)]}: space.{name}: model.network = {network} has no {name} to search; "
                f"leave space.{name} out"
            )
