"""Waiting for something to become true: as short as possible, never for ever, and telling what never came."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str, seconds: float = 60, every: float = 0.05) -> Value:
    """The first true value of a condition; a TimeoutError that says what was waited for if there is none in time."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}; last seen: {value!r}")
        time.sleep(every)
    return value
