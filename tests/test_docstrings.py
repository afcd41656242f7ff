"""Docstrings keep numpydoc's promises: sections name what is there, arrays have shapes. ruff checks the form."""

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path("hpc_massmap")
SECTIONS = ["Parameters", "Attributes", "Returns", "Yields", "Raises", "See Also", "Notes", "References", "Examples"]
ARRAY = re.compile(r"\b(\w*Array|NDArray|ndarray|Tensor)\b")
OF_THE_PAPER = r"(?:sections?|eq|figs?|tables?)\b"
IN_WORDS = r"\b(?:any shape|shape of `)|\b(?:those|as) (?:of|by) `[\w.]+`"
SHAPE = re.compile(rf"\((?!{OF_THE_PAPER})[\w()+*/^. ]+,[^)]*\)|{IN_WORDS}")


@dataclass(frozen=True)
class Documented:
    """A function, method or class that is public, with its class if it has one."""

    where: str
    node: ast.FunctionDef | ast.ClassDef
    owner: ast.ClassDef | None = None

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""


def public_in(body: list[ast.stmt], where: str, owner: ast.ClassDef | None = None) -> Iterator[Documented]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield Documented(f"{where}.{node.name}", node, owner)
            if isinstance(node, ast.ClassDef):
                yield from public_in(node.body, f"{where}.{node.name}", node)


PUBLIC = [
    found
    for path in sorted(PACKAGE.rglob("*.py"))
    for found in public_in(ast.parse(path.read_text()).body, ".".join(path.with_suffix("").parts))
]
ERRORS = {found.node.name for found in PUBLIC} | set(dir(builtins)) | {"MarkedYAMLError"}


def sections(docstring: str) -> dict[str, list[str]]:
    """What each section lists: the lines that are not indented."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", docstring, flags=re.MULTILINE)
    titles, texts = parts[1::2], parts[2::2]
    return {title: re.findall(r"^\S.*$", text, re.MULTILINE) for title, text in zip(titles, texts, strict=True)}


def listed(lines: list[str]) -> list[str]:
    """The names before the colons: `a, b : what they are`."""
    return [name.strip() for line in lines for name in line.partition(" :")[0].split(",")]


def parameters(node: ast.FunctionDef) -> list[ast.arg]:
    of = node.args
    return [arg for arg in [*of.posonlyargs, *of.args, *of.kwonlyargs, of.vararg, of.kwarg] if arg is not None]


def members(node: ast.ClassDef) -> set[str]:
    """Fields, properties, and what methods set."""
    fields = {ast.unparse(inner.target) for inner in node.body if isinstance(inner, ast.AnnAssign)}
    methods = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    stored = {
        inner.attr
        for inner in ast.walk(node)
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store) and ast.unparse(inner.value) == "self"
    }
    return fields | methods | stored


def real_names(found: Documented, section: str) -> set[str]:
    if isinstance(found.node, ast.FunctionDef):
        return {arg.arg for arg in parameters(found.node)}
    starts = [inner for inner in found.node.body if isinstance(inner, ast.FunctionDef) and inner.name == "__init__"]
    if section == "Parameters" and starts:
        return {arg.arg for arg in parameters(starts[0])}
    return members(found.node)


def untrue(found: Documented) -> list[str]:
    """What is wrong with the sections of a docstring."""
    said = sections(found.docstring)
    order = [SECTIONS.index(title) if title in SECTIONS else -1 for title in said]
    wrong = [f"{title}: no section of numpydoc's" for title in said if title not in SECTIONS]
    if order != sorted(order):
        wrong.append(f"{', '.join(said)}: not in numpydoc's order")
    for section in ("Parameters", "Attributes"):
        names = listed(said.get(section, []))
        wrong += [f"{section}: there is no {name}" for name in names if name not in real_names(found, section)]
    wrong += [f"Raises: there is no {name}" for name in listed(said.get("Raises", [])) if name not in ERRORS]
    return wrong + [f"{section}: empty" for section, lines in said.items() if not lines]


def has_arrays(node: ast.FunctionDef) -> bool:
    annotations = [*(arg.annotation for arg in parameters(node)), node.returns]
    return any(ARRAY.search(ast.unparse(one)) for one in annotations if one is not None)


def says_shapes(found: Documented) -> bool:
    """In its own docstring, or in its class'; what has none of its own is what the base class says."""
    if found.owner and found.owner.bases and not found.docstring:
        return True
    of_class = (ast.get_docstring(found.owner) or "") if found.owner else ""
    return bool(SHAPE.search(found.docstring) or SHAPE.search(of_class))


def test_sections_list_what_is_there() -> None:
    assert len(PUBLIC) > 400
    assert sum(bool(sections(found.docstring)) for found in PUBLIC) > 100
    assert {found.where: untrue(found) for found in PUBLIC if untrue(found)} == {}


def test_who_takes_or_returns_arrays_says_their_shapes() -> None:
    functions = [found for found in PUBLIC if isinstance(found.node, ast.FunctionDef) and has_arrays(found.node)]
    assert len(functions) > 100
    assert [found.where for found in functions if not says_shapes(found)] == []


@pytest.mark.parametrize(
    ("docstring", "wrong"),
    [
        ("Parameters\n----------\nmass, radius : (n,)", ["Parameters: there is no radius"]),
        ("Raises\n------\nInputErorr\n    If not.", ["Raises: there is no InputErorr"]),
        (
            "Raises\n------\nInputError\n    If not.\n\nReturns\n-------\n(n,)",
            ["Raises, Returns: not in numpydoc's order"],
        ),
        ("Params\n------\nmass : (n,)", ["Params: no section of numpydoc's"]),
        ("Returns\n-------\n", ["Returns: empty"]),
        ("Parameters\n----------\nmass : (n,), Msun/h", []),
    ],
)
def test_what_is_not_so_is_found(docstring: str, wrong: list[str]) -> None:
    (node,) = ast.parse("def f(mass: FloatArray) -> float:\n    ...").body
    assert isinstance(node, ast.FunctionDef)
    node.body = [ast.Expr(ast.Constant(f"Sum.\n\n{docstring}"))]
    assert untrue(Documented("f", node)) == wrong


@pytest.mark.parametrize("docstring", ["Sum of (n, 80, 80).", "Sum; any shape.", "Parameters as of `project`."])
def test_a_shape_is_seen(docstring: str) -> None:
    assert SHAPE.search(docstring)
    assert not SHAPE.search("Sum of maps (section 4.1, eq. 7 and 8), plain.")
