"""The scheduler's variables of a shell: they win over what a batch script says, so none of them reaches Slurm.

`SBATCH_PARTITION` of a forgotten line in somebody's .bashrc would send every worker elsewhere than the site file, and
`SQUEUE_STATES` would hide jobs that wait. Of a launcher that is a job itself, its own limits would be inherited.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SUBMITTING = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_")
ASKING = ("SQUEUE_", "SINFO_", "SACCT_", "SACCTMGR_", "SCANCEL_", "SCONTROL_")
OF_A_JOB = ("SLURM_", "SRUN_")  # Slurm itself sets these in a job
KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")  # where the controller is, and who asks


def variables() -> dict[str, str]:
    """Variables of this process' environment that a command of Slurm would heed."""
    return {
        name: value for name, value in os.environ.items() if name.startswith(SUBMITTING + ASKING) and name not in KEPT
    }


def environment() -> dict[str, str]:
    """The environment of a command of Slurm."""
    heeded = variables()
    return {name: value for name, value in os.environ.items() if name not in heeded}


def unheeded() -> str | None:
    """A line on what a person has set and the jobs of a site do not heed; None if there is nothing."""
    own = OF_A_JOB if "SLURM_JOB_ID" in os.environ else ()
    names = sorted(name for name in variables() if name.startswith(SUBMITTING) and not name.startswith(own))
    if not names:
        return None
    return f"# {', '.join(names)} of this shell: not heeded, the site file says what is asked of Slurm"


@contextmanager
def scheduler_forgotten() -> Iterator[None]:
    """A block without the scheduler's variables: jobs submitted in it ask for what their batch scripts say alone."""
    own = variables()
    for name in own:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(own)
