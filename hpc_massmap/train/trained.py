"""Loading the best model of a training, ready to predict."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from torch import nn

from hpc_massmap.config import AS_DRAWN, Model, Observe, Split
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.errors import InputError, in_one_line
from hpc_massmap.posterior.kinds import network_of
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import BEST
from hpc_massmap.yamlfile import validated


class _Train(BaseModel):
    precision: str


class _Identity(BaseModel):
    model: dict[str, Any]
    split: dict[str, Any]
    train: _Train
    observe: dict[str, Any] = {}  # of one that saw its maps as they were drawn


class _Contents(BaseModel):
    """What is needed of a checkpoint, which holds more."""

    identity: _Identity
    normalisation: Normalisation
    model: dict[str, Any]


@dataclass(frozen=True)
class TrainedModel:
    """The best network of a training, in evaluation mode, with all that a prediction needs.

    Attributes
    ----------
    digest : SHA-256 of the checkpoint's content
    observe : what telescopes saw of the maps that trained it
    members : of an ensemble, whose first is this one; its digest is that of theirs
    """

    network: nn.Module
    description: Model
    normalisation: Normalisation
    split: Split
    precision: str
    digest: str
    observe: Observe = AS_DRAWN
    members: tuple["TrainedModel", ...] = ()


def load_model(folder: Path) -> TrainedModel:
    """The best model in the folder of a training; raises what `load_checkpoint` does."""
    path = folder / BEST
    state = load_checkpoint(path)
    complaint = f"{path}: a checkpoint of another version; train again"
    try:
        said = _Contents.model_validate(state)
    except ValidationError as error:
        missing = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"{complaint} ({missing})") from None
    identity = said.identity
    description = validated(Model, identity.model, {}, str(path))
    network = network_of(description)
    with in_one_line(complaint, TypeError, AttributeError):
        network.load_state_dict(said.model)
    return TrainedModel(
        network.eval(),
        description,
        said.normalisation,
        validated(Split, identity.split, {}, str(path)),
        identity.train.precision,
        state["digest"],
        validated(Observe, identity.observe, {}, str(path)),
    )
