"""Stages one after the other on this machine; when one fails, only those that depend on it are left out."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from hpc_massmap.pipeline.missing import last_words
from hpc_massmap.pipeline.stages import Stage


def run_here(stages: list[Stage], logs: Path, on_stage: Callable[[str, str], None]) -> list[str]:
    """Run each stage that is not done and whose needs have succeeded.

    Parameters
    ----------
    on_stage : told the name of each stage, and what became of it

    Returns
    -------
    The stages that failed or could not be run.
    """
    logs.mkdir(parents=True, exist_ok=True)
    lost: list[str] = []
    for stage in stages:
        missing = [name for name in stage.after if name in lost]
        if missing:
            lost.append(stage.name)
            on_stage(stage.name, f"not run: it needs {missing[0]}")
            continue
        if stage.is_done:
            on_stage(stage.name, "already done")
            continue
        log = logs / f"{stage.name}.log"
        code = _run(stage.jobs, log)
        if code:
            lost.append(stage.name)
        on_stage(stage.name, f"failed: {last_words(log)}" if code else "done")
    return lost


def run_in_sight(stages: list[Stage], on_stage: Callable[[str, str], None]) -> int:
    """Run each stage that is not done, its words on this terminal; the exit code of the job that failed, or 0."""
    for stage in stages:
        on_stage(stage.name, "already done" if stage.is_done else "begins")
        code = 0 if stage.is_done else _run(stage.jobs, None)
        if code:
            return code
    return 0


def _run(jobs: list[list[str]], log: Path | None) -> int:
    with nullcontext() if log is None else log.open("a", encoding="utf-8") as output:
        for job in jobs:
            running = subprocess.Popen([sys.executable, *job], stdout=output, stderr=output and subprocess.STDOUT)
            try:
                code = running.wait()
            except SystemExit:  # TERM came to us alone; Ctrl-C comes to all that a terminal runs
                running.terminate()
                raise
            finally:
                running.wait()  # it shuts down what it started
            if code:
                return code
    return 0
