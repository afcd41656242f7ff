"""metrics.h5: every number of an evaluation, one row a test map, so that no later step computes any again.

/maps/{row,halo,projection,m200,r200,redshift,simulation,region}    which map each row is about
/<target>/pixels/{whole,r500,half_r500}         percentiles and density of D over all maps, histograms of each
/<target>/NAME                                 the fields of every other metric of registry.py that applies
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import Unreadable, attribute_of, group_of, names_in, new_hdf5, opened
from hpc_massmap.metrics import registry
from hpc_massmap.metrics.metric import Metric, read_fields, write_fields
from hpc_massmap.metrics.sample import Sample

M = TypeVar("M", bound=Metric)


class TargetMetrics:
    """The metrics of one predicted quantity, each found by its class: `targets["mass"][Profiles].bias`."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._by_class = {type(metric): metric for metric in metrics}

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._by_class.values())

    def __getitem__(self, kind: type[M]) -> M:
        found = self._by_class[kind]
        assert isinstance(found, kind)
        return found

    def find(self, kind: type[M]) -> M | None:
        """The same, but None of a metric that does not apply to these predictions."""
        return self[kind] if kind in self._by_class else None


@dataclass(frozen=True)
class Metrics(Sample):
    """An evaluation.

    Attributes
    ----------
    targets : predicted quantity -> its metrics
    """

    targets: dict[str, TargetMetrics]


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write metrics.h5, whole or not at all."""
    with new_hdf5(path) as file:
        file.attrs["name"] = metrics.name
        file.attrs["maps_digest"] = metrics.maps_digest
        file.attrs["mass_intervals"] = metrics.mass_intervals
        file.attrs["targets"] = list(metrics.targets)
        write_fields(file.create_group("maps"), metrics.maps)
        for target, metrics_of_target in metrics.targets.items():
            for metric in metrics_of_target:
                metric.write(file.create_group(f"{target}/{metric.name}"))


def read_metrics(path: Path) -> Metrics:
    """Read metrics.h5.

    Raises
    ------
    InputError
        If it is missing, truncated or not such a file.
    """
    complaint = f"{path}: not a readable file of metrics; run massmap evaluate again"
    with opened(path, complaint, f"{path}: no such file; run massmap evaluate first") as file:
        edges = np.asarray(attribute_of(file, "mass_intervals"))
        if edges.dtype.kind not in "fiu" or edges.ndim != 1:
            raise Unreadable("its attribute mass_intervals has no numbers")
        targets = np.atleast_1d(attribute_of(file, "targets")).tolist()
        return Metrics(
            name=str(attribute_of(file, "name")),
            maps_digest=str(attribute_of(file, "maps_digest")),
            mass_intervals=edges.astype(float).tolist(),
            maps=read_fields(group_of(file, "maps")),
            targets={str(name): _read_target(path, group_of(file, str(name))) for name in targets},
        )


def _read_target(path: Path, group: h5py.Group) -> TargetMetrics:
    found = names_in(group)
    for metric in registry.METRICS:
        if metric.name not in found and metric.applies(frozenset()):
            raise InputError(f"{path}: was written without the metric {metric.name!r}; run massmap evaluate --force")
    there = [metric for metric in registry.METRICS if metric.name in found]
    return TargetMetrics(metric.read(group_of(group, metric.name)) for metric in there)
