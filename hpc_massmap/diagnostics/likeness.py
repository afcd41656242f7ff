"""Whether a map looks like those that a network was made from: a p-value by region, from its views alone.

Each fault that is feared has a test: a view in other units or with another amount of gas or stars (times `BRIGHTER`),
a wrong R200 (the inner `CLOSER` of a map in its place), a view that is flipped. Its statistic is Fisher's linear
discriminant between home maps and the same maps with that fault; one more is the Mahalanobis distance of the
roughness, for noise, beams and another resolution. The score of a map is the largest of
them, each in units of its root mean square at home.

The p-value is cross-conformal (Vovk 2015) with regions as the draws, as error bars have it (`diagnostics.conformal`):
regions are left out in turn, some at a time if there are many; those left out are scored by the discriminants of the
others, and so is a new map; p = (1 + sum over regions of the share of its maps that score as high)/(n + 1). Nothing of
the network is in it, so that regions that trained it count as well as those that validated. If a map's region is a
draw like those, P(p <= a) is at most about 2a whatever the distribution, and a or less as a rule. Only the mean
profile, the unit of the features, is of all home regions at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.diagnostics.view_features import (
    N_ANNULI,
    brightness_columns,
    features,
    roughness_columns,
    together_columns,
)

UNLIKE = 0.05  # a map of a smaller p-value does not look like the home maps
FEWEST_REGIONS = 20  # of which a p-value can be so small
FOLDS = 40  # in which many regions are left out together
BRIGHTER = 3.0
CLOSER = 0.7  # R200
NARROWEST = 0.1  # dex, of the scatter of a feature
FAR = 2.5  # scatters
SHRINKAGE = 0.1  # of correlations
RIDGE = 0.05  # of the variance of a feature


@dataclass(frozen=True)
class Fold:
    """The discriminants of all home regions but some.

    Attributes
    ----------
    median, scatter : (f,), of the features
    centre : (f,), the mean of the standardised features
    directions : (d, f), of faults
    both_ways : (d,), whether the opposite of the fault is one, too
    whitening : (r, r), of the roughness
    scale : (d + 1,), root mean squares of the tests at home
    """

    median: FloatArray
    scatter: FloatArray
    centre: FloatArray
    directions: FloatArray
    both_ways: npt.NDArray[np.bool_]
    whitening: FloatArray
    scale: FloatArray


@dataclass(frozen=True)
class Reference:
    """What home maps look like.

    Attributes
    ----------
    views : names
    profiles : (views, 11)
    folds : each of some regions less
    fold : (n,), by which each home region was scored
    scores : (n, m), of its maps, ascending
    """

    views: list[str]
    profiles: FloatArray
    folds: list[Fold]
    fold: IntArray
    scores: list[FloatArray]

    def p_values(self, maps: FloatArray) -> FloatArray:
        """Of maps (n, views, 80, 80) in the units of the home maps: (n,)."""
        found = features(maps, self.profiles)
        scored = [_score(fold, found) for fold in self.folds]
        total = np.ones(len(found))
        for fold, scores in zip(self.fold, self.scores, strict=True):
            total += 1 - np.searchsorted(scores, scored[fold], side="left") / len(scores)
        return np.asarray(total / (len(self.scores) + 1))


def with_faults(maps: FloatArray) -> FloatArray:
    """Maps (n, views, 80, 80) with each of the feared faults: (faults, n, views, 80, 80), in the order of `fit`."""
    n_views, found = maps.shape[1], [_closer(maps)]
    for view in range(n_views):
        brighter = maps.copy()
        brighter[:, view] *= BRIGHTER
        found.append(brighter)
    for view in range(n_views if n_views > 1 else 0):
        flipped = maps.copy()
        flipped[:, view] = flipped[:, view, :, ::-1]
        found.append(flipped)
    return np.stack(found)


def fit(
    views: Sequence[str], profiles: FloatArray, home: FloatArray, faulty: FloatArray, region: npt.NDArray[np.generic]
) -> Reference:
    """Learn what home maps look like.

    Parameters
    ----------
    views : names
    profiles : (views, 11), of `mean_profiles`
    home : (n, f), features of home maps
    faulty : (faults, n, f), those of the same maps `with_faults`
    region : (n,), the name of each map's region
    """
    names, number = np.unique(region, return_inverse=True)
    fold_of = np.arange(len(names)) % FOLDS
    folds, scores = [], dict[int, FloatArray]()
    for fold in range(min(FOLDS, len(names))):
        left_out = fold_of[number] == fold
        folds.append(_fit(home[~left_out], faulty[:, ~left_out], number[~left_out], len(views)))
        for one in np.flatnonzero(fold_of == fold).tolist():
            scores[one] = np.sort(_score(folds[-1], home[number == one]))
    return Reference(list(views), profiles, folds, fold_of, [scores[one] for one in range(len(names))])


def _closer(maps: FloatArray) -> FloatArray:
    """The inner part of maps, on as many pixels."""
    places = np.floor((np.arange(PIXELS) + 0.5 - PIXELS / 2) * CLOSER + PIXELS / 2).astype(np.int64)
    return np.asarray(maps[..., places[:, None], places])


def _fit(home: FloatArray, faulty: FloatArray, region: IntArray, n_views: int) -> Fold:
    weight = 1 / np.bincount(region)[region]
    weight /= weight.sum()
    median = _median(home, weight)
    scatter = np.maximum(np.sqrt(weight @ (home - weight @ home) ** 2), NARROWEST)
    raw = _standardised(home, median, scatter)
    centre = weight @ raw
    standard = raw - centre
    covariance = np.einsum("n,ni,nj->ij", weight, standard, standard)
    diagonal = np.diag(np.diag(covariance))
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal + RIDGE * np.eye(len(covariance))
    bright, together = brightness_columns(n_views), together_columns(n_views)
    directions, both_ways = np.zeros((len(faulty), home.shape[1])), np.arange(len(faulty)) <= n_views
    for number, found in enumerate(faulty):
        columns = bright if both_ways[number] else together
        moved = weight @ (_standardised(found, median, scatter) - raw)
        direction = np.linalg.solve(covariance[columns, columns], moved[columns])
        size = np.sqrt(direction @ covariance[columns, columns] @ direction)
        directions[number, columns] = direction / size if size > 0 else 0.0
    rough = roughness_columns(n_views)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance[rough, rough]))
    bare = Fold(median, scatter, centre, directions, both_ways, whitening, np.ones(len(faulty) + 1))
    scale = np.sqrt(weight @ _tests(bare, home) ** 2)
    return Fold(median, scatter, centre, directions, both_ways, whitening, np.where(scale > 0, scale, 1.0))


def _median(values: FloatArray, weight: FloatArray) -> FloatArray:
    order = np.argsort(values, axis=0, kind="stable")
    through = np.cumsum(weight[order], axis=0)
    middle = np.minimum((through < 0.5).sum(axis=0), len(values) - 1)
    return np.asarray(np.take_along_axis(values, np.take_along_axis(order, middle[None], axis=0), axis=0)[0])


def _standardised(values: FloatArray, median: FloatArray, scatter: FloatArray) -> FloatArray:
    """Features in units of their scatter; what lies far off counts by its logarithm, so that no single map rules."""
    found = (values - median) / scatter
    beyond = np.log1p(np.maximum(np.abs(found) - FAR, 0))
    return np.asarray(np.sign(found) * (np.minimum(np.abs(found), FAR) + beyond))


def _tests(fold: Fold, found: FloatArray) -> FloatArray:
    """The statistics of maps, (n, f): (n, d + 1)."""
    standard = _standardised(found, fold.median, fold.scatter) - fold.centre
    along = np.einsum("nf,df->nd", standard, fold.directions)
    of_faults = np.where(fold.both_ways, np.abs(along), np.maximum(along, 0))
    rough = standard[:, roughness_columns(len(fold.whitening) // N_ANNULI)]
    distance = np.sqrt((np.einsum("nr,sr->ns", rough, fold.whitening) ** 2).mean(axis=1))
    return np.concatenate([of_faults, distance[:, None]], axis=1)


def _score(fold: Fold, found: FloatArray) -> FloatArray:
    return np.asarray((_tests(fold, found) / fold.scale).max(axis=1))
