"""A study shown on a terminal, once or until somebody types q; what is shown is screen.py's."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live

from hpc_massmap.errors import InputError
from hpc_massmap.tune.monitor.screen import one_line, screen
from hpc_massmap.tune.monitor.snapshot import Snapshot

REFRESH = 1.0  # seconds, and never so often that looking takes more than a tenth of the time
PLAIN_SIZE = (120, 50)  # columns and lines where there is no terminal; COLUMNS and LINES say otherwise


def print_once(study: Snapshot) -> None:
    """One screen, plain where the output is no terminal."""
    size = Console().size if sys.stdout.isatty() else os.terminal_size(map(_from_environment, (0, 1)))
    width, height = size[0], size[1]
    Console(width=width, height=height, highlight=False).print(screen(study, width, height))


def _from_environment(axis: int) -> int:
    text = os.environ.get(("COLUMNS", "LINES")[axis], "")
    return int(text) if text.isdigit() and int(text) > 0 else PLAIN_SIZE[axis]


def watch(look: Callable[[], Snapshot]) -> None:
    """Show a study until somebody types q."""
    console, study, trouble = Console(), look(), ""
    with _keys() as asked_to_leave, Live(console=console, screen=True, auto_refresh=False) as display:
        while True:
            width, height = console.size
            notice = [one_line(trouble, width, "yellow")] if trouble else []
            display.update(Group(*notice, screen(study, width, height - 1 - len(notice))), refresh=True)
            start = time.monotonic()
            try:
                study, trouble = look(), ""
            except InputError as error:
                trouble = str(error)
            if asked_to_leave(max(REFRESH, 9 * (time.monotonic() - start))):
                return


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Gives a function that waits some seconds for a q; keys are not shown meanwhile."""
    keyboard = sys.stdin.fileno()
    typed = sys.stdin.isatty()

    def wait(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([keyboard] if typed else [], [], [], left)[0] and os.read(keyboard, 1) in (
                b"q",
                b"Q",
                b"",
            ):
                return True
        return False

    if not typed:
        yield wait
        return
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield wait
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
