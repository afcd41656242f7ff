"""Loops compiled to machine code by numba, and cached on disk for the next run where a folder can be written."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """A decorator that has numba compile a function, with options of its `njit`.

    Where neither the package's folder nor the home can be written, as in some containers, it is compiled in each run.
    """

    def compile_(function: Function) -> Function:
        try:
            machine: Function = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder for the cache
            machine = numba.njit(**options)(function)
        return machine

    return compile_
