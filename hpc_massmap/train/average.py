"""An exponential average of a network's weights over the steps of its training, as an option of the recipe.

Costs a second copy of the weights and a pass over them a step; buys a validation loss without single steps' noise.
"""

import copy
from typing import Any

import torch
from torch import nn


class Average:
    """The averaged network: its weights, and BatchNorm's running statistics with them.

    A young average forgets faster, min(decay, (1 + t) / (10 + t)) after t steps, or it would remember the random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the weights of the step that was just made into the average."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        values = model.state_dict()
        for name, average in self.model.state_dict().items():  # these share their memory with the network
            if average.is_floating_point():
                average.lerp_(values[name], 1 - decay)
            else:
                average.copy_(values[name])

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "steps": self._steps}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._steps = state["steps"]
