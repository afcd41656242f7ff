"""The error a person can act on: one line that names the file, key or value and says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

EXIT_BAD_INPUT = 2
EXIT_TERMINATED = 143  # 128 + TERM, as a shell says

# what libraries make of a damaged file; a name, an argument or a key that is not there is a slip of ours
OF_A_LIBRARY = (OSError, RuntimeError, EOFError, ValueError, ArithmeticError)


class InputError(Exception):
    """Something the user gave, or their machine lacks; the jobs print its message alone and exit with 2."""


def first_line(error: BaseException) -> str:
    """What a library says is wrong, without what follows; its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def in_one_line(complaint: str, *also: type[Exception]) -> Iterator[None]:
    """What a library makes of a damaged file becomes an InputError; to be put around calls of a library alone.

    Parameters
    ----------
    also : what this library raises beside what all do
    """
    try:
        yield
    except OF_A_LIBRARY + also as error:
        raise InputError(f"{complaint} ({first_line(error)})") from None


def line_of(error: BaseException) -> str | None:
    """What to tell of an error in one line; None if its traceback is needed, since it is a fault of the program's.

    What the operating system refuses is told with the name of the file, if the error has one.
    """
    line = None
    if isinstance(error, InputError):
        line = str(error)
    elif isinstance(error, OSError) and error.strerror:
        line = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return line and "\\n".join(line.splitlines())  # names and values of the user's can have several
