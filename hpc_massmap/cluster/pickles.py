"""What submitit writes for its jobs, as nobody else can have written it: a pickle is code to whoever loads it.

A job loads the function that it runs, from a folder that is its owner's alone. What came of it is read as data: an
integer, a text, nothing; a pickle that names any class or function is refused.
"""

import os
import pickle
import shlex
import stat
from pathlib import Path
from typing import Any

from hpc_massmap.errors import InputError

PRIVATE = 0o700
EXIT_NOT_OURS = 77  # EX_NOPERM


def make_private(folder: Path) -> None:
    """Make a folder, and whatever the umask or an earlier version says, let nobody else into it.

    Raises
    ------
    InputError
        If it is another user's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: another user's; code of theirs would run in your jobs: use another runs or name")
    folder.chmod(PRIVATE)


def refusal_of_others(folder: Path) -> str:
    """A line of shell that ends a job whose folder somebody has put another in the place of."""
    place = shlex.quote(str(folder.absolute()))
    return f"[ -O {place} ] || {{ echo {place}: another user has put this here >&2; exit {EXIT_NOT_OURS}; }}"


def outcome(path: Path) -> tuple[str, Any]:
    """What submitit wrote of a job's end: "success" and the result, or "error" and a trace.

    Raises
    ------
    InputError
        If the file is not ours, or holds more than data.
    """
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        open_to_all = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and path.parent.stat().st_mode & 0o077
        if about.st_uid != os.getuid() or open_to_all:
            raise InputError(f"{path}: others can have written it; not read")
        try:
            how, what = _DataOnly(file).load()
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError) as error:
            raise InputError(f"{path}: not the plain result of a job ({error}); not read") from None
    return str(how), what


class _DataOnly(pickle.Unpickler):
    """Numbers, texts and their containers."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")
