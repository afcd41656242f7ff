"""The site file: how a cluster is asked for a worker or a training, one file a cluster."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from hpc_massmap.config import LARGEST, Config, Count, Database, Positive, Section
from hpc_massmap.errors import InputError
from hpc_massmap.yamlfile import load_yaml, validated

OWN_OPTIONS = (
    *("partition", "account", "qos", "constraint", "nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "mem"),
    *("mem-per-cpu", "gpus", "gpus-per-node", "gpus-per-task", "gres", "time", "signal", "requeue", "no-requeue"),
    *("array", "output", "error", "open-mode", "job-name", "wrap", "test-only", "parsable"),
)


class Site(Section):
    """One cluster: what a worker or a training asks Slurm for, and what its shell needs first."""

    partition: str | None = None
    """of Slurm; none: its default"""
    account: str | None = None
    """that is charged"""
    qos: str | None = None
    """quality of service"""
    constraint: str | None = None
    """features of nodes, as sbatch takes them"""
    nodes: Count = 1
    """of each worker or training"""
    tasks_per_node: Count | None = None
    """ranks on each node; None: tune.ranks or train.ranks of the config, spread"""
    gpus_per_task: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    """GPUs of each rank"""
    cpus_per_task: Count = 1
    """cores of each rank"""
    mem_gb: Positive = 4
    """on each node"""
    minutes: Count = 60
    """of each job"""
    signal_seconds: Count = 120
    """before the end of its time that a job is told"""
    setup: list[str] = Field(default=[])
    """shell lines: modules, environment"""
    sbatch: dict[str, Any] = Field(default={})
    """what else to ask sbatch, by long option; true for one without value"""
    container: Path | None = None
    """the Apptainer image that workers and trainings run in"""
    database: Database | None = None
    """in place of the run's own"""

    @model_validator(mode="after")
    def _asks_once(self) -> Self:
        taken = [option for option in self.sbatch if option.lstrip("-").replace("_", "-") in OWN_OPTIONS]
        if taken:
            raise ValueError(f"sbatch.{taken[0]}: a key of the site's own says that, or the suite decides it")
        for option, value in self.sbatch.items():
            if value is False or not isinstance(value, str | int):
                raise ValueError(f"sbatch.{option}: must be text or a number, or true for an option without a value")
        return self

    @model_validator(mode="after")
    def _told_after_its_start(self) -> Self:
        if self.signal_seconds >= 60 * self.minutes:
            raise ValueError(f"signal_seconds = {self.signal_seconds}: must be less than the {self.minutes} minutes")
        return self


def load_site(path: Path) -> Site:
    """Read a site file; its errors are those of `load_config`."""
    data = load_yaml(path)
    if _is_of(data, Config, Site):
        raise InputError(f"{path}: a config, not a site file; see configs/sites/template.yaml")
    return validated(Site, data, {}, str(path))


def refuse_site(path: Path) -> None:
    """Raise an InputError if a site file was given in place of a config."""
    if _is_of(load_yaml(path), Site, Config):
        raise InputError(f"{path}: a site file, not a config; give it with --site")


def _is_of(data: dict[str, Any], schema: type[Section], wanted: type[Section]) -> bool:
    """Whether these are the keys of one kind of file where another is wanted."""
    keys = data.keys() - {"extends"}
    return keys <= schema.model_fields.keys() and not keys <= wanted.model_fields.keys()
