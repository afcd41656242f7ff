"""Each line with which the suite refuses something is explained in docs/errors.md, and nothing else is."""

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from hpc_massmap import cli
from hpc_massmap.errors import EXIT_BAD_INPUT, EXIT_TERMINATED
from hpc_massmap.train.final import EXIT_REQUEUE

PAGE = Path("docs/errors.md")
ERRORS = (
    "InputError",
    "in_one_line",
    "DatabaseUnreachable",
    "Diverged",
    "OutOfMemory",
    "SharedError",
    "Silent",
    "Owned",
    "OwnershipLost",
)
SCHEMAS = (*sorted(Path("hpc_massmap/config").glob("*.py")), Path("hpc_massmap/cluster/site.py"))
READER = Path("hpc_massmap/yamlfile.py")
PUT_TOGETHER = (  # of several parts, or of a shell's script, or only said: sims, cluster, tune, predict
    *("is not a number", "Unable to contact slurm controller", "the largest node of partition"),
    *("told to end before it listened, again and again; give it more time", "another user has put this here"),
    *("told to end before it listened; it is requeued", "away; another goes on with what it has"),
    *("ended without a result: Slurm says", "of this shell: not heeded, the site file says what is asked of Slurm"),
    *("too many workers end", "workers that ended cannot be replaced", "several images, of which any may be the map"),
)
SHORTEST = 5  # letters by which a message is recognised


def fragments(node: ast.expr) -> Iterator[list[str]]:
    """The fixed words of each message that an expression can be."""
    if isinstance(node, ast.IfExp):
        yield from fragments(node.body)
        yield from fragments(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from fragments(value)
    elif isinstance(node, ast.JoinedStr):
        parts = [getattr(part, "value", part) if is_choice(part) else part for part in node.values]
        for choice in product(*(fragments(part) for part in parts)):
            yield [word for words in choice for word in words]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield [node.value]
    else:
        yield []


def is_choice(part: ast.expr) -> bool:
    return isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.IfExp)


def texts(path: Path) -> Iterator[tuple[int, ast.expr]]:
    """The line and the expression of each message of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        name = getattr(getattr(node, "func", None), "id", None)
        if isinstance(node, ast.Call) and (name in ERRORS or (name == "ValueError" and path in SCHEMAS)) and node.args:
            yield node.lineno, node.args[0]
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "complaint":
            yield node.lineno, node.value
        if isinstance(node, ast.Call) and name in ("opened", "told"):  # path, complaint, what if it is missing
            yield from ((node.lineno, text) for text in node.args[1:])
        if isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr) and path == READER:
            yield node.lineno, node.value


def messages() -> dict[str, list[str]]:
    """The fixed words of every message of the code, by file and line."""
    found = {}
    for path in sorted(Path("hpc_massmap").rglob("*.py")):
        for line, text in texts(path):
            for number, parts in enumerate(fragments(text)):
                words = [tidy(word) for part in parts for word in part.split("...")]
                found[f"{path}:{line}:{number}"] = [word for word in words if len(word) >= SHORTEST]
    return found


def tidy(text: str) -> str:
    """Without the marks of Markdown, and what stands at the ends beside a hole."""
    return text.replace("`", "").strip(" .:;,()[]=")


def quotes() -> list[list[str]]:
    """The fixed words of every line that the page quotes."""
    rows = re.findall(r"^\| `(.*?)` \|", PAGE.read_text().partition("## Config, site")[2], re.MULTILINE)
    return [[tidy(word) for word in row.split("...")] for row in rows]


def fits(message: list[str], quote: list[str]) -> bool:
    """Whether a quote has all the words of a message."""
    return all(any(word in part for part in quote) for word in message)


def exists(quote: list[str], message: list[str]) -> bool:
    return fits(message, quote) and max(message, key=len) in max(quote, key=len)


def test_every_line_is_explained() -> None:
    quoted = quotes()
    unexplained = {
        where: words for where, words in messages().items() if words and not any(fits(words, quote) for quote in quoted)
    }
    assert unexplained == {}
    assert sum(bool(words) for words in messages().values()) > 200


def test_every_explained_line_exists() -> None:
    code = [words for words in messages().values() if words]
    code += [[words] for words in PUT_TOGETHER]
    stale = [quote for quote in quotes() if not any(exists(quote, words) for words in code)]
    assert stale == []


def test_the_exit_codes_are_those_of_the_code() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)}
    assert listed == {
        0,
        1,
        EXIT_BAD_INPUT,
        EXIT_REQUEUE,
        cli.EXIT_INTERRUPTED,
        cli.EXIT_PIPE_CLOSED,
        EXIT_TERMINATED,
    }


def test_every_kind_of_error_is_looked_at() -> None:
    text = "\n".join(path.read_text() for path in Path("hpc_massmap").rglob("*.py"))
    assert set(re.findall(r"^class (\w+)\(InputError\)", text, re.MULTILINE)) <= set(ERRORS)
