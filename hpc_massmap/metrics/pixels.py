"""Relative differences of pixels (section 4.1, eq. 7 and 8): exact percentiles of any number of them.

Radix selection reads the maps twice instead of keeping the pixels: memory is a few MB whatever the number of maps,
and the integer histograms add up to the same on any number of ranks. Differences are rounded to float32 (6e-8).
What is asked of some of the maps, and the bootstrap, take a histogram of each map in bins that hold equal parts of all
pixels: 1.5 kB a map, good to a small part of the 0.4 % of the pixels that a bin holds.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import h5py
import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Evaluate
from hpc_massmap.diagnostics.bootstrap import Resampling, binned_percentile_errors, binned_percentiles
from hpc_massmap.grid import squared_radii
from hpc_massmap.hdf5 import group_of
from hpc_massmap.metrics.metric import Block, Measurement, Metric, Rows, Sum, read_as, write_fields
from hpc_massmap.metrics.relative import relative_difference
from hpc_massmap.metrics.sample import BoolArray, Sample
from hpc_massmap.metrics.spread import MEDIAN, PERCENTILES, Spread, median_error

Counts = npt.NDArray[np.int64]

APERTURES = ("whole", "r500", "half_r500")
DRAWN = (-1.0, 2.0)  # of the drawn histogram; what lies outside counts in its norm but has no bin
DRAWN_BINS = 300
BINS = 256  # of each map's own histogram

HALF = 16  # bits of a float32 that each of the two passes looks at
BUCKETS = 1 << HALF
LAST_BUCKET = 0xFF80  # that of infinity


@dataclass(frozen=True)
class PixelStatistics:
    """The distribution of D in one aperture.

    Attributes
    ----------
    median, p16, p84 : NaN if there is no pixel
    count : pixels in the aperture, without the dropped ones
    edges : (301,)
    density : (300,), its integral is the fraction of pixels between the outer edges
    bins : (257,), edges between which lie about equal parts of all pixels; a value that is that common has its own bin
    counts : (n, 256), pixels of each map in the bins
    """

    median: float
    p16: float
    p84: float
    count: int
    edges: FloatArray
    density: FloatArray
    bins: FloatArray
    counts: npt.NDArray[np.uint16]


def inside_apertures(r200: FloatArray, r500: FloatArray) -> dict[str, BoolArray]:
    """Which pixels have their centre in each aperture.

    Parameters
    ----------
    r200, r500 : (n,), kpc

    Returns
    -------
    aperture -> (n, 80, 80)
    """
    radii = {"whole": np.full_like(r200, np.inf), "r500": r500 / r200, "half_r500": r500 / r200 / 2}
    return {name: squared_radii() <= radii[name][:, None, None] ** 2 for name in APERTURES}


def differences_by_aperture(
    predicted: FloatArray, true: FloatArray, r200: FloatArray, r500: FloatArray
) -> list[npt.NDArray[np.float32]]:
    """The D of all pixels of some maps, flat, one array an aperture, without those that are dropped.

    Parameters
    ----------
    predicted, true : (n, 80, 80)
    r200, r500 : (n,), kpc
    """
    with np.errstate(over="ignore"):
        difference = relative_difference(predicted, true).astype(np.float32)
    kept = ~np.isnan(difference)
    return [difference[inside & kept] for inside in inside_apertures(r200, r500).values()]


def sortable(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """The bits of float32 numbers, changed so that as integers they have their order; -0 becomes 0; any shape."""
    bits = (values + np.float32(0)).view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def from_sortable(keys: npt.NDArray[np.uint32]) -> FloatArray:
    """The numbers that `sortable` was given, as float64; any shape."""
    bits = keys ^ np.where(keys >> 31, np.uint32(0x80000000), np.uint32(0xFFFFFFFF))
    return bits.view(np.float32).astype(np.float64)


@dataclass(frozen=True)
class FirstPass:
    """Histograms of D, and of the upper halves of its bits: what a first pass over the maps counts.

    Attributes
    ----------
    upper : (3, 65536)
    drawn : (3, 300)
    """

    upper: Counts
    drawn: Counts

    @classmethod
    def empty(cls) -> "FirstPass":
        n = len(APERTURES)
        return cls(np.zeros((n, BUCKETS), np.int64), np.zeros((n, DRAWN_BINS), np.int64))

    def add(self, differences: list[npt.NDArray[np.float32]]) -> None:
        """Count the pixels of some maps, given as by `differences_by_aperture`."""
        for aperture, values in enumerate(differences):
            self.upper[aperture] += np.bincount(sortable(values) >> HALF, minlength=BUCKETS)
            self.drawn[aperture] += np.histogram(values.astype(np.float64), DRAWN_BINS, DRAWN)[0]


@dataclass(frozen=True)
class SecondPass:
    """For every order statistic that a percentile needs, a histogram of the lower bits in its bucket.

    Attributes
    ----------
    bucket : (3, 6), upper half of the bits of each order statistic
    rank : (3, 6), how many pixels of that bucket lie below it
    lower : (3, 6, 65536)
    bins : (3, 257), edges of each map's own histogram, as upper halves of bits
    bin_of : (3, 65536), the bin of every upper half
    """

    bucket: Counts
    rank: Counts
    lower: Counts
    bins: Counts
    bin_of: npt.NDArray[np.uint8]

    @classmethod
    def after(cls, upper: Counts) -> "SecondPass":
        """Look into the buckets that the first pass, summed over all ranks, points at."""
        shape = (len(APERTURES), 2 * len(PERCENTILES))
        bucket, rank = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for aperture, histogram in enumerate(upper):
            wanted = _neighbours(int(histogram.sum()))[0].ravel()
            bucket[aperture], rank[aperture] = _locate(histogram, wanted)
        bins = np.stack([_bins(histogram) for histogram in upper])
        bin_of = np.stack([np.searchsorted(edges[1:-1], np.arange(BUCKETS), side="right") for edges in bins])
        return cls(bucket, rank, np.zeros((*shape, BUCKETS), np.int64), bins, bin_of.astype(np.uint8))

    def add(self, differences: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.uint16]:
        """Count the pixels of one map, given as by `differences_by_aperture`: its own histograms, (3, 256)."""
        counts = np.zeros((len(APERTURES), BINS), np.uint16)
        for aperture, values in enumerate(differences):
            keys = sortable(values)
            upper = keys >> HALF
            counts[aperture] = np.bincount(self.bin_of[aperture][upper], minlength=BINS)
            for bucket in np.unique(self.bucket[aperture]):
                wanted = np.flatnonzero(self.bucket[aperture] == bucket)
                np.add.at(self.lower[aperture], (wanted[:, None], keys[upper == bucket] & (BUCKETS - 1)), 1)
        return counts

    def order_statistics(self, lower: Counts) -> FloatArray:
        """The pixels below and above each percentile, from `lower` summed over all ranks: (3, 3, 2)."""
        keys = np.zeros(self.bucket.shape, np.uint32)
        for index in np.ndindex(self.bucket.shape):
            low, _ = _locate(lower[index], self.rank[index])
            keys[index] = (self.bucket[index] << HALF) | low
        return from_sortable(keys).reshape(len(APERTURES), len(PERCENTILES), 2)


def _bins(histogram: Counts) -> Counts:
    """Buckets between whose beginnings lie about equal parts of all pixels, the last ones empty: (257,)."""
    part = np.arange(BINS) * int(histogram.sum()) // BINS
    first, times = np.unique(_locate(histogram, part)[0], return_counts=True)
    end = np.flatnonzero(histogram)[-1:] + 1
    # a bucket that holds several parts ends where it ends, not where the next part begins
    edges = np.union1d(np.union1d(first, first[times > 1] + 1), end)
    return np.pad(edges, (0, BINS + 1 - len(edges)), mode="edge")


def _locate(histogram: Counts, rank: Any) -> tuple[Any, Any]:
    """The bucket that holds the pixel with `rank` others below it, and its rank in there."""
    through = np.cumsum(histogram)
    bucket = np.minimum(np.searchsorted(through, rank, side="right"), BUCKETS - 1)
    return bucket, rank - (through[bucket] - histogram[bucket])


def _neighbours(count: int) -> tuple[Counts, FloatArray]:
    """For each percentile the two ranks around it, (3, 2), and its place between them, (3,)."""
    place = np.array(PERCENTILES) / 100 * max(count - 1, 0)
    below = np.floor(place).astype(np.int64)
    return np.stack([below, np.minimum(below + 1, max(count - 1, 0))], axis=1), place - below


def statistics(
    first: FirstPass, order_statistics: FloatArray, bins: Counts, counts: npt.NDArray[np.uint16]
) -> dict[str, PixelStatistics]:
    """Percentiles, interpolated as numpy does, and densities, from sums over all ranks.

    Parameters
    ----------
    bins : of the second pass
    counts : (n, 3, 256), of each map
    """
    edges = np.linspace(*DRAWN, DRAWN_BINS + 1)
    result = {}
    for aperture, name in enumerate(APERTURES):
        upper, drawn, around = first.upper[aperture], first.drawn[aperture], order_statistics[aperture]
        count = int(upper.sum())
        _, part = _neighbours(count)
        p16, median, p84 = _interpolated(around, part) if count else np.full(len(PERCENTILES), np.nan)
        density = drawn / (max(count, 1) * np.diff(edges))
        own_bins = from_sortable((np.minimum(bins[aperture], LAST_BUCKET) << HALF).astype(np.uint32))
        own = np.ascontiguousarray(counts[:, aperture])
        result[name] = PixelStatistics(float(median), float(p16), float(p84), count, edges, density, own_bins, own)
    return result


def _interpolated(around: FloatArray, part: FloatArray) -> FloatArray:
    below, above = around[:, 0], around[:, 1]
    with np.errstate(invalid="ignore"):  # infinite neighbours
        step = above - below
        return np.where(part < 0.5, below + step * part, above - step * (1 - part))


class _TwoPasses:
    """Both passes over the maps of a rank."""

    def __init__(self) -> None:
        self._first = FirstPass.empty()
        self._second: SecondPass | None = None
        self._lower: Counts | None = None
        self._counts = [np.empty((0, len(APERTURES), BINS), np.uint16)]

    def add(self, block: Block) -> None:
        if self._second is None:
            self._first.add(differences_by_aperture(block.predicted, block.true, block.r200, block.r500))
            return
        of_maps = zip(block.predicted, block.true, block.r200, block.r500, strict=True)
        counts = [self._second.add(differences_by_aperture(*(of[None] for of in one))) for one in of_maps]
        self._counts.append(np.stack(counts))

    def wants_another_pass(self, total: Sum) -> bool:
        if self._second is None:
            self._first = FirstPass(total(self._first.upper), total(self._first.drawn))
            self._second = SecondPass.after(self._first.upper)
            return True
        self._lower = total(self._second.lower)
        return False

    def found(self) -> tuple[Rows, tuple[FirstPass, FloatArray, Counts]]:
        assert self._second is not None
        assert self._lower is not None
        known = self._first, self._second.order_statistics(self._lower), self._second.bins
        return {"counts": np.concatenate(self._counts)}, known


@dataclass(frozen=True)
class Pixels(Metric):
    """The distribution of D over the pixels of all maps.

    Attributes
    ----------
    apertures : by name
    """

    name: ClassVar[str] = "pixels"

    apertures: dict[str, PixelStatistics]

    @classmethod
    def measurement(cls, settings: Evaluate) -> Measurement:
        return _TwoPasses()

    @classmethod
    def of_all(cls, rows: Rows, known: tuple[FirstPass, FloatArray, Counts], settings: Evaluate) -> Self:
        return cls(statistics(*known, rows["counts"]))

    def write(self, group: h5py.Group) -> None:
        for name, of_aperture in self.apertures.items():
            write_fields(group.create_group(name), asdict(of_aperture))

    @classmethod
    def read(cls, group: h5py.Group) -> Self:
        return cls({name: read_as(PixelStatistics, group_of(group, name)) for name in APERTURES})

    def spread(self, sample: Sample, aperture: str) -> Spread:
        """Of all pixels of all maps, exact, with an error from the histograms of the maps."""
        of = self.apertures[aperture]
        error, regions = _error(of.counts, of.bins, sample.draws)
        return Spread(*map(np.asarray, (of.median, of.p16, of.p84, of.count, error, regions)))

    def spread_of(self, sample: Sample, aperture: str, chosen: BoolArray) -> Spread:
        """Of the pixels of some of the maps, (n_maps,) of bool, as good as the histograms of the maps."""
        of = self.apertures[aperture]
        counts = of.counts[chosen]
        together = counts.sum(axis=0, dtype=np.int64)
        p16, median, p84 = binned_percentiles(together, of.bins, PERCENTILES)
        error, regions = _error(counts, of.bins, sample.draws.of(chosen))
        return Spread(*map(np.asarray, (median, p16, p84, together.sum(), error, regions)))

    def headline(self, sample: Sample) -> list[str]:
        found = {aperture: self.spread(sample, aperture) for aperture in self.apertures}
        return [f"  pixels, {aperture}: {of.text()}  ({of.count} pixels)" for aperture, of in found.items()]


def _error(counts: IntArray, bins: FloatArray, draws: Resampling) -> tuple[float, int]:
    """Of the median of what was counted, and how many regions it is from."""
    some = np.asarray(counts.any(axis=1))
    own = draws.of(some)
    standard_error = binned_percentile_errors(counts[some], bins, own, MEDIAN)
    return float(median_error(standard_error, own.n_regions)[0]), own.n_regions
