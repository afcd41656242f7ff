"""All kinds of distributions, by the value of `model.output`; what is registered here is trained and predicted."""

from collections.abc import Sequence

from torch import nn

from hpc_massmap.config import Model
from hpc_massmap.errors import InputError
from hpc_massmap.model.build import build_model
from hpc_massmap.posterior.distribution import SAMPLES, Kind
from hpc_massmap.posterior.flow import FLOW
from hpc_massmap.posterior.point import POINT
from hpc_massmap.posterior.quantiles import QUANTILES

KINDS: dict[str, Kind] = {"point": POINT, "quantiles": QUANTILES, "flow": FLOW}


def kind_of(model: Model) -> Kind:
    """What a model says of a map."""
    return KINDS[model.output]


def levels_of(model: Model) -> Sequence[float]:
    """At which its predictions keep quantiles; none, if its network gives none."""
    return kind_of(model).levels(model)


def samples_of(model: Model, asked: int | None, members: int = 0) -> int:
    """How many samples of each map a prediction draws.

    Parameters
    ----------
    asked : `predict.samples`; None: as many as the kind draws by itself
    members : of an ensemble of such models; those that say a point have their maps as samples

    Raises
    ------
    InputError
        If the model has none, or needs at least one.
    """
    kind = kind_of(model)
    of_points = model.output == "point" and members > 0
    if asked is None:
        return members if of_points else SAMPLES if kind.draws else 0
    if asked and not kind.draws and not of_points:
        raise InputError(
            f"predict.samples = {asked}: a model with model.output = {model.output} has no samples; train one with "
            "model.output = flow"
        )
    if kind.draws and not asked:
        raise InputError("predict.samples = 0: what this model says is known by samples alone; ask for at least 1")
    return asked


def network_of(model: Model) -> nn.Module:
    """An untrained network for what the model says; weights from torch's seed."""
    return build_model(model, kind_of(model).needs(model))
