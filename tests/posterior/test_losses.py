"""What a training makes small, against its definition."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from hpc_massmap.config import Train
from hpc_massmap.dataset.normalisation import Normalisation
from hpc_massmap.posterior.losses import LEAST, loss_of

FITTED = Normalisation("linear", {"mass": 4.0, "star": 2.0}, {"mass": 3.0, "star": 5.0}, {"mass": 0.0, "star": 0.0})


def test_the_relative_loss_is_each_map_s_error_over_its_mean() -> None:
    stream = np.random.default_rng(1)
    true, predicted = stream.gamma(2.0, 3.0, (2, 5, 2, 6, 6))
    names = ["mass", "star"]
    normalised = [
        np.stack([(maps[:, n] - FITTED.mean[name]) / FITTED.std[name] for n, name in enumerate(names)], axis=1)
        for maps in (predicted, true)
    ]
    parts = []
    for one, other in zip(predicted, true, strict=True):
        for n, name in enumerate(names):
            error = np.mean(np.abs(one[n] - other[n])) / FITTED.std[name]
            parts.append(error / (np.mean(other[n]) / FITTED.mean[name]))
    found = loss_of(Train(loss="relative"), FITTED, names)(*map(torch.from_numpy, normalised))
    assert float(found) == pytest.approx(np.mean(parts))


def test_an_empty_map_does_not_outweigh_all_others() -> None:
    empty = torch.full((1, 1, 6, 6), -4.0 / 3.0)  # zero mass
    assert float(loss_of(Train(loss="relative"), FITTED, ["mass"])(empty + 1, empty)) == pytest.approx(
        1 / LEAST, rel=1e-3
    )


def test_an_error_in_the_log_is_relative_already() -> None:
    with pytest.raises(ValidationError, match="loss = relative is for normalisation = linear"):
        Train(loss="relative", normalisation="log")
