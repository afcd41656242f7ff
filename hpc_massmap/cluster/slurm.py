"""What we ask Slurm itself: is a site's request possible, and which of our jobs are still there.

A job that Slurm could not start, on a node that was coming or going, it holds until somebody releases it. At night
nobody would: whoever of us looks at the queue does, for all jobs that bear our mark.

`squeue` decides whether a job is over, not accounting: a job that Slurm requeues is still there, and not every
cluster keeps accounts.
"""

import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from hpc_massmap.cluster.environment import environment
from hpc_massmap.cluster.site import Site
from hpc_massmap.errors import InputError
from hpc_massmap.progress import say

MARK = "hpc_massmap"  # the comment of our jobs
NOT_LAUNCHED = "launch failed requeued held"  # why a job waits, in squeue's words
RELEASES = 20  # of one job, by one process: a job that never starts is left to people
SECONDS_BETWEEN_CALLS = 5.0  # to squeue, for all jobs together
TIMEOUT = 60.0
PAUSES = (1.0, 5.0, 25.0)  # before a controller that is busy or restarts is asked again
AWAY = ("Unable to contact slurm controller", "Socket timed out", "in standby", "temporarily unable to accept job")
NO_SUCH_NODES = "Requested node configuration is not available"
WAITS_ALREADY = "Job is pending execution"
TAKEN = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL")
UP = ("idle", "mix", "alloc", "comp", "plnd", "resv")  # states of nodes, as sinfo shortens them

_seen: tuple[float, set[str] | None] = (float("-inf"), None)  # when squeue was asked, and the jobs we know of
_released: Counter[str] = Counter()
T = TypeVar("T")


def require() -> None:
    """Raise an InputError if this machine cannot submit to Slurm."""
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            raise InputError(f"no Slurm here ({program} is not on PATH); without --site jobs run on this machine")


def check_site(site: Site, tasks: int, script: str) -> None:
    """Whether Slurm would take a batch script of `tasks` tasks on each node that asks for what the site says.

    Raises
    ------
    InputError
        One line: no such partition, a time above its limit, more than its nodes have, or Slurm's own reason.
    """
    known = partitions()
    name = site.partition or next((n for n, p in known.items() if p.get("Default") == "YES"), None)
    if name is None:
        raise InputError(f"site: partition: missing, and this cluster has no default; it has {', '.join(known)}")
    if name not in known:
        raise InputError(f"site: partition = {name}: no such partition; this cluster has {', '.join(known)}")
    limit = seconds_of(known[name].get("MaxTime", "UNLIMITED"))
    if limit is not None and 60 * site.minutes > limit:
        raise InputError(f"site: minutes = {site.minutes}: partition {name} allows {limit // 60:.0f}")
    all_up = _check_nodes(site, tasks, name) and known[name].get("State") == "UP"
    tested = _ask("sbatch", "--test-only", script=script)
    if tested.returncode and (all_up or NO_SUCH_NODES not in tested.stderr):  # nodes that are down come back
        raise InputError(f"site: Slurm refuses such a job in partition {name}: {reason(tested.stderr)}")


def partitions() -> dict[str, dict[str, str]]:
    """The partitions by name, each with what `scontrol` says of it."""
    fields = map(_fields, ask("scontrol", "show", "partition", "--oneliner").splitlines())
    return {partition["PartitionName"]: partition for partition in fields if "PartitionName" in partition}


def _fields(row: str) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in row.split())


class Nodes(NamedTuple):
    """Nodes of one kind and state."""

    number: int
    cpus: int
    memory_gb: float
    gpus: int
    state: str
    disk_gb: float


def nodes_of(partition: str) -> list[Nodes]:
    """The nodes of a partition by kind and state; none on a cluster that shows them to nobody."""
    columns = "%D|%c|%m|%G|%t|%d"
    rows = ask("sinfo", "--noheader", "--exact", f"--partition={partition}", f"--format={columns}").splitlines()
    return [
        Nodes(int(count), int(cpus), int(memory) / 1024, gpus_of(gres), state, int(disk) / 1024)
        for count, cpus, memory, gres, state, disk in (row.split("|") for row in rows)
    ]


def _check_nodes(site: Site, tasks: int, partition: str) -> bool:
    """Refuse more nodes than the partition has, or larger ones; whether all of them are up."""
    kinds = nodes_of(partition)
    if not kinds:
        return False  # a cluster that shows its nodes to nobody
    nodes, cpus = sum(kind.number for kind in kinds), max(kind.cpus for kind in kinds)
    memory, gpus = max(kind.memory_gb for kind in kinds), max(kind.gpus for kind in kinds)
    each = f"{tasks} on a node" if tasks > 1 else "on a node"
    for key, asked, needed, there in (
        ("nodes", site.nodes, site.nodes, nodes),
        ("cpus_per_task", f"{site.cpus_per_task} ({each})", site.cpus_per_task * tasks, cpus),
        ("mem_gb", site.mem_gb, site.mem_gb, memory),
        ("gpus_per_task", f"{site.gpus_per_task} ({each})", site.gpus_per_task * tasks, gpus),
    ):
        if needed > there:
            has = f"partition {partition} has" if key == "nodes" else f"the largest node of partition {partition} has"
            raise InputError(f"site: {key} = {asked}: {has} {there:.4g}")
    return all(kind.state.startswith(UP) for kind in kinds)


def gpus_of(resources: str) -> int:
    """How many GPUs a node's generic resources have, written like gpu:a100:4(S:0-1),gpu:t4:1."""
    counts = [part.partition("(")[0].split(":") for part in resources.split(",")]
    return sum(int(words[-1]) for words in counts if words[0] == "gpu" and words[-1].isdigit())


def seconds_of(clock: str) -> float | None:
    """Slurm's days-hours:minutes:seconds, hours and days left out where there are none; None for UNLIMITED."""
    days, dash, rest = clock.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdigit() for part in parts) or (dash and not days.isdigit()):
        return None
    seconds = 0
    for part in parts:
        seconds = 60 * seconds + int(part)
    return float(seconds + 86400 * int(days or 0))


def in_queue() -> set[str]:
    """Our jobs that wait, run or are about to run again; arrays by task, like 12_0. At most some seconds old.

    Raises
    ------
    InputError
        If Slurm does not answer and never has; later, what was there is still there for all we know.
    """
    global _seen
    when, jobs = _seen
    if jobs is None or time.monotonic() - when > SECONDS_BETWEEN_CALLS:
        try:
            rows = ask("squeue", "--me", "--noheader", "--array", "--format=%F|%K|%r|%k").splitlines()
        except InputError:
            if jobs is None:
                raise
        else:
            fields = [row.split("|", 3) for row in rows if row.strip()]
            names = [job if task == "N/A" else f"{job}_{task}" for job, task, _, _ in fields]
            _release(name for name, row in zip(names, fields, strict=True) if row[2:] == [NOT_LAUNCHED, MARK])
            jobs = set(names)
        _seen = time.monotonic(), jobs
    return jobs


def _release(jobs: Iterable[str]) -> None:
    for job in jobs:
        if _released[job] < RELEASES:
            _released[job] += 1
            say(f"Slurm could not start job {job} and holds it; it is released")
            _ask("scontrol", "release", job)


def expect(jobs: list[str]) -> None:
    """Jobs that were just submitted: in the queue, whatever squeue said before."""
    global _seen
    _seen = _seen[0], (_seen[1] or set()) | set(jobs)


def fields_of(job: str) -> dict[str, str]:
    """What the controller knows of a job, by its own names; empty of one that ended long ago."""
    try:
        return _fields(ask("scontrol", "show", "job", "--oneliner", job).partition("\n")[0])
    except InputError:
        return {}


def end_of(job: str) -> str | None:
    """How a job ended in Slurm's words, as "TIMEOUT, exit code 0:15 (TimeLimit)"; None if nobody knows.

    The controller forgets jobs after some minutes, accounting is late by some seconds and not on every cluster.
    """
    known = fields_of(job)
    state, code, why = known.get("JobState"), known.get("ExitCode", "?"), known.get("Reason", "None")
    if state is None:
        try:
            rows = ask("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode,Reason").splitlines()
        except InputError:
            return None
        state, code, why = [*(rows or ["||"])[-1].split("|"), "", ""][:3]
    if not state:
        return None
    return f"{state}, exit code {code}{'' if why in ('', 'None') else f' ({why})'}"


def was_taken(job: str) -> bool:
    """Whether Slurm ended a job for reasons of its own, and for good: a preemption that cancels, a dead node."""
    return (end_of(job) or "").startswith(TAKEN)


def cancel(jobs: list[str], waiting_only: bool = False) -> None:
    """End jobs, or only those that have not started."""
    if jobs:
        states = ["--state=PENDING"] if waiting_only else []
        _ask("scancel", "--quiet", *states, *jobs)


def requeue(job: str) -> None:
    """Have a job start again; if it is our own, Slurm may end us before this returns.

    Raises
    ------
    InputError
        If Slurm does not.
    """
    done = _ask("scontrol", "requeue", job)
    if done.returncode and WAITS_ALREADY not in done.stderr:  # as after a preemption, which Slurm itself requeues
        raise InputError(f"scontrol: {reason(done.stderr)}")


def patiently(attempt: Callable[[], T], error: type[Exception]) -> T:
    """Make an attempt, again while its error says that Slurm's controller is away; returns what it returns."""
    for pause in PAUSES:
        try:
            return attempt()
        except error as failed:
            if not any(words in str(failed) for words in AWAY):
                raise
        time.sleep(pause)
    return attempt()


def reason(said: str) -> str:
    """The line that matters in what a command of Slurm says as it fails."""
    lines = [line.rpartition("error: ")[2].strip() for line in said.splitlines() if line.strip()]
    causes = [line.rpartition("failure: ")[2] for line in lines if "failure: " in line]
    others = [line for line in lines if not line.startswith("Batch job submission failed")]
    return (causes or others or lines or ["no reason given"])[-1]


def ask(*command: str) -> str:
    """What a command of Slurm prints; an InputError if it fails for good."""
    done = _ask(*command)
    if done.returncode:
        raise InputError(f"{command[0]}: {reason(done.stderr)}")
    return done.stdout


def _ask(*command: str, script: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command of Slurm, again if the controller is away."""

    def attempt() -> "subprocess.CompletedProcess[str]":
        try:
            done = subprocess.run(
                command, env=environment(), input=script, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise InputError(f"{command[0]}: {AWAY[0]} in {TIMEOUT:.0f} s") from None
        if done.returncode and any(words in done.stderr for words in AWAY):
            raise InputError(f"{command[0]}: {reason(done.stderr)}")
        return done

    return patiently(attempt, InputError)
