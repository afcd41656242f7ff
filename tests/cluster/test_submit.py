"""Jobs of this machine and of a Slurm that is only a few scripts: who is there, who has ended, and why."""

import collections
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import submitit

from hpc_massmap.cluster import slurm, submit
from hpc_massmap.cluster.executor import executor_of, prepare_rank
from hpc_massmap.cluster.requeue import handing_over
from hpc_massmap.cluster.site import Site
from hpc_massmap.config import load_config
from hpc_massmap.errors import InputError
from hpc_massmap.progress import Bar
from hpc_massmap.storage import read_json
from hpc_massmap.train.final import follow
from hpc_massmap.train.meeting import own_rank
from tests.patience import wait_until, within
from tests.synthetic import write_synthetic_maps
from tests.test_jobs import CONFIG


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on the PATH, and a launcher that has asked Slurm nothing yet."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "_seen", (float("-inf"), None))
    monkeypatch.setattr(slurm, "PAUSES", (0.0, 0.0, 0.0))
    return folder


def program(folder: Path, name: str, text: str) -> None:
    """A program that counts its calls in a file and then does as it is told."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho >> "$0.calls"\ncalls=$(wc -l < "$0.calls")\n{text}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def calls(folder: Path, name: str) -> int:
    return len((folder / f"{name}.calls").read_text())


def submit_here(function: Any, *arguments: Any, logs: Path, ranks: int = 1) -> submit.Job:
    (job,) = submit.submit(function, *arguments, name="x", logs=logs, copies=1, ranks=ranks, site=None)
    return job


def test_squeue_is_asked_once_for_all_jobs_and_looks(programs: Path, tmp_path: Path) -> None:
    program(
        programs, "squeue", "for n in $(seq 0 98); do echo '7|'$n'|None|'; done; echo '9|N/A|Resources|hpc_massmap'"
    )
    jobs: list[submit.Job] = [submitit.SlurmJob(tmp_path, name) for name in [*(f"7_{n}" for n in range(100)), "9"]]
    for _ in range(20):
        assert [job.job_id for job in jobs if submit.ended(job)] == ["7_99"]
    assert calls(programs, "squeue") == 1


def test_a_controller_that_is_away_takes_no_job_along(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    program(programs, "squeue", away)
    with pytest.raises(InputError, match=r"^squeue: Unable to contact slurm controller \(connect failure\)$"):
        slurm.in_queue()
    program(programs, "squeue", "echo '7|0|None|mine|too'")
    assert slurm.in_queue() == {"7_0"}
    slurm.expect(["8"])
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_CALLS", -1.0)
    program(programs, "squeue", away)
    assert slurm.in_queue() == {"7_0", "8"}
    program(programs, "squeue", "")
    assert slurm.in_queue() == set()


def test_a_submission_outlasts_a_restart_of_the_controller(programs: Path, tmp_path: Path) -> None:
    away = "echo 'sbatch: error: Batch job submission failed: Unable to contact slurm controller' >&2; exit 1"
    program(programs, "srun", "")
    program(programs, "sbatch", f"[ $calls -gt 2 ] || {{ {away}; }}; echo Submitted batch job 12")
    names = {"name": "x", "logs": tmp_path / "logs", "ranks": 1, "site": Site()}
    jobs = submit.submit(time.sleep, 0, copies=2, **names)  # type: ignore[arg-type]
    assert [job.job_id for job in jobs] == ["12_0", "12_1"]
    assert calls(programs, "sbatch") == 3
    program(programs, "sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    with pytest.raises(InputError, match=r"^Slurm refused the job: invalid partition specified: x; check the site"):
        submit.submit(time.sleep, 0, copies=2, **names)  # type: ignore[arg-type]
    assert calls(programs, "sbatch") == 4


def test_a_training_that_slurm_took_away_is_told_from_one_that_failed(programs: Path, tmp_path: Path) -> None:
    job: submit.Job = submitit.SlurmJob(tmp_path, "7")
    config, bar = load_config(Path("configs/multi3.yaml")), Bar("training", 1, "epochs", show=False)
    program(programs, "squeue", "")
    program(programs, "scontrol", "echo JobId=7 JobState=PREEMPTED Reason=None ExitCode=0:15")
    assert not follow(job, config, tmp_path, bar)
    program(programs, "scontrol", "echo JobId=7 JobState=OUT_OF_MEMORY Reason=OutOfMemory ExitCode=0:125")
    with pytest.raises(InputError, match=r"Slurm says OUT_OF_MEMORY, exit code 0:125 \(OutOfMemory\); it "):
        follow(job, config, tmp_path, bar)
    program(programs, "scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    program(programs, "sacct", "echo 'NODE_FAIL|1:0|None'")
    assert not follow(job, config, tmp_path, bar)
    job.paths.result_pickle.touch()  # it had ended before
    assert not submit.was_taken(job)


def hand_over() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    try:
        with handing_over():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_job_that_hands_over_is_done_only_if_it_is_requeued(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = "echo 'slurm_requeue error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    program(programs, "scontrol", f"[ $calls -gt 2 ] || {{ {away}; }}; [ \"$*\" = 'requeue 7' ]")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(SystemExit) as requeued:
        hand_over()
    assert (requeued.value.code, calls(programs, "scontrol")) == (0, 3)
    program(programs, "scontrol", "echo 'Job is pending execution for job 7' >&2; exit 1")  # Slurm was faster
    with pytest.raises(SystemExit) as requeued:
        hand_over()
    assert requeued.value.code == 0
    program(programs, "scontrol", "echo 'Requested operation is presently disabled for job 7' >&2; exit 1")
    with pytest.raises(
        InputError, match=r"^job 7 is not requeued \(scontrol: Requested operation is presently disabled"
    ):
        hand_over()
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(SystemExit) as ended:
        hand_over()
    assert ended.value.code == 143


def test_no_slurm_is_told_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"^no Slurm here \(sbatch is not on PATH\); without --site jobs run on this"):
        submit.check_site("x", tmp_path, 1, 1, Site())
    with pytest.raises(InputError, match="no Slurm here"):
        submit.submit(time.sleep, 0, name="x", logs=tmp_path, copies=1, ranks=1, site=Site())


def fail_on(rank: int) -> None:
    if submitit.JobEnvironment().global_rank == rank:
        raise ValueError("no luck")


def test_the_rank_that_failed_is_named(tmp_path: Path) -> None:
    job = submit_here(fail_on, 1, logs=tmp_path, ranks=2)
    wait_until(lambda: submit.ended(job), "the job to end")
    (again,) = submit.reattach([job.job_id], tmp_path, 2, None)
    expected = f"job {job.job_id}: ValueError: no luck; its log is {tmp_path}/{job.job_id}_1_log.err"
    assert submit.failure(job) == submit.failure(again) == expected


def test_a_local_job_is_found_and_ended_by_another_launcher(tmp_path: Path) -> None:
    job = submit_here(time.sleep, 300, logs=tmp_path)
    wait_until(job.paths.stderr.exists, "the job to start")
    (again,) = submit.reattach([job.job_id], tmp_path, 1, None)
    assert not submit.ended(again)
    assert submit.failure(again) is None
    submit.cancel([again])
    assert submit.ended(again)
    assert submit.ended(job)
    assert "ended without a result: killed or cancelled; its log is " in str(submit.failure(again))


def test_another_process_with_a_job_s_number_is_no_job(tmp_path: Path) -> None:
    (stranger,) = submit.reattach([str(os.getpid())], tmp_path, 1, None)
    assert submit.ended(stranger)
    submit.cancel([stranger])  # and is left alone
    assert submit.reattach([str(os.getpid())], tmp_path, 1, Site()) == []  # nor is it a job of Slurm's


class Counter:
    def __call__(self, *arguments: Any) -> tuple[Any, ...]:
        return arguments

    def checkpoint(self, *arguments: Any) -> None:
        raise AssertionError("it only has to be there: a job without one is not requeued")


def test_what_can_be_requeued_is_requeued_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    submitted = submit_here(Counter(), 1, 2, logs=tmp_path).submission()
    again = submitted._checkpoint_function()
    assert again is not None
    assert type(vars(again.function)["function"]) is Counter
    assert again.args == (1, 2)
    assert not hasattr(submit_here(time.sleep, 0, logs=tmp_path).submission().function, "checkpoint")


def test_jobs_on_one_machine_meet_at_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.update(SUBMITIT_EXECUTOR="slurm", SLURM_NTASKS="2", SLURM_JOB_NUM_NODES="1", MASTER_PORT="5")
    ports = []
    for job in range(1_000_000, 1_000_100):
        for restart in (0, 1):
            os.environ.update(SLURM_JOB_ID=str(job), SLURM_RESTART_COUNT=str(restart))
            prepare_rank()
            ports.append(int(os.environ["MASTER_PORT"]))
    assert len(set(ports)) == len(ports)
    assert all(1024 < port < 32768 for port in ports)
    assert os.environ["MASTER_ADDR"] == "127.0.0.1"


def test_ranks_left_over_in_a_shell_are_not_those_of_a_job_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    left_over = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29631"}
    monkeypatch.setattr(os, "environ", {**os.environ, **left_over, "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "7"})
    os.environ.pop("SLURM_NTASKS", None)
    prepare_rank()
    assert own_rank() == (0, 1)
    assert not left_over.keys() & os.environ.keys()


def test_a_launcher_that_was_killed_finds_its_training_again(tmp_path: Path) -> None:
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=2)
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    model = tmp_path / "runs" / "small" / "model"
    small = ["model.filters=4", "model.layers=1", "train.ranks=1"]
    command = [sys.executable, "jobs/train.py", str(config), *small]

    launcher = subprocess.Popen([*command, "train.epochs=5"])
    wait_until((model / "last.pt").exists, "a first epoch")
    launcher.kill()
    launcher.wait()
    job = read_json(tmp_path / "runs" / "small" / "logs" / "train" / "job.json")["job"]
    training = int(Path(f"/proc/{job}/task/{job}/children").read_text())
    os.kill(training, signal.SIGSTOP)
    other = subprocess.run([*command, "train.epochs=6"], capture_output=True, text=True, check=False)
    assert other.returncode == 2
    assert "trains this run with other settings; wait for it, or --force ends it" in other.stderr
    again = subprocess.Popen([*command, "train.epochs=5"], stdout=subprocess.PIPE, text=True)
    assert again.stdout
    assert "is still there; following it" in again.stdout.readline()
    os.kill(training, signal.SIGCONT)
    again.communicate(timeout=within(100))
    assert again.returncode == 0
    assert len((model / "log.csv").read_text().splitlines()) == 6


def test_a_job_that_is_interrupted_here_has_time_to_save(tmp_path: Path) -> None:
    """It is out of reach of a terminal, whose Ctrl-C would end it at once, and is told to leave."""

    def save_when_told() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        (tmp_path / "begun").touch()
        signal.sigwait([signal.SIGTERM])
        (tmp_path / "saved").touch()

    job = submit_here(save_when_told, logs=tmp_path / "logs")
    wait_until((tmp_path / "begun").exists, "the job")
    assert os.getpgid(int(job.job_id)) != os.getpgid(0)
    submit.interrupt([job])
    assert submit.ended(job)
    assert (tmp_path / "saved").exists()
    submit.interrupt([job])  # nobody is there to be told


def test_a_dry_run_here_says_what_would_be_started(tmp_path: Path) -> None:
    write_synthetic_maps(tmp_path / "maps.h5", regions=20, snapshots=1, projections=2)
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    command = [sys.executable, "jobs/train.py", str(config), "--dry-run"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    logs = tmp_path / "runs" / "small" / "logs" / "train"
    assert printed == f"train_small: would start 1 x 2 processes on this machine; their logs go to {logs}\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("allowed", "gpus"), [("", ()), ("-1", ()), ("0", (0,)), ("2, 3", (2, 3))])
def test_the_gpus_of_this_machine_are_those_allowed(
    allowed: str, gpus: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert executor_of("x", tmp_path, 1, None).parameters["visible_gpus"] == gpus


def test_gpus_that_have_names_are_not_taken_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937-d72c,1")
    with pytest.raises(InputError, match="GPU-8932f937-d72c,1: give the GPUs by their numbers"):
        executor_of("x", tmp_path, 1, None)


def test_a_job_that_slurm_never_starts_is_released_so_often_and_then_left_to_people(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_released", collections.Counter())
    monkeypatch.setattr(slurm, "SECONDS_BETWEEN_CALLS", -1.0)
    held = f"{slurm.NOT_LAUNCHED}|{slurm.MARK}"
    program(programs, "squeue", f"echo '7|0|{held}'; echo '8|N/A|{slurm.NOT_LAUNCHED}|another'; echo '9|N/A|None|x'")
    program(programs, "scontrol", 'echo "$@" >> "$0.said"')
    for _ in range(slurm.RELEASES + 3):
        assert slurm.in_queue() == {"7_0", "8", "9"}
    assert (programs / "scontrol.said").read_text() == "release 7_0\n" * slurm.RELEASES
