"""The network, and the recipe by which it is trained."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from hpc_massmap.config.section import Count, Level, Name, Positive, Rate, Section

Output = Literal["point", "quantiles", "flow"]
Network = Literal["unet", "convnext", "transformer"]
LACKS: dict[Network, tuple[str, ...]] = {"unet": (), "convnext": ("kernel",), "transformer": ()}
"""The hyperparameters that a network does not have: they keep their default, and are not searched."""
LEVELS = [0.05, 0.16, 0.5, 0.84, 0.95]


class Model(Section):
    """The network (section 3.1) and what goes in and out of it."""

    views: Annotated[list[Name], Field(min_length=1)] = ["star", "sz", "xray"]
    """the maps that go in"""
    targets: Annotated[list[Name], Field(min_length=1)] = ["mass"]
    """the maps that come out"""
    network: Annotated[Network, Field(exclude_if=lambda network: network == "unet")] = "unet"
    """the paper's U-Net, or the same with ConvNeXt's blocks or attention in it"""
    encoders: Literal["one", "per_view"] = "per_view"
    """one for all views as channels (multi-1), or one for each view (multi-3)"""
    filters: Annotated[int, Field(ge=2, le=4096)] = 32
    """of the first level; each level below has twice as many"""
    kernel: Annotated[int, Field(ge=1, le=80)] = 3
    """of the convolutions, pixels; a map has 80. Nothing to `convnext`, which has 7"""
    layers: Annotated[int, Field(ge=1, le=4)] = 4
    """levels of the U, each half as wide as the one above"""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of the activations that each step leaves out"""
    output: Annotated[Output, Field(exclude_if=lambda output: output == "point")] = "point"
    """what it says of a map: one map, its mean and quantiles, or whole maps drawn from the posterior"""
    levels: Annotated[list[Level], Field(min_length=2, exclude_if=lambda levels: levels == LEVELS)] = LEVELS
    """of the quantiles"""

    @field_validator("levels")
    @classmethod
    def _increase(cls, levels: list[float]) -> list[float]:
        if any(a >= b for a, b in pairwise(levels)):
            raise ValueError("levels must increase")
        return levels

    @model_validator(mode="after")
    def _has_what_its_network_has(self) -> Self:
        for name in LACKS[self.network]:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"network = {self.network} has no {name} to choose; leave model.{name} out")
        return self

    @model_validator(mode="after")
    def _names_each_map_once(self) -> Self:
        names = [*self.views, *self.targets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is named twice in views and targets")
        return self


class Train(Section):
    """The recipe (section 3.2); the batch size is not in the paper."""

    batch_size: Count = 32
    """over all ranks"""
    epochs: Count = 100
    """at most"""
    learning_rate: Rate = 1e-4
    """of the first epochs"""
    late_learning_rate: Rate = 1e-5
    """of the epochs after late_after"""
    late_after: Count = 50
    """epochs"""
    patience: Count = 5
    """epochs without a better validation loss"""
    normalisation: Literal["linear", "log"] = "linear"
    """of the maps: linear as in the paper, or of their logarithms"""
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16: where the hardware has it, else fp32"""
    ranks: Count = 1
    """processes that share the training, where the site does not say how many"""
    batch_norm: Literal["per_rank", "synchronised"] = "per_rank"
    """whose maps it averages over: each rank's, or all"""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """of each rank"""
    maps_per_epoch: Count | None = None
    """a fresh random part of the training set each epoch; None: all of it"""
    optimiser: Literal["adam", "adam_fused"] = "adam"
    """fused: all parameters in one kernel. Not in the paper, nor are the keys below"""
    schedule: Literal["step", "cosine"] = "step"
    """cosine: half a wave down to late_learning_rate"""
    warmup: Annotated[int, Field(ge=0)] = 0
    """epochs over which the rate rises from zero"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """decay per step of an average of the weights, which is kept"""
    compile: bool = False
    """by torch.compile; the first steps take minutes"""
    loss: Literal["l1", "relative"] = "l1"
    """relative: the error of each map over its true mean, for low-mass halos"""
    augment: bool = False
    """give each map one of the 8 symmetries of the square, another one each epoch"""
    checkpoint_seconds: Positive = 300.0
    """between checkpoints within an epoch; there is one at its end besides"""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.loss == "relative" and self.normalisation == "log":
            raise ValueError("loss = relative is for normalisation = linear; in the log an error is relative already")
        if self.warmup >= self.epochs:
            raise ValueError(f"warmup = {self.warmup} must be less than epochs = {self.epochs}")
        return self
