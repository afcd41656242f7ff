"""Several trained models as one: the best trials of a study, or the models of some runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hpc_massmap.errors import InputError
from hpc_massmap.storage import digest_of
from hpc_massmap.train.trained import TrainedModel, load_model


def joined(folders: Sequence[Path]) -> TrainedModel:
    """The models in some folders as a mixture, all as likely.

    Raises
    ------
    InputError
        If there are fewer than two, or one sees, says or was trained on other maps than the first; and what
        `load_model` raises.
    """
    if len(folders) < 2:
        raise InputError("predict.members: one model is no ensemble; name at least two")
    members = [load_model(folder) for folder in folders]
    first = members[0]
    for folder, other in zip(folders[1:], members[1:], strict=True):
        for what, ours, its in (
            ("views", first.description.views, other.description.views),
            ("targets", first.description.targets, other.description.targets),
            ("output", first.description.output, other.description.output),
            ("levels", first.description.levels, other.description.levels),
            ("split", first.split, other.split),
            ("observe", first.observe, other.observe),
            ("normalisation", first.normalisation, other.normalisation),
        ):
            if ours != its:
                raise InputError(
                    f"{folder}: its {what} is not that of {folders[0]}; predict.members are models of the same maps"
                )
    return replace(first, digest=digest_of([member.digest for member in members]), members=tuple(members))
