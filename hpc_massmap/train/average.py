"""An exponential average of a network's weights over the steps of its training, as an option of the recipe.

Costs a second copy of the weights and a pass over them a step; buys a validation loss without single steps' noise.
"""

import torch
from torch import nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network that averages its weights, and BatchNorm's running statistics with them.

    A young average forgets faster, min(decay, (1 + t) / (10 + t)) after t steps, or it would remember the random start.
    """

    @torch.no_grad()
    def average(averages: PARAM_LIST, values: PARAM_LIST, _: torch.Tensor | int) -> None:
        if averages[0].is_floating_point():
            steps = int(copy.n_averaged)  # stays on the CPU: a GPU is not waited for
            torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + steps) / (10 + steps)))
        else:
            torch._foreach_copy_(averages, values)

    copy = AveragedModel(model, multi_avg_fn=average, use_buffers=True).requires_grad_(False)
    copy.n_averaged += 1  # the weights that it starts with count; torch would take those of the first step instead
    return copy
