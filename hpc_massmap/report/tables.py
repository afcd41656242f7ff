"""Tables, each written as CSV, Markdown, LaTeX (booktabs) and HTML; every text in them is escaped."""

import csv
import io
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hpc_massmap.metrics.spread import error_text
from hpc_massmap.storage import write_text

MISSING = "–"


@dataclass(frozen=True)
class Measured:
    """A median with its distances to the 84th and to the 16th percentile (eq. 8), and its error by how many regions."""

    median: float
    plus: float
    minus: float
    error: float | None = None  # None where it is unknown
    regions: int | None = None  # of a number that was measured here

    def parts(self) -> tuple[str, str, str]:
        """The three numbers as they are shown, the median with its sign."""
        return f"{self.median:+.3f}", f"+{self.plus:.3f}", f"-{self.minus:.3f}"

    def shown_error(self) -> str:
        """The error as it is shown, or nothing."""
        return error_text(math.nan if self.error is None else self.error, self.regions) if self.regions else ""


Cell = str | int | float | Measured | None


@dataclass(frozen=True)
class Table:
    """Rows of cells under named columns; None is a cell with nothing to say.

    Attributes
    ----------
    name : of the files
    title : what it shows
    note : all that a reader needs to read it
    data : which data its numbers are of, in a sentence for its files; a page says it once for all
    """

    name: str
    title: str
    note: str
    columns: list[str]
    rows: list[list[Cell]]
    data: str = ""

    @property
    def caption(self) -> str:
        """All that its files say above it."""
        return f"{self.title}. {self.note} {self.data}".strip()

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers, and so is aligned to the right."""
        return all(not isinstance(row[column], str) for row in self.rows)


def write_table(table: Table, folder: Path) -> None:
    """Write the table as CSV, Markdown and LaTeX."""
    write_text(folder / f"{table.name}.csv", to_csv(table))
    write_text(folder / f"{table.name}.md", to_markdown(table))
    write_text(folder / f"{table.name}.tex", to_latex(table))


def to_csv(table: Table) -> str:
    """All digits; a measured value takes three columns, and two more for its error and the regions it is from."""
    parts = [_csv_parts([row[n] for row in table.rows]) for n in range(len(table.columns))]
    header: list[str] = []
    for name, of_column in zip(table.columns, parts, strict=True):
        header += [f"{name}: {part}" for part in of_column] or [name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        values: list[Any] = []
        for cell, of_column in zip(row, parts, strict=True):
            if isinstance(cell, Measured):
                values += [getattr(cell, part) for part in of_column]
            else:
                values += [cell] + [None] * (len(of_column) - 1)
        writer.writerow(values)
    return text.getvalue()


def _csv_parts(cells: list[Cell]) -> list[str]:
    """The columns that the cells of one need, if any is measured."""
    measured = [cell for cell in cells if isinstance(cell, Measured)]
    with_error = any(cell.regions for cell in measured)
    return ["median", "plus", "minus", *["error", "regions"] * with_error] if measured else []


def to_markdown(table: Table) -> str:
    """A pipe table under its title."""
    rule = ["---:" if table.is_number(n) else ":---" for n in range(len(table.columns))]
    lines = [
        _markdown_line([_markdown_text(name) for name in table.columns]),
        _markdown_line(rule),
        *(_markdown_line([_markdown_cell(cell) for cell in row]) for row in table.rows),
    ]
    return f"{_markdown_text(table.caption)}\n\n" + "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """A table environment for the booktabs package."""
    columns = "".join("r" if table.is_number(n) else "l" for n in range(len(table.columns)))
    body = "\n".join(_latex_line([_latex_cell(cell) for cell in row]) for row in table.rows)
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            rf"\caption{{{_latex_text(table.caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _latex_line([_latex_text(name) for name in table.columns]),
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def to_html(table: Table) -> str:
    """A table element without its caption."""
    head = "".join(
        f'<th scope="col"{_html_class(table, n)}>{escape(name)}</th>' for n, name in enumerate(table.columns)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{_html_class(table, n)}>{_html_cell(cell)}</td>" for n, cell in enumerate(row))
        + "</tr>\n"
        for row in table.rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"


def _number(value: int | float) -> str:
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e3 else f"{value:.3g}"


def _markdown_line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_text(text: str) -> str:
    flat = escape(" ".join(text.split()), quote=False).replace("\\", "\\\\")
    for sign in "|*_`[]":
        flat = flat.replace(sign, f"\\{sign}")
    return flat


def _markdown_cell(cell: Cell) -> str:
    match cell:
        case None:
            return MISSING
        case Measured():
            median, plus, minus = cell.parts()
            return f"{median} ({plus}, {minus}) {cell.shown_error()}".rstrip()
        case str():
            return _markdown_text(cell)
        case _:
            return _number(cell)


_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a row it would open an argument of it, as would a star
    "*": "{*}",
    "≤": r"$\leq$",
    "–": "--",
    "−": "$-$",
    "α": r"$\alpha$",  # of Greek letters, inputenc knows none in text
}


def _latex_line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _latex_cell(cell: Cell) -> str:
    match cell:
        case None:
            return "--"
        case Measured():
            median, plus, minus = cell.parts()
            error = cell.shown_error().replace("±", r"\pm")
            return rf"${median}^{{{plus}}}_{{{minus}}}{f' ({error})' if error else ''}$"
        case str():
            return _latex_text(cell)
        case _:
            return _number(cell)


def _html_class(table: Table, column: int) -> str:
    return ' class="number"' if table.is_number(column) else ""


def _html_cell(cell: Cell) -> str:
    match cell:
        case None:
            return MISSING
        case Measured():
            median, plus, minus = (part.replace("-", "−") for part in cell.parts())
            spread = f'<span class="error"><span>{plus}</span><span>{minus}</span></span>'
            return f"{median}{spread} {cell.shown_error()}".rstrip()
        case str():
            return escape(cell)
        case _:
            return _number(cell).replace("-", "−")
