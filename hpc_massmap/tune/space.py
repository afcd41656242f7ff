"""The search space of table 3 for hyperopt, and what a suggestion means to the U-Net."""

from typing import Any

import numpy as np
from hyperopt import hp
from hyperopt.pyll import scope

from hpc_massmap.config import HYPERPARAMETERS, Config, IntegerRange, Range, Space
from hpc_massmap.errors import InputError

Values = dict[str, list[float]]  # hyperopt's misc.vals: a list of one number a parameter


def hyperopt_space(space: Space) -> dict[str, Any]:
    """Uniform over every range, the integers included at both ends."""
    return {name: _distribution(name, bounds) for name, bounds in _ranges(space).items()}


def _ranges(space: Space) -> dict[str, Range]:
    return {name: getattr(space, name) for name in HYPERPARAMETERS}


def _distribution(name: str, bounds: Range) -> Any:
    if bounds.low == bounds.high:
        return hp.choice(name, [bounds.low])  # a uniform distribution of no width breaks TPE's estimator
    if isinstance(bounds, IntegerRange):
        # not hp.uniformint, which rounds a draw between the ends and gives them half the weight; nor hp.randint, to
        # which TPE knows no order among the numbers
        return scope.int(hp.quniform(name, bounds.low - 0.5, bounds.high + 0.5, 1))
    return hp.uniform(name, bounds.low, bounds.high)


def hyperparameters(values: Values, space: Space | None) -> dict[str, float | int]:
    """The model's hyperparameters of a trial's `misc.vals`, which came from a database and are not trusted.

    Parameters
    ----------
    space : None: not known; then any number will do, and one that was not varied is hyperopt's 0

    Raises
    ------
    InputError
        If a value is missing, of a wrong type or outside the space.
    """
    chosen: dict[str, float | int] = {}
    for name in HYPERPARAMETERS:
        bounds: Range | None = getattr(space, name, None)
        value = values.get(name) if isinstance(values, dict) else None
        if not isinstance(value, list) or len(value) != 1 or type(value[0]) not in (int, float):
            raise InputError(f"trial: misc.vals.{name} = {value!r} is not a list of one number")
        number = bounds.low if bounds and bounds.low == bounds.high else value[0]
        if bounds and not bounds.low <= number <= bounds.high:
            raise InputError(f"trial: misc.vals.{name} = {number} is outside {bounds.low} to {bounds.high}")
        is_whole = Space.model_fields[name].annotation is IntegerRange
        chosen[name] = int(np.rint(number)) if is_whole else float(number)
    return chosen


def with_trial(config: Config, chosen: dict[str, float | int], tid: int, ranks: int) -> Config:
    """The config that trains one trial: its hyperparameters, its share of the budget, its own seed."""
    budget = {
        key: value
        for key, value in (("epochs", config.tune.epochs), ("maps_per_epoch", config.tune.maps_per_epoch))
        if value is not None
    }
    trial = config.with_values("model", **chosen).with_values("train", ranks=ranks, **budget)
    return trial.model_copy(update={"seed": config.seed + tid})
