"""A mixture of what several networks say, each as likely as the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.posterior.distribution import SAMPLES, MapDistribution
from hpc_massmap.posterior.point import Point


@dataclass(frozen=True)
class Mixture:
    """What the members say of the same n maps; a point is one of equally likely maps."""

    members: Sequence[MapDistribution]

    @property
    def by_samples(self) -> bool:
        """Whether the mean of a member is known by samples alone."""
        return any(member.by_samples for member in self.members)

    def mean(self) -> FloatArray:
        """The mean of the members' means: (n, targets, 80, 80)."""
        return np.asarray(np.mean([member.mean() for member in self.members], axis=0, dtype=np.float64))

    def quantiles(self, levels: Sequence[float]) -> FloatArray:
        """Of points' maps, else of 16 equally likely quantiles of each member: (levels, n, targets, 80, 80)."""
        own = (np.arange(SAMPLES) + 0.5) / SAMPLES
        parts = [
            member.maps[None] if isinstance(member, Point) else member.quantiles(own.tolist())
            for member in self.members
        ]
        return np.asarray(np.quantile(np.concatenate(parts), levels, axis=0, method="hazen"))

    def samples(self, count: int, seed: int) -> Iterator[FloatArray]:
        """Of the members in turn, so that each has its share: `count` times (n, targets, 80, 80)."""
        streams = [
            repeat(member.maps) if isinstance(member, Point) else member.samples(count, _own(seed, place))
            for place, member in enumerate(self.members)
        ]
        for sample in range(count):
            yield next(streams[sample % len(streams)])


def _own(seed: int, member: int) -> int:
    """A seed of a member's own, or two flows would begin at the same noise."""
    return int(np.random.SeedSequence([seed, member]).generate_state(1)[0])
