"""The best trial of a study, and `best.yaml`, which carries it to the final training."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hpc_massmap.config import HYPERPARAMETERS, Config
from hpc_massmap.errors import InputError
from hpc_massmap.storage import write_text
from hpc_massmap.tune.documents import Document, TrialRecord, best_of, record_of
from hpc_massmap.yamlfile import dump_yaml, load_yaml

PAPER = "unet"  # the network that is not named in what is kept


def write_best(path: Path, documents: list[Document], config: Config) -> list[TrialRecord]:
    """Keep the hyperparameters of the best trial; returns all trials.

    Raises
    ------
    InputError
        If no trial finished, or the best one has hyperparameters outside the search space.
    """
    trials = [record_of(document, config.space) for document in documents]
    best = best_of(trials)
    if best is None:
        raise InputError(
            f"none of the {len(documents)} trials finished; their errors are in {path.parent}/trials.jsonl"
        )
    if not best.values:
        raise InputError(f"trial {best.tid} is the best, but its hyperparameters are outside the search space")
    summary = {"tid": best.tid, "loss": best.best, "evaluations": len(documents), **best.values}
    of_another = {} if config.model.network == PAPER else {"network": config.model.network}
    write_text(path, dump_yaml(summary | of_another))
    return trials


def said_of_best(trials: Sequence[TrialRecord]) -> str:
    """The best trial with its hyperparameters and loss; nothing if none finished."""
    best = best_of(trials)
    if best is None:
        return ""
    values = ", ".join(f"{name} {value:.4g}" for name, value in best.values.items())
    return f"best of {len(trials)} trials: {best.tid} ({values}), validation loss {best.best:.4f}"


def said_of_trials(trials: Sequence[TrialRecord]) -> str:
    """How many trials there were, and how they ended."""
    ends = Counter(trial.state for trial in trials)
    return f"tuned with {len(trials)} trials: {', '.join(f'{count} {state}' for state, count in sorted(ends.items()))}"


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
