"""What a hosted CI and a commit run is what runs here: the same commands, the same versions."""

import re
import tomllib
from pathlib import Path

WORKFLOW, BEFORE_COMMITS = Path(".github/workflows/ci.yml").read_text(), Path(".pre-commit-config.yaml").read_text()
MAKEFILE, PINNED = Path("Makefile").read_text(), Path("constraints.txt").read_text()


def test_the_workflow_makes_targets_that_there_are() -> None:
    made = re.findall(r"- run: make (\S+)", WORKFLOW)
    assert "test" in made
    assert [target for target in made if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []


def test_every_python_that_is_promised_is_tried() -> None:
    promised = tomllib.loads(Path("pyproject.toml").read_text())["project"]["requires-python"]
    (line,) = re.findall(r"python-version: \[(.*)\]", WORKFLOW)
    tried = [tuple(map(int, version.split("."))) for version in re.findall(r'"(\S+?)"', line)]
    assert f">={'.'.join(map(str, tried[0]))}" == promised
    assert tried == [(3, minor) for minor in range(tried[0][1], tried[-1][1] + 1)]


def test_commits_are_checked_by_the_pinned_ruff() -> None:
    (rev,) = re.findall(r"ruff-pre-commit\n    rev: v(\S+)", BEFORE_COMMITS)
    assert f"ruff=={rev}\n" in PINNED
