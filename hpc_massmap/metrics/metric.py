"""What a metric is: one class that measures maps, is what metrics.h5 keeps of them, and sums itself up.

To add one, write such a class in a file of its own, mostly a `MapMetric`, and name it in
`hpc_massmap/metrics/registry.py`.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Evaluate
from hpc_massmap.hdf5 import Unreadable, attributes_of, dataset_of, names_in, values_of
from hpc_massmap.metrics.error_bars import ErrorBars
from hpc_massmap.metrics.sample import Sample
from hpc_massmap.units import to_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
UNITS = {"m200": "h^-1 Msun", "r200": "kpc", "radii": "R200", "wavelength": "R200"}

Rows = dict[str, npt.NDArray[Any]]  # name -> (n, ...), one row a map
Sum = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]  # of integers over all ranks; called by all of them


@dataclass(frozen=True)
class Block:
    """Some test maps of one predicted quantity.

    Attributes
    ----------
    rows : (n,), of the maps in the map file
    predicted, true : (n, 80, 80), float64, physical units
    r200, r500 : (n,), kpc
    read_error_bars : what gives their error bars, for metrics that apply where there are some
    """

    rows: IntArray
    predicted: FloatArray
    true: FloatArray
    r200: FloatArray
    r500: FloatArray
    read_error_bars: Callable[[], ErrorBars] | None = None

    @cached_property
    def error_bars(self) -> ErrorBars:
        """What is said of the maps beside `predicted`; read once, when the first metric asks."""
        assert self.read_error_bars is not None
        return self.read_error_bars()


class Measurement(Protocol):
    """A metric at work on the maps of one rank, which it is given once or more often."""

    def add(self, block: Block) -> None:
        """Take in some more maps, in their order."""

    def wants_another_pass(self, total: Sum) -> bool:
        """Told after each pass, on all ranks: whether all maps are to be given again."""

    def found(self) -> tuple[Rows, Any]:
        """One row a map of this rank, in the order given; and what all ranks know of all maps."""


def joined(parts: list[Rows]) -> Rows:
    """Rows of some maps after those of others; parts of no map are left out."""
    some = [part for part in parts if part]
    return {name: np.concatenate([part[name] for part in some]) for name in (some[0] if some else ())}


@dataclass(frozen=True)
class Metric(ABC):
    """One metric of one predicted quantity over all test maps; its fields are what metrics.h5 keeps.

    A field that is an array becomes a dataset, any other an attribute. Every row of a map must come from that map
    alone and every number about all maps from integers summed over ranks, so that the number of ranks changes nothing.
    """

    name: ClassVar[str]  # of its group in metrics.h5

    @classmethod
    def applies(cls, aspects: frozenset[str]) -> bool:
        """Whether there is something to measure, where predictions have these aspects (`error_bars.aspects_of`)."""
        return True

    @classmethod
    @abstractmethod
    def measurement(cls, settings: Evaluate) -> Measurement:
        """How a rank measures its maps."""

    @classmethod
    @abstractmethod
    def of_all(cls, rows: Rows, known: Any, settings: Evaluate) -> Self:
        """The metric, from the rows of all test maps and what the measurement knows of all."""

    def headline(self, sample: Sample) -> list[str]:
        """The lines that a person wants to see first; none, unless a metric has such a number."""
        return []

    def write(self, group: h5py.Group) -> None:
        """Keep it in its group of metrics.h5."""
        write_fields(group, asdict(self))

    @classmethod
    def read(cls, group: h5py.Group) -> Self:
        """What `write` kept."""
        return read_as(cls, group)


@dataclass(frozen=True)
class MapMetric(Metric):
    """A metric that is known once every map has been seen by itself."""

    @classmethod
    @abstractmethod
    def measure(cls, block: Block, settings: Evaluate) -> Rows:
        """What is to be kept of each of some maps."""

    @classmethod
    def of(cls, rows: Rows, settings: Evaluate) -> Self:
        """The metric, from what `measure` found of all test maps; its fields, unless it has others besides."""
        return cls(**rows)

    @classmethod
    def measurement(cls, settings: Evaluate) -> Measurement:
        return _RowByRow(lambda block: cls.measure(block, settings))

    @classmethod
    def of_all(cls, rows: Rows, known: None, settings: Evaluate) -> Self:
        return cls.of(rows, settings)


class _RowByRow:
    """One pass over the maps of a rank."""

    def __init__(self, measure: Callable[[Block], Rows]) -> None:
        self._measure, self._parts = measure, list[Rows]()

    def add(self, block: Block) -> None:
        self._parts.append(self._measure(block))

    def wants_another_pass(self, total: Sum) -> bool:
        return False

    def found(self) -> tuple[Rows, None]:
        return joined(self._parts), None


def write_fields(group: h5py.Group, fields: dict[str, Any]) -> None:
    """Arrays become datasets, single values attributes."""
    for name, value in fields.items():
        if not isinstance(value, np.ndarray):
            group.attrs[name] = value
            continue
        is_text = value.dtype.kind in "OU"
        dataset = group.create_dataset(name, data=value.astype(object) if is_text else value, dtype=_dtype(value))
        if name in UNITS:
            dataset.attrs["unit"] = to_file(UNITS[name])


def _dtype(value: npt.NDArray[Any]) -> Any:
    return h5py.string_dtype() if value.dtype.kind in "OU" else value.dtype


def read_fields(group: h5py.Group) -> dict[str, Any]:
    """What `write_fields` wrote; raises what the functions of hpc_massmap/hdf5.py do."""
    fields = {}
    for name, value in attributes_of(group).items():
        if not isinstance(value, str | np.generic):
            raise Unreadable(f"its attribute {name} is no single value")
        fields[name] = value if isinstance(value, str) else value.item()
    return fields | {name: values_of(dataset_of(group, name)) for name in names_in(group)}


def read_as(kind: type[T], group: h5py.Group) -> T:
    """Fields that were written of such a dataclass."""
    found, wanted = read_fields(group), [field.name for field in dataclasses.fields(kind)]
    for name in (name for name in wanted if name not in found):
        raise Unreadable(f"{group.name} has no {name}")
    return kind(**{name: found[name] for name in wanted})
