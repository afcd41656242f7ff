"""No variable of a shell says what is asked of Slurm, or what is seen of it."""

import os

import pytest

from hpc_massmap.cluster.environment import environment, scheduler_forgotten, unheeded


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(os, "environ", {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "SBATCH_QOS": "x"})
    os.environ |= {"SRUN_CPUS_PER_TASK": "3", "SQUEUE_STATES": "RUNNING", "SLURM_MEM_PER_CPU": "1"}
    return dict(os.environ)


def test_a_command_of_slurm_sees_none(shell: dict[str, str]) -> None:
    os.environ.pop("PYTEST_CURRENT_TEST", None)  # which pytest adds to whatever is there
    left = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf"}
    assert environment() == left
    with scheduler_forgotten():
        assert os.environ == left
    assert os.environ == shell


def test_what_a_person_set_is_named(shell: dict[str, str]) -> None:
    assert str(unheeded()).startswith("# SBATCH_QOS, SLURM_MEM_PER_CPU, SRUN_CPUS_PER_TASK of this shell: not heeded")
    os.environ["SLURM_JOB_ID"] = "7"  # in a job these are Slurm's own
    assert str(unheeded()).startswith("# SBATCH_QOS of this shell: not heeded")
    del os.environ["SBATCH_QOS"]
    assert unheeded() is None
