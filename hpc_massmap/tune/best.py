"""The best trial of a study, and `best.yaml`, which carries it to the final training."""

from pathlib import Path
from typing import Any

from hyperopt import STATUS_OK

from hpc_massmap.config import Config
from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text
from hpc_massmap.tune.space import hyperparameters
from hpc_massmap.yamlfile import dump_yaml, load_yaml

PARAMETERS = ("filters", "kernel", "layers", "dropout")


def best_of(documents: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The finished trial with the lowest loss, the earliest of equals; None if none finished."""
    done = [document for document in documents if document["result"].get("status") == STATUS_OK]
    return min(done, key=lambda document: (document["result"]["loss"], document["tid"])) if done else None


def write_best(path: Path, documents: list[dict[str, Any]], config: Config) -> None:
    """Keep the hyperparameters of the best trial.

    Raises
    ------
    InputError
        If no trial finished.
    """
    best = best_of(documents)
    if best is None:
        raise InputError(
            f"none of the {len(documents)} trials finished; their errors are in {path.parent}/trials.jsonl"
        )
    chosen = hyperparameters(best["misc"]["vals"], config.space)
    summary = {"tid": best["tid"], "loss": best["result"]["loss"], "evaluations": len(documents), **chosen}
    write_text(path, dump_yaml(summary))


def with_best(config: Config, path: Path) -> Config:
    """The config with the hyperparameters of `best.yaml` in place of its own.

    Raises
    ------
    InputError
        If the file is missing or damaged, or has values that cannot be.
    """
    best = load_yaml(path)
    missing = [name for name in PARAMETERS if name not in best]
    if missing:
        raise InputError(f"{path}: {missing[0]}: missing; run jobs/tune.py again")
    try:
        return config.with_values("model", **{name: best[name] for name in PARAMETERS})
    except InputError as error:
        raise InputError(f"{path}: {error}; run jobs/tune.py again") from None
