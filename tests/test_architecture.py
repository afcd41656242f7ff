"""The data's journey runs one way: a module imports from its own stage and from earlier ones only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# what stands in none of them is shared by all: it imports from no stage
STAGES = [
    *("cluster", "sims", "maps", "dataset", "observe", "model", "posterior", "train", "diagnostics", "predict", "tune"),
    *("metrics", "report", "pipeline"),
]
DOORS = ["cli", "jobs", "api", "__main__"]  # may import from all
PACKAGE = Path("hpc_massmap")


def place_of(module: str) -> int:
    """Where a module stands in the journey; -1 for what all stages share."""
    first = module.split(".")[1] if "." in module else ""
    if first in DOORS:
        return len(STAGES)
    return STAGES.index(first) if first in STAGES else -1


def imports_of(source: str, module: str, is_package: bool) -> Iterator[str]:
    """The modules of the package that a module imports, anywhere in it and in whatever form."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE.name)


def upstream_in(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module imports from later stages."""
    own = place_of(module)
    return [f"{module} imports {name}" for name in imports_of(source, module, is_package) if place_of(name) > own]


def test_imports_only_flow_downwards() -> None:
    upstream = []
    for path in set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py"}:  # which names what `api` and others offer
        is_package = path.name == "__init__.py"
        module = ".".join((path.parent if is_package else path.with_suffix("")).parts)
        upstream += upstream_in(path.read_text(), module, is_package)
    assert not upstream


@pytest.mark.parametrize(
    "form",
    [
        "from hpc_massmap.tune.best import best_of",
        "from hpc_massmap.tune import best",
        "from hpc_massmap import tune",
        "from hpc_massmap import errors, tune as tuning",
        "import hpc_massmap.tune.best",
        "import hpc_massmap.tune as tuning",
        "from ..tune import best",
        "from ..tune.best import best_of",
        "from .. import tune",
        "def f():\n    from hpc_massmap.tune import best",
    ],
)
def test_every_form_of_import_is_seen(form: str) -> None:
    assert upstream_in(form, "hpc_massmap.sims.snapshot")
    assert not upstream_in(form, "hpc_massmap.report.page")
    assert upstream_in(form.replace("..", "."), "hpc_massmap.run")
    assert not upstream_in(form.replace("tune", "cluster"), "hpc_massmap.sims.snapshot")


def test_imports_within_a_package_are_of_its_own_stage() -> None:
    assert not upstream_in("from . import connect\nfrom .connect import ensure", "hpc_massmap.tune.database", True)
    assert not upstream_in("from .catalogue import read\nfrom . import catalogue", "hpc_massmap.sims.snapshot")
