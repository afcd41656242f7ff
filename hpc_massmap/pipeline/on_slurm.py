"""Stages as jobs of a Slurm cluster that depend on each other; asked for again, those that are left.

Slurm starts each stage when what it needs has succeeded and drops it when that failed, so that a failing branch ends
alone. Which job is which stage's is kept in a file: a stage whose job still waits or runs is not submitted twice.
"""

import subprocess
from pathlib import Path

from hpc_massmap.cluster import slurm
from hpc_massmap.cluster.environment import environment
from hpc_massmap.cluster.site import Site
from hpc_massmap.errors import InputError
from hpc_massmap.pipeline.stages import Stage
from hpc_massmap.storage import read_json, write_json


def submit(
    stages: list[Stage], last: Stage | None, folder: Path, site: Path, asks: dict[str, list[str]]
) -> dict[str, tuple[str, str]]:
    """Submit what is neither done nor on its way.

    Parameters
    ----------
    last : a stage that runs when all others have ended, however they did
    folder : of logs and of the file that remembers the jobs
    asks : by stage or script (as `make_maps`, `train`), options of sbatch that it gets besides its own

    Returns
    -------
    For each stage the number of its job, or an empty one, and 'submitted', 'on its way' or 'done'.

    Raises
    ------
    InputError
        If Slurm refuses a job or there is no such script; those before it stay submitted, and the next call finds them.
    """
    remembered = folder / "jobs.json"
    jobs: dict[str, str] = read_json(remembered) if remembered.exists() else {}
    alive = {job.partition("_")[0] for job in slurm.in_queue()}
    told: dict[str, tuple[str, str]] = {}
    for stage in [*stages, *([last] if last else [])]:
        if stage.is_done and stage is not last:
            told[stage.name] = "", "done"
            continue
        renewed = any(told[name][1] == "submitted" for name in stage.after)
        if jobs.get(stage.name) in alive:
            if not renewed:
                told[stage.name] = jobs[stage.name], "on its way"
                continue
            slurm.cancel([jobs[stage.name]])  # it waits for a job that is no more
        needs = [told[name][0] for name in stage.after if told[name][0]]
        how = "afterany" if stage is last else "afterok"
        jobs[stage.name] = _sbatch(stage, needs, how, folder, site, asks)
        write_json(remembered, jobs)  # at once: whoever ends us here, the job is known
        told[stage.name] = jobs[stage.name], "submitted"
    return told


def of_this_job(site: Site, stages: list[Stage]) -> dict[str, list[str]]:
    """What `submit` asks for each script where what this job itself was given is all that is known of the cluster."""
    own = [f"{key}={value}" for key in ("partition", "account", "qos") if (value := getattr(site, key))]
    return {Path(stage.script[0]).stem: own for stage in stages}


def _sbatch(stage: Stage, needs: list[str], how: str, folder: Path, site: Path, asks: dict[str, list[str]]) -> str:
    if not Path(stage.script[0]).exists():
        raise InputError(f"{stage.script[0]}: no such batch script here; massmap configs copy slurm puts it here")
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    script = Path(stage.script[0]).stem
    command = ["sbatch", "--parsable", f"--job-name={stage.name}", f"--output={folder / 'logs' / stage.name}.log"]
    command += [f"--comment={slurm.MARK}", "--open-mode=append", f"--export=ALL,SITE={site.resolve()}"]
    if needs:
        command += [f"--dependency={how}:{':'.join(needs)}", "--kill-on-invalid-dep=yes"]
    command += [f"--{option}" for name in (script, stage.name) for option in asks.get(name, [])]
    done = subprocess.run([*command, *stage.script], env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{stage.name}: sbatch: {slurm.reason(done.stderr)}")
    return done.stdout.strip().partition(";")[0]
