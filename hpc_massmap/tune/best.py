"""The best trial of a study, and `best.yaml`, which carries it to the final training."""

from pathlib import Path

from hpc_massmap.config import HYPERPARAMETERS, Config
from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text
from hpc_massmap.tune.documents import Document, best_of, record_of
from hpc_massmap.yamlfile import dump_yaml, load_yaml

PAPER = "unet"  # the network that is not named in what is kept


def write_best(path: Path, documents: list[Document], config: Config) -> None:
    """Keep the hyperparameters of the best trial.

    Raises
    ------
    InputError
        If no trial finished, or the best one has hyperparameters outside the search space.
    """
    best = best_of(record_of(document, config.space) for document in documents)
    if best is None:
        raise InputError(
            f"none of the {len(documents)} trials finished; their errors are in {path.parent}/trials.jsonl"
        )
    if not best.values:
        raise InputError(f"trial {best.tid} is the best, but its hyperparameters are outside the search space")
    summary = {"tid": best.tid, "loss": best.best, "evaluations": len(documents), **best.values}
    of_another = {} if config.model.network == PAPER else {"network": config.model.network}
    write_text(path, dump_yaml(summary | of_another))


def with_best(config: Config, path: Path) -> Config:
    """The config with the hyperparameters of `best.yaml` in place of its own.

    Raises
    ------
    InputError
        If the file is missing or damaged, of another network, or has values that cannot be.
    """
    best = load_yaml(path)
    if (its := best.get("network", PAPER)) != (ours := config.model.network):
        raise InputError(f"{path}: found for model.network = {its}, not {ours}; tune {ours} under a name of its own")
    missing = [name for name in HYPERPARAMETERS if name not in best]
    if missing:
        raise InputError(f"{path}: {missing[0]}: missing; run massmap tune again")
    try:
        return config.with_values("model", **{name: best[name] for name in HYPERPARAMETERS})
    except InputError as error:
        raise InputError(f"{path}: {error}; run massmap tune again") from None
