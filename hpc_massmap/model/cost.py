"""What a network costs: its parameters, and the operations and memory of one map."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hpc_massmap.arrays import PIXELS
from hpc_massmap.config import Model

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """Of one map.

    Attributes
    ----------
    flops : of a pass forward, two for a product that is added; on CPUs the decoder needs fewer for the same sums
    kept : MiB of features that a pass forward keeps for the gradient in single precision
    """

    parameters: int
    flops: int
    kept: float


def cost_of(network: nn.Module, model: Model) -> Cost:
    """Counted without computing anything, of a network that `build_model` made; it is on no device afterwards."""
    network = network.to("meta").train()
    shape = (1, PIXELS, PIXELS)
    inputs = [torch.empty(1, len(model.views), *shape[1:], device="meta")]
    if model.output == "flow":
        inputs += [torch.empty(1, len(model.targets), *shape[1:], device="meta"), torch.empty(1, device="meta")]
    own = {id(weight) for weight in network.parameters()}
    kept: dict[int, int] = {}

    def keep(saved: torch.Tensor) -> torch.Tensor:
        if id(saved) not in own:
            kept[saved.untyped_storage()._cdata] = saved.untyped_storage().nbytes()
            alive.append(saved)
        return saved

    alive: list[torch.Tensor] = []  # so that no storage's place is taken by another
    keeping = torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved)
    with FlopCounterMode(display=False) as counter, keeping:
        network(*inputs)
    parameters = sum(weight.numel() for weight in network.parameters())
    return Cost(parameters, int(counter.get_total_flops()), sum(kept.values()) / MIB)
