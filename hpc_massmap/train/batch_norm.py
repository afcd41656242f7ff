"""BatchNorm over the batch of all ranks, where torch's own is for GPUs only.

Two ranks on half batches then do what one does on whole ones. It costs two small sums over ranks a layer, forward and
backward.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

OVER = (0, 2, 3)  # all axes but the channels'


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d of (n, channels, s, s) whose mean and variance in training are those of all ranks' maps."""

    process_group: dist.ProcessGroup | None = None  # as torch's: of these ranks; None: of all

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(maps)
        normalised, mean, variance, count = _Normalise.apply(  # type: ignore[no-untyped-call]
            maps, self.weight, self.bias, self.eps, self.process_group
        )
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * count / (count - 1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked += 1
        result: torch.Tensor = normalised
        return result


class _Normalise(torch.autograd.Function):
    """The sums in double precision: a variance by mean squares loses digits."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
        group: dist.ProcessGroup | None,
    ) -> Any:
        values = maps.double()
        count = values.new_full((1,), maps.numel() // maps.shape[1])
        sums = torch.cat([values.sum(OVER), values.square().sum(OVER), count])
        dist.all_reduce(sums, group=group)
        total, squares = sums[:-1].view(2, -1)
        mean = total / sums[-1]
        variance = squares / sums[-1] - mean**2
        scale = (variance + eps).rsqrt()
        ctx.group = group
        ctx.save_for_backward(maps, weight, mean, scale, sums[-1])
        normalised = _centred(maps, mean, scale) * _over_maps(weight) + _over_maps(bias)
        ctx.mark_non_differentiable(mean, variance, sums[-1])
        return normalised.to(maps.dtype), mean, variance, sums[-1]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        maps, weight, mean, scale, count = ctx.saved_tensors
        gradient = _precise(gradients[0])
        centred = _centred(maps, mean, scale)
        own = torch.stack([gradient.double().sum(OVER), (gradient * centred).double().sum(OVER)])
        both = own.clone()
        dist.all_reduce(both, group=ctx.group)
        along = [_over_maps((part / count).to(gradient.dtype)) for part in both]
        of_maps = _over_maps(weight * scale.to(gradient.dtype)) * (gradient - along[0] - centred * along[1])
        return of_maps.to(maps.dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None, None


def _centred(maps: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    values = _precise(maps)
    return (values - _over_maps(mean.to(values.dtype))) * _over_maps(scale.to(values.dtype))


def _precise(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _over_maps(channels: torch.Tensor) -> torch.Tensor:
    return channels.view(1, -1, 1, 1)


def synchronise(model: nn.Module, device: torch.device, group: dist.ProcessGroup | None = None) -> None:
    """Have every BatchNorm2d average over all ranks, or those of a group; names and values of a model's state stay."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            ours = nn.SyncBatchNorm if device.type == "cuda" else SynchronisedBatchNorm2d
            layer = ours(child.num_features, child.eps, child.momentum or 0.1).to(child.weight)
            layer.process_group = group
            layer.load_state_dict(child.state_dict())
            setattr(model, name, layer)
        else:
            synchronise(child, device, group)
