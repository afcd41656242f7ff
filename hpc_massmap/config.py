"""The typed configuration of a run and of a site.

The classes below are the reference of every key. Their defaults are the paper's where it states one.
Relative paths are relative to the folder the command runs in.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hpc_massmap.views import VIEWS
from hpc_massmap.yamlfile import apply_override, merge, read_with_parents, validated

Positive = Annotated[float, Field(gt=0)]
LARGEST = 2**31 - 1  # of whole numbers: torch, HDF5 and BSON have no place for many more
Count = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]
Rate = Annotated[float, Field(gt=0, le=1e30)]  # of learning; single precision has no place for many more
Level = Annotated[float, Field(gt=0, lt=1)]  # of a quantile
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


Output = Literal["point", "quantiles", "flow"]
LEVELS = [0.05, 0.16, 0.5, 0.84, 0.95]


class Section(BaseModel):
    """A mapping of the YAML file, in which no other key than its fields is allowed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Simulation(Section):
    """Where one simulation's regions are: `folder/region/{snapshot files, catalogues}`."""

    name: Name
    """what its halos are called in maps, splits and reports"""
    folder: Path
    """where its regions are"""
    region: str = "NewMDCLUSTER_*"
    """pattern of the regions' folders"""
    snapshot: str = "snap_{snapshot:03d}.hdf5"
    """name of a snapshot in a region; of several files, of the first"""
    catalogue: str = "*snap_{snapshot:03d}.*z*.AHF_halos"
    """of one process, or the files of several"""
    snapshots: Annotated[list[Annotated[int, Field(ge=0, le=LARGEST)]], Field(min_length=1)]
    """numbers of the snapshots whose halos are taken, the latest last"""


class Flat(Section):
    """A sample flat in log10 M200: crowded bins are thinned, sparse ones filled from earlier snapshots (fig. 1)."""

    bin_width: Positive = 0.1
    """dex, from m200_min on"""
    per_bin: Count | None = None
    """halos; None: the median bin of the first simulation's latest snapshot"""
    seed: Seed = 0
    """of the choice where a bin offers more"""


class Selection(Section):
    """Which halos make the sample (section 2.1)."""

    m200_min: Positive = 10**13.5
    """Msun/h"""
    m200_max: Positive = 10**15.5
    """Msun/h"""
    uncontaminated: bool = True
    """fMhires == 1"""
    subhalos: bool = False
    """also those whose radius is not R200, but where their host begins"""
    flat: Flat | None = None
    """None: every halo that passes, of every snapshot"""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.m200_min >= self.m200_max:
            raise ValueError("m200_min must be less than m200_max")
        return self


class Band(Section):
    """One more X-ray map: of the photons between two energies in closed form, or of a table made for such."""

    energies: tuple[float, float] | None = None
    """keV, as emitted: [low, high] of bremsstrahlung"""
    cooling_table: Path | None = None
    """a file of massmap cooling_table --energies"""

    @model_validator(mode="after")
    def _one_emissivity(self) -> Self:
        if (self.energies is None) == (self.cooling_table is None):
            raise ValueError("needs energies: [low, high] in keV or cooling_table: FILE, and not both")
        if self.energies is not None and not 0 <= self.energies[0] < self.energies[1]:
            raise ValueError("energies must be [low, high] in keV with 0 <= low < high")
        return self


class Maps(Section):
    """How the maps are drawn (section 2.2)."""

    file: Path = Path("data/maps.h5")
    """the map file, which runs may share"""
    lines_of_sight: Count = 29
    """from which each halo is seen"""
    kernel: Literal["wendland_c4", "cubic_spline"] = "wendland_c4"
    """the smoothing kernel of the gas: the simulation's own"""
    accuracy: Literal["fast", "fine"] = "fast"
    """of the projection; fine: 1e-5 of a map in a wrong pixel, not 5e-4"""
    adaptive_smoothing: Count | None = None
    """kernel radius of dark matter and stars: distance of the k-th neighbour"""
    gas_rules: Literal["primordial", "pymsz"] = "primordial"
    """X = 0.76, none that forms stars; or those of PyMSZ"""
    bad_regions: Literal["stop", "skip"] = "stop"
    """what to do about one that cannot be read or drawn"""
    xray: Literal["bremsstrahlung", "table"] = "bremsstrahlung"
    """closed form, or a file of massmap cooling_table"""
    cooling_table: Path | None = None
    """a file of `massmap cooling_table`, for xray: table"""
    bands: dict[Name, Band] = {}
    """further X-ray maps by the names of their views"""

    @field_validator("bands")
    @classmethod
    def _names_are_free(cls, bands: dict[str, Band]) -> dict[str, Band]:
        for name in bands:
            if name in VIEWS:
                raise ValueError(f"{name} is the name of another map; choose one that is none of {', '.join(VIEWS)}")
        return bands

    @model_validator(mode="after")
    def _has_the_table_it_uses(self) -> Self:
        if (self.xray == "table") != (self.cooling_table is not None):
            raise ValueError("xray: table and cooling_table: FILE (of massmap cooling_table) need each other")
        return self


class Split(Section):
    """80/10/10; `halo` keeps a region, all its snapshots and both its simulations on one side, `map` does not."""

    policy: Literal["halo", "map"] = "halo"
    """halo: a region, all its snapshots and both its simulations stay on one side; map: they do not"""
    train: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """share of the regions, or maps, that train"""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share that validates; the rest is the test set"""
    seed: Seed = 0
    """of the draw"""
    log_m200: tuple[float, float] | None = None
    """whose maps train and validate, as the retrained models of appendix A: of halos in [low, high), M200 in
    Msun/h; none: of any. The test set is of all halos"""
    only: list[Name] = []
    """likewise, of these simulations; none: of all"""

    @model_validator(mode="after")
    def _leaves_a_test_set(self) -> Self:
        if self.train + self.validation >= 1:
            raise ValueError("train + validation must be less than 1: the rest is the test set")
        if self.log_m200 is not None and self.log_m200[0] >= self.log_m200[1]:
            raise ValueError("log_m200 must be [low, high] with low less than high")
        return self


class Model(Section):
    """The U-Net (section 3.1) and what goes in and out of it."""

    views: Annotated[list[Name], Field(min_length=1)] = ["star", "sz", "xray"]
    """the maps that go in"""
    targets: Annotated[list[Name], Field(min_length=1)] = ["mass"]
    """the maps that come out"""
    encoders: Literal["one", "per_view"] = "per_view"
    """one for all views as channels (multi-1), or one for each view (multi-3)"""
    filters: Annotated[int, Field(ge=2, le=4096)] = 32
    """of the first level; each level below has twice as many"""
    kernel: Annotated[int, Field(ge=1, le=80)] = 3
    """pixels; a map has 80"""
    layers: Annotated[int, Field(ge=1, le=4)] = 4
    """levels of the U, each half as wide as the one above"""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of the activations that each step leaves out"""
    output: Annotated[Output, Field(exclude_if=lambda output: output == "point")] = "point"
    """what it says of a map: one map, or its mean and quantiles"""
    levels: Annotated[list[Level], Field(min_length=2, exclude_if=lambda levels: levels == LEVELS)] = LEVELS
    """of the quantiles"""

    @field_validator("levels")
    @classmethod
    def _increase(cls, levels: list[float]) -> list[float]:
        if any(a >= b for a, b in pairwise(levels)):
            raise ValueError("levels must increase")
        return levels

    @model_validator(mode="after")
    def _names_each_map_once(self) -> Self:
        names = [*self.views, *self.targets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is named twice in views and targets")
        return self


class Train(Section):
    """The recipe (section 3.2); the batch size is not in the paper."""

    batch_size: Count = 32
    """over all ranks"""
    epochs: Count = 100
    """at most"""
    learning_rate: Rate = 1e-4
    """of the first epochs"""
    late_learning_rate: Rate = 1e-5
    """of the epochs after late_after"""
    late_after: Count = 50
    """epochs"""
    patience: Count = 5
    """epochs without a better validation loss"""
    normalisation: Literal["linear", "log"] = "linear"
    """of the maps: linear as in the paper, or of their logarithms"""
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16: where the hardware has it, else fp32"""
    ranks: Count = 1
    """processes that share the training, where the site does not say how many"""
    batch_norm: Literal["per_rank", "synchronised"] = "per_rank"
    """whose maps it averages over: each rank's, or all"""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """of each rank"""
    maps_per_epoch: Count | None = None
    """a fresh random part of the training set each epoch; None: all of it"""
    optimiser: Literal["adam", "adam_fused"] = "adam"
    """fused: all parameters in one kernel. Not in the paper, nor are the keys below"""
    schedule: Literal["step", "cosine"] = "step"
    """cosine: half a wave down to late_learning_rate"""
    warmup: Annotated[int, Field(ge=0)] = 0
    """epochs over which the rate rises from zero"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """decay per step of an average of the weights, which is kept"""
    compile: bool = False
    """by torch.compile; the first steps take minutes"""
    loss: Literal["l1", "relative"] = "l1"
    """relative: the error of each map over its true mean, for low-mass halos"""
    augment: bool = False
    """give each map one of the 8 symmetries of the square, another one each epoch"""
    checkpoint_seconds: Positive = 300.0
    """between checkpoints within an epoch; there is one at its end besides"""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.loss == "relative" and self.normalisation == "log":
            raise ValueError("loss = relative is for normalisation = linear; in the log an error is relative already")
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup = {self.warmup} must be less than epochs = {self.epochs}")
        return self


class Range(Section):
    """A closed interval of the search space."""

    low: float
    """the least value"""
    high: float
    """the greatest value"""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


class IntegerRange(Range):
    """A closed interval of whole numbers."""

    low: int
    """the least value"""
    high: int
    """the greatest value"""


class Shown(NamedTuple):
    """How people see a hyperparameter."""

    title: str
    symbol: str | None = None

    @property
    def short(self) -> str:
        return self.symbol or self.title


class Space(Section):
    """The search space (table 3): a range for every key of the model that is tuned."""

    filters: Annotated[IntegerRange, Shown("filters", "F")] = IntegerRange(low=8, high=32)
    """range of model.filters"""
    kernel: Annotated[IntegerRange, Shown("kernel size", "K")] = IntegerRange(low=1, high=6)
    """range of model.kernel"""
    layers: Annotated[IntegerRange, Shown("levels", "N")] = IntegerRange(low=1, high=4)
    """range of model.layers"""
    dropout: Annotated[Range, Shown("dropout")] = Range(low=0.0, high=0.5)
    """range of model.dropout"""

    @model_validator(mode="after")
    def _within_the_model(self) -> Self:
        for end in ("low", "high"):
            Model(**{name: getattr(getattr(self, name), end) for name in HYPERPARAMETERS})
        return self


HYPERPARAMETERS: dict[str, Shown] = {
    name: next((shown for shown in field.metadata if isinstance(shown, Shown)), Shown(name))
    for name, field in Space.model_fields.items()
}
"""What is tuned, and how it is shown; the only list of it."""


class Pruning(Section):
    """Asynchronous successive halving: at epochs `first` x `reduction`^n only the best 1/`reduction` go on."""

    first: Count = 1
    """the first epoch at which trials are compared"""
    reduction: Annotated[int, Field(ge=2, le=LARGEST)] = 3
    """of so many trials one goes on"""


class Tune(Section):
    """TPE over the space, by equal workers that share one database (section 3.2)."""

    evaluations: Count = 100
    """trials of the study"""
    workers: Count = 4
    """that try at the same time"""
    ranks: Count = 1
    """of each worker, where the site does not say how many"""
    startup: Count = 20
    """random trials before TPE's first suggestion"""
    epochs: Count | None = None
    """of a trial, where it differs from train.epochs"""
    maps_per_epoch: Count | None = None
    """of a trial, where it differs from train.maps_per_epoch"""
    lease: Annotated[float, Field(ge=1)] = 120.0
    """seconds without a heartbeat before others may take a trial over"""
    attempts: Count = 3
    """in a row without a finished epoch, before a trial is given up"""
    failures: Count = 5
    """trials in a row, before the study stops"""
    wait: Positive = 900.0
    """seconds that a worker waits for a database that does not answer"""
    pruning: Pruning | None = None
    """end bad trials early; None: every trial trains to its end, as in the paper"""


class Database(Section):
    """Where the trials live: a mongod of ours from a wheel, one found on this machine, or somebody's server."""

    kind: Literal["embedded", "mongod", "external"] = "embedded"
    """embedded: from a wheel; mongod: a program of this machine; external: somebody's server"""
    mongod: Path = Path("mongod")
    """of kind `mongod`: the program"""
    image: Path | None = None
    """of kind `mongod`: the Apptainer image that has the program"""
    folder: Path | None = None
    """of a server of ours: its folder, for all runs that name it; None: one in each run"""
    data: Path | None = None
    """of a server of ours: where its data are; None: in its folder"""
    bind: str = "127.0.0.1"
    """what a server of ours listens on"""
    tls: bool = False
    """encrypt the connections; a server of ours makes its own certificate"""
    uri: str | None = None
    """of kind `external`: without a password"""
    credentials: Path | None = None
    """of kind `external`: a JSON file {"user": ..., "password": ...} of mode 0600"""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.kind == "external") != (self.uri is not None):
            raise ValueError("`uri` belongs to kind: external, and kind: external needs it")
        if (self.kind == "external") != (self.credentials is not None):
            raise ValueError(
                "`credentials` belongs to kind: external, and kind: external needs it: a file of mode 0600"
            )
        if self.folder is not None and (self.kind == "external" or self.data is not None):
            raise ValueError("`folder` is of a server of ours, for several runs, and has its data: set no `data`")
        if self.image is not None and self.kind != "mongod":
            raise ValueError("`image` belongs to kind: mongod")
        return self

    @field_validator("uri")
    @classmethod
    def _keeps_no_password(cls, uri: str | None) -> str | None:
        if uri is not None and "@" in uri:
            raise PydanticCustomError(
                "password",
                "no user and password in here, which is shown: put them in a file "
                "of mode 0600 and its name in database.credentials",
            )
        return uri


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


class Mock(Section):
    """A mock universe to write into the folders of the simulations (massmap mock): for scale, never for science."""

    halos: Count = 40
    """of each simulation, at each of its snapshots"""
    particles: Count = 50_000
    """of each halo"""
    files: Count = 1
    """of each snapshot whose pattern names a file 0"""
    seed: Seed = 0
    """of the universe"""


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
    model: Model = Model()
    """the U-Net"""
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
    return validated(Config, data, origins, str(path)), origins
