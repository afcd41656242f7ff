"""Networks are compared at equal cost, or not at all."""

import pytest

from benchmarks.networks import WITHIN, cost, of_equal_cost
from hpc_massmap.config import Model
from hpc_massmap.errors import InputError
from hpc_massmap.model.build import NETWORKS


def test_all_networks_cost_as_much_as_the_first() -> None:
    model = Model(filters=16, layers=1, encoders="one")
    found = of_equal_cost(model, list(NETWORKS))
    assert found["unet"] == model
    assert {network: one.network for network, one in found.items()} == {network: network for network in NETWORKS}
    assert all(abs(cost(one).flops / cost(model).flops - 1) <= WITHIN for one in found.values())


def test_networks_that_cannot_cost_as_much_are_not_compared() -> None:
    with pytest.raises(InputError, match=r"model.filters = 3: convnext comes no nearer than \+..%; take more"):
        of_equal_cost(Model(filters=3, layers=2), ["unet", "convnext"])
