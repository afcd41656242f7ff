"""What is tuned, by whom, and where the trials live."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hpc_massmap.config.network import Model
from hpc_massmap.config.section import LARGEST, Count, Positive, Section


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
