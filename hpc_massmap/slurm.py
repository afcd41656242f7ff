"""What we ask Slurm itself: is a site's request possible, and which of our jobs are still there.

`squeue` decides whether a job is over, not accounting: a job that Slurm requeues is still there, and not every
cluster keeps accounts.
"""

import shutil
import subprocess
import time

from hpc_massmap.config import Site
from hpc_massmap.errors import InputError

SECONDS_BETWEEN_CALLS = 5.0  # to squeue, for all jobs together
TIMEOUT = 60.0

_seen: tuple[float, set[str]] = (float("-inf"), set())


def check_site(site: Site, script: str) -> None:
    """Whether Slurm would take a batch script that asks for what the site says.

    Raises
    ------
    InputError
        One line: no Slurm, no such partition, a time above its limit, or Slurm's own reason.
    """
    if shutil.which("sbatch") is None:
        raise InputError("no Slurm here (sbatch is not on PATH); without --site jobs run on this machine")
    partitions = _partitions()
    name = site.partition or next((n for n, p in partitions.items() if p.get("Default") == "YES"), None)
    if name is None:
        raise InputError(f"site: partition: missing, and this cluster has no default; it has {', '.join(partitions)}")
    if name not in partitions:
        raise InputError(f"site: partition = {name}: no such partition; this cluster has {', '.join(partitions)}")
    limit = seconds_of(partitions[name].get("MaxTime", "UNLIMITED"))
    if limit is not None and 60 * site.minutes > limit:
        raise InputError(f"site: minutes = {site.minutes}: partition {name} allows {limit // 60:.0f}")
    tested = subprocess.run(
        ["sbatch", "--test-only"], input=script, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if tested.returncode:
        said = [line.rpartition("error: ")[2] for line in tested.stderr.splitlines() if line.strip()]
        reason = next((line for line in said if not line.startswith("Batch job submission failed")), "no reason given")
        reason = next((line.rpartition("failure: ")[2] for line in reversed(said) if "failure: " in line), reason)
        raise InputError(f"site: Slurm refuses such a job in partition {name}: {reason}")


def _partitions() -> dict[str, dict[str, str]]:
    rows = [row.split() for row in _ask("scontrol", "show", "partition", "--oneliner").splitlines()]
    fields = [dict(word.partition("=")[::2] for word in row) for row in rows]
    return {partition["PartitionName"]: partition for partition in fields if "PartitionName" in partition}


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
    """Our jobs that wait, run or are about to run again; arrays by task, like 12_0. At most some seconds old."""
    global _seen
    if time.monotonic() - _seen[0] > SECONDS_BETWEEN_CALLS:
        rows = _ask("squeue", "--me", "--noheader", "--array", "--format=%F %K").splitlines()
        pairs = [row.split() for row in rows if row.strip()]
        _seen = time.monotonic(), {job if task == "N/A" else f"{job}_{task}" for job, task in pairs}
    return _seen[1]


def expect(jobs: list[str]) -> None:
    """Jobs that were just submitted: in the queue, whatever squeue said before."""
    _seen[1].update(jobs)


def cancel(jobs: list[str], waiting_only: bool = False) -> None:
    """End jobs, or only those that have not started."""
    if jobs:
        states = ["--state=PENDING"] if waiting_only else []
        subprocess.run(["scancel", "--quiet", *states, *jobs], timeout=TIMEOUT, check=False)


def _ask(*command: str) -> str:
    """What a command of Slurm prints; a controller that is busy or restarts is asked again."""
    for pause in (1, 5, 25, 0):
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if done.returncode == 0:
            return done.stdout
        time.sleep(pause)
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    raise InputError(f"{command[0]}: {lines[-1]}")
