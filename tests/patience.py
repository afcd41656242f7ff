"""How long tests wait: until a state is reached, with limits that grow with what else the machine has to do.

A limit is what an idle machine never needs; it is there so that what hangs is told. `MASSMAP_TEST_PATIENCE` is the
factor on all of them; without it the load of the machine is. What is simulated by the clock (a lease that runs out) is
no limit, and no test asserts how fast something is: that is what `benchmarks/` measures.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def patience() -> float:
    """The factor on every limit, now: at least 2, for the load that is yet to come."""
    if told := os.environ.get("MASSMAP_TEST_PATIENCE"):
        return float(told)
    return 2 * max(1.0, max(os.getloadavg()) / (os.cpu_count() or 1))


def within(seconds: float) -> float:
    """A limit that an idle machine never needs, for this machine as it is now."""
    return seconds * patience()


def wait_until(condition: Callable[[], Value], what: str, seconds: float = 60, every: float = 0.05) -> Value:
    """The first true value of a condition; a TimeoutError that says what was waited for if there is none in time."""
    start = time.monotonic()
    while not (value := condition()):
        if (waited := time.monotonic() - start) > within(seconds):
            raise TimeoutError(f"waited {waited:.0f} s for {what}; last seen: {value!r}")
        time.sleep(every)
    return value
