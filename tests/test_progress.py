"""What a step says of its progress: the time of day, ever more seldom, and one time left."""

import re
import time

import pytest

from hpc_massmap.progress import Bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_lines_carry_the_time_and_what_is_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar("training", 10, "epochs", show=True)
    clock[0] += 40
    bar.update(1, "fast")
    line = capsys.readouterr().out
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d training: 1/10 epochs, 0:00:40, 0:06:00 left  fast\n", line)
    clock[0] += 40
    bar.update(1, left=5.0)
    assert "0:00:05 left" in capsys.readouterr().out
    bar.update(10)
    bar.print_line()
    assert "left" not in capsys.readouterr().out


def test_days_of_work_have_hundreds_of_lines_not_thousands(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Bar("training", 1000, "epochs", show=True)
    for second in range(2 * 24 * 3600):
        clock[0] = 1000.0 + second
        bar.update(second // 200)
    lines = capsys.readouterr().out.splitlines()
    assert 100 < len(lines) < 400
    assert len([line for line in lines[:4] if "0:00:" in line]) == 4  # the first ones come soon
