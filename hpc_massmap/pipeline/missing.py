"""Why something of the paper is missing: the last words of the stage that each branch ended with."""

from pathlib import Path

from hpc_massmap.pipeline.stages import Stage


def why_missing(stages: list[Stage], logs: Path) -> list[str]:
    """A line for each stage that is not done though all that it needs is; `logs` has a file a stage."""
    done = {stage.name for stage in stages if stage.is_done}
    ends = [stage.name for stage in stages if not stage.is_done and done.issuperset(stage.after)]
    return [f"{name} is not done: {last_words(logs / f'{name}.log')}" for name in ends]


def last_words(log: Path) -> str:
    """The last line of a stage's log, in which it or Slurm says how it ended, and where the rest is."""
    if not log.exists():
        return f"it has not begun ({log})"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{lines[-1] if lines else 'it said nothing'}; all of it is in {log}"
