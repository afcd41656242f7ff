"""The data's journey runs one way: a module imports from its own stage and from earlier ones only."""

import ast
from pathlib import Path

STAGES = ["sims", "maps", "dataset", "model", "train", "predict", "tune", "metrics", "report", "pipeline", "jobs"]
PACKAGE = Path("hpc_massmap")


def stage_of(parts: tuple[str, ...]) -> int | None:
    """Place of a module in the journey; None for what all stages share."""
    return STAGES.index(parts[0]) if parts and parts[0] in STAGES else None


def imports_of(path: Path) -> list[tuple[str, ...]]:
    modules = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return [tuple(module.split(".")[1:]) for module in modules if module and module.startswith("hpc_massmap.")]


def test_imports_only_flow_downwards() -> None:
    upstream = []
    for path in PACKAGE.rglob("*.py"):
        own = stage_of(path.relative_to(PACKAGE).with_suffix("").parts)
        for parts in imports_of(path):
            imported = stage_of(parts)
            if imported is not None and (own is None or imported > own):
                upstream.append(f"{path} imports {'.'.join(parts)}")
    assert not upstream
