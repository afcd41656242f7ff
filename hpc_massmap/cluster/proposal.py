"""A site where nobody has written one: proposed from what Slurm says of the cluster, or of the job that asks.

`--site auto` takes the cluster's own file, which massmap site writes once; else a job proposes for itself, from its
partition, account, QoS, constraint and GPUs. A worker then is one GPU, or some CPUs where the nodes have none, with its
share of the smallest node.
"""

import getpass
import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hpc_massmap.cluster import slurm
from hpc_massmap.cluster.site import Site, load_site
from hpc_massmap.config import Database
from hpc_massmap.errors import InputError
from hpc_massmap.progress import say
from hpc_massmap.storage import write_text
from hpc_massmap.yamlfile import dump_yaml

AUTO, OWN = Path("auto"), Path("configs/sites/local.yaml")
MOST_CPUS, MOST_GB, MOST_MINUTES = 8, 32.0, 1440  # a worker needs no more
CPUS_WITHOUT_GPU = 4
NOTICE = 300  # seconds: an epoch of The300's maps takes two minutes on an A100
FAST = ("ib", "hsn", "opa")  # interfaces of networks that are made for this


@dataclass(frozen=True)
class Proposal:
    """A site, and what its author should know of the cluster besides."""

    site: Site
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The site file."""
        notes = "".join(f"# {note}\n" for note in self.notes)
        return f"{notes}{dump_yaml(self.site.model_dump(mode='json', exclude_defaults=True, exclude_unset=True))}"


def site_at(path: Path) -> Site:
    """The site of a file; of `auto` the cluster's own, else one derived from the job that asks, which says so.

    Raises
    ------
    InputError
        Besides those of `load_site`: if there is no own one, and this is no job.
    """
    if path != AUTO:
        return load_site(path)
    if not is_derived(path):
        say(f"site: {OWN}")
        return load_site(OWN)
    if "SLURM_JOB_ID" not in os.environ:
        raise InputError(f"--site auto: no {OWN} here, and this is no job to learn from; massmap site writes one")
    proposal = propose_for_job(os.environ["SLURM_JOB_ID"])
    asked = proposal.site.model_dump(mode="json", exclude_unset=True, exclude={"database", "setup"})
    say(f"site: no {OWN}; derived from this job: {', '.join(f'{key} {value}' for key, value in asked.items())}")
    return proposal.site


def is_derived(path: Path) -> bool:
    """Whether the site at a path is derived from a job."""
    return path == AUTO and not OWN.exists()


def file_of(path: Path, site: Site, folder: Path) -> Path:
    """The file of a site; a derived one is written into a folder first, for other jobs."""
    if not is_derived(path):
        return OWN if path == AUTO else path
    write_text(folder / "site.yaml", Proposal(site, ["derived from a job of its own"]).text())
    return folder / "site.yaml"


def propose(partition: str | None = None) -> Proposal:
    """A site for a partition; without one for the default, or the first that has GPUs if the default has none.

    Raises
    ------
    InputError
        If Slurm does not answer, or has no such partition.
    """
    partitions = slurm.partitions()
    if partition is not None and partition not in partitions:
        raise InputError(f"--partition {partition}: no such partition; this cluster has {', '.join(partitions)}")
    shares = {name: _share(name) for name in partitions}
    if partition is None:
        by_default = sorted(partitions, key=lambda name: partitions[name].get("Default") != "YES")
        partition = next((name for name in by_default if shares[name].get("gpus_per_task")), by_default[0])
    notes = [f"proposed by massmap site; look at it, and at configs/sites/template.yaml. {_said_of(partitions)}"]
    values = {"partition": partition, **shares[partition], **_times(partitions[partition])}
    accounts = _accounts()
    if len(accounts) > 1:
        values["account"] = accounts[0]
    notes += [f"accounts of yours: {', '.join(accounts)}"] if accounts else []
    notes += _said_of_preemption(partitions[partition])
    notes += _said_of_disks(partition)
    return Proposal(_site(values), notes)


def propose_for_job(job: str) -> Proposal:
    """A site from what a job itself has: partition, account, QoS, constraint and GPUs a task.

    Raises
    ------
    InputError
        If Slurm does not know it.
    """
    known = slurm.fields_of(job)
    partition = os.environ.get("SLURM_JOB_PARTITION") or known.get("Partition", "")
    partitions = slurm.partitions()
    if partition not in partitions:
        raise InputError(f"--site auto: Slurm does not say in which partition job {job} is; write {OWN}")
    values = {"partition": partition, **_share(partition, _gpus_of_job(known)), **_times(partitions[partition])}
    for key, name in (("account", "Account"), ("qos", "QOS"), ("constraint", "Features")):
        if known.get(name, "") not in ("", "(null)", "N/A"):
            values[key] = known[name]
    return Proposal(_site(values))


def _site(values: dict[str, Any]) -> Site:
    networks = sorted(path.name for path in Path("/sys/class/net").glob("*") if path.name.startswith(FAST))
    if networks and not os.environ.get("NCCL_SOCKET_IFNAME"):
        values["setup"] = [f"export {library}_SOCKET_IFNAME={networks[0]}" for library in ("NCCL", "GLOO")]
    values["database"] = Database(kind="embedded" if find_spec("fiftyone") else "mongod", bind="0.0.0.0")
    return Site(**values)


def _gpus_of_job(known: dict[str, str]) -> int | None:
    """GPUs of each task of a job that asked for some."""
    if asked := os.environ.get("SLURM_GPUS_PER_TASK", ""):
        return int(asked.rpartition(":")[2])
    on_node = os.environ.get("SLURM_GPUS_ON_NODE") or slurm.gpus_of(known.get("TresPerNode", "").replace("gres:", ""))
    tasks = max(1, int(os.environ.get("SLURM_NTASKS", "1")) // max(1, int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))))
    return max(1, int(on_node) // tasks) if on_node else None


def _share(partition: str, gpus_per_task: int | None = None) -> dict[str, Any]:
    """What a worker gets of the smallest node of a partition that has GPUs, if any has."""
    nodes = slurm.nodes_of(partition)
    with_gpus = [node for node in nodes if node.gpus]
    if not nodes:
        return {"gpus_per_task": gpus_per_task or 0}  # a cluster that shows its nodes to nobody
    smallest = min(with_gpus or nodes, key=lambda node: (node.cpus, node.memory_gb))
    gpus = gpus_per_task or (1 if with_gpus else 0)
    part = gpus / smallest.gpus if smallest.gpus else min(1, CPUS_WITHOUT_GPU / smallest.cpus)
    return {
        "gpus_per_task": gpus,
        "cpus_per_task": max(1, min(MOST_CPUS, int(smallest.cpus * part))),
        "mem_gb": min(MOST_GB, int(9 * smallest.memory_gb * part) / 10),  # the system needs some
    }


def _times(partition: dict[str, str]) -> dict[str, int]:
    limit = slurm.seconds_of(partition.get("MaxTime", "UNLIMITED"))
    minutes = MOST_MINUTES if limit is None else max(1, min(MOST_MINUTES, int(limit / 60)))
    grace = int(partition.get("GraceTime", "0"))
    return {"minutes": minutes, "signal_seconds": max(1, min(NOTICE, grace or NOTICE, 15 * minutes))}


def _accounts() -> list[str]:
    """The accounts that may be charged, the default one first; none where nobody is asked."""
    command = ("sacctmgr", "--noheader", "--parsable2", "show")
    try:
        default = slurm.ask(*command, "user", getpass.getuser(), "format=DefaultAccount").split()
        rows = slurm.ask(*command, "assoc", f"user={getpass.getuser()}", "format=Account").split()
    except (InputError, OSError):
        return []
    return list(dict.fromkeys([*default, *rows]))


def _said_of(partitions: dict[str, dict[str, str]]) -> str:
    return "Partitions: " + ", ".join(f"{name} ({fields.get('MaxTime')})" for name, fields in partitions.items())


def _said_of_preemption(partition: dict[str, str]) -> list[str]:
    mode, grace = partition.get("PreemptMode", "OFF"), partition.get("GraceTime", "0")
    if mode == "OFF":
        return ["preemption: none of jobs of this partition"]
    return [f"preemption: {mode}, {grace} s after the notice; the launcher belongs into a partition without"]


def _said_of_disks(partition: str) -> list[str]:
    local = min((node.disk_gb for node in slurm.nodes_of(partition)), default=0.0)
    if not local:
        return ["the nodes have no local disk that Slurm knows of"]
    return [f"local disk of a node: {local:.0f} GB; its path can be database.data if the runs are on NFS or Lustre"]
