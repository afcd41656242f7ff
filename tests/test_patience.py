"""Every limit in the tests is one of `tests/patience.py`, so that a busy machine fails none of them."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patience, wait_until, within

OWN = {"patience.py", "test_patience.py"}
CLOCKS = {"monotonic", "perf_counter", "perf_counter_ns", "process_time"}
WAITS = {"wait", "join", "communicate", "result", "get"}


def limits_in(source: str) -> Iterator[str]:
    """Where a test waits for a number of seconds that is its own, or reads a clock."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        given = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
        given += node.args[:1] if name in WAITS and not node.keywords else []
        numbers = [value.value for value in given if isinstance(value, ast.Constant) and value.value]
        if name in CLOCKS or any(isinstance(number, int | float) for number in numbers):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_limit_is_a_test_s_own() -> None:
    paths = [path for path in Path("tests").rglob("*.py") if path.name not in OWN]
    assert not [f"{path}, {limit}" for path in paths for limit in limits_in(path.read_text())]


@pytest.mark.parametrize(
    "line",
    ["run(x, timeout=60)", "job.wait(30)", "job.wait(timeout=30)", "x = time.monotonic() + 9", "taken.get(timeout=2)"],
)
def test_a_limit_of_its_own_is_found(line: str) -> None:
    assert list(limits_in(line))
    assert not list(limits_in("run(x, timeout=within(60)); job.wait(within(30)); FileLock(x, timeout=0); d.get('key')"))


def test_patience_grows_with_the_load_unless_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASSMAP_TEST_PATIENCE", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.2, 0.3))
    assert patience() == 2
    monkeypatch.setattr(os, "getloadavg", lambda: (20.0, 10.0, 4.0))
    assert within(60) == 1200
    monkeypatch.setenv("MASSMAP_TEST_PATIENCE", "0.5")
    assert within(60) == 30
    with pytest.raises(TimeoutError, match="for a state that never comes; last seen: None"):
        wait_until(lambda: None, "a state that never comes", 0.01)
