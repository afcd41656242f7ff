"""What the documentation has its readers type, and the files that they are told of."""

import re
from collections.abc import Iterator
from pathlib import Path

PAGES = [*map(Path, ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted(Path("docs").rglob("*.md"))]
PROGRAMS = "massmap|python|mpirun|srun|torchrun|make|sbatch"  # in blocks; not each in a sentence begins a command


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language; those of none for an empty one."""
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [block for kind, block in fenced if kind == language]


def inline(page: Path) -> list[str]:
    """What stands between single backticks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(words.split()) for words in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def _commands(page: Path) -> Iterator[str]:
    for line in (line for block in blocks(page, "") for line in block.splitlines()):
        if re.match(rf"(SITE=\S+ )?({PROGRAMS}) ", line):
            yield line.split("#")[0].strip()
    for words in inline(page):
        if re.match(r"(SITE=\S+ )?(massmap \w+ [^-]|(python|mpirun|make|sbatch) )", words):
            yield words


# in lines of blocks without a language, and within sentences
COMMANDS = list(dict.fromkeys(command for page in PAGES for command in _commands(page)))
