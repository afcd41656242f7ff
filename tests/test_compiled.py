"""Numba's cache is a convenience: without a place for it everything still runs."""

import pytest
from numba.core import caching

from hpc_massmap.compiled import compiled


def double(number: float) -> float:
    return 2 * number


def test_without_a_place_for_the_cache_it_is_compiled_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    machine = compiled(nogil=True)(double)
    assert machine is not double
    assert machine(21.0) == 42.0
