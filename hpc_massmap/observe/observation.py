"""The maps of a file as telescopes see them.

All chance of a map follows from (observe.seed, row, epoch) in training and from (observe.seed, row) elsewhere, for each
effect on each view by itself: batches, ranks, order, and what other effects there are change nothing of it. Targets
are left as they were drawn: what a network is asked for is the truth, in its true frame.
"""

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from hpc_massmap.arrays import PIXELS, FloatArray, IntArray
from hpc_massmap.config.observe import Observe
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.errors import InputError
from hpc_massmap.observe.cut import cut_out
from hpc_massmap.observe.effects import EFFECTS
from hpc_massmap.observe.missing import views_there
from hpc_massmap.observe.sky import Sky, sky_of


class ObservedStack:
    """Maps of one view as they are seen, drawn when they are asked for; indexed like a memory map."""

    def __init__(self, observation: "Observation", view: str, epoch: int | None) -> None:
        self._observation, self._view, self._epoch = observation, view, epoch
        self.shape = observation.maps.maps[view].shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> npt.NDArray[np.float32]:
        """Some maps, float32: (80, 80) of one row, (k, 80, 80) of a slice or of k rows in any order."""
        asked = np.arange(len(self))[rows]
        wanted = np.atleast_1d(asked)
        ideal = np.asarray(self._observation.maps.maps[self._view][wanted])
        seen = self._observation(self._view, ideal, wanted, self._epoch)
        return seen.reshape(*np.shape(asked), *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)


class Observation:
    """Views of a map file through telescopes.

    Parameters
    ----------
    maps : as they were drawn
    views : of the network, in its order

    Raises
    ------
    InputError
        If an effect is for maps of another unit, a cluster that has an angle on the sky is at redshift 0, the file
        lacks its cosmology, or a beam is wider than a map.
    """

    def __init__(self, observe: Observe, maps: MapFile, views: list[str]) -> None:
        self.observe, self.maps, self.views = observe, maps, views
        self._is_cut = observe.miscentring > 0 or observe.r200_scatter > 0
        self._check()

    def __call__(self, view: str, maps: FloatArray, rows: IntArray, epoch: int | None) -> npt.NDArray[np.float32]:
        """Maps of one view, (n, 80, 80), that are rows of the file, (n,), as they are seen: (n, 80, 80) float32.

        Parameters
        ----------
        epoch : of the training; None elsewhere
        """
        settings, seen = self.observe.views.get(view), maps
        factor = np.ones(len(rows))
        if self._is_cut:
            drawn = np.stack([chance.standard_normal(3) for chance in self._chance(rows, epoch, "cut")])
            factor = np.exp(self.observe.r200_scatter * drawn[:, 2])
            seen = cut_out(seen, self.observe.miscentring * drawn[:, :2], factor)
        if settings is not None and view in self.observe.on_the_sky:
            sky = self._sky(rows, self.redshifts(rows, epoch), factor)
        else:
            sky = Sky(factor, factor, factor)  # which no effect asks for
        for name, effect in EFFECTS.items():
            if settings is not None and getattr(settings, name):
                seen = effect.apply(seen, settings, sky, self._chance(rows, epoch, f"{view} {name}"))
        return np.asarray(seen, np.float32)

    def file(self, epoch: int | None = None) -> MapFile:
        """The map file as it is seen, in an epoch of the training or elsewhere; drawn when it is indexed."""
        seen = {view: ObservedStack(self, view, epoch) for view in self.views}
        return replace(self.maps, maps={**self.maps.maps, **seen})

    def there(self, rows: IntArray, epoch: int | None) -> npt.NDArray[np.bool_]:
        """Which views of some rows, (n,), are there: (n, views); all of them, but in training."""
        share = self.observe.view_dropout
        if epoch is None or not share:
            return np.ones((len(rows), len(self.views)), bool)
        return views_there(len(self.views), share, self._chance(rows, epoch, "views"))

    def redshifts(self, rows: IntArray, epoch: int | None) -> FloatArray:
        """At which redshift some rows, (n,), are seen: (n,)."""
        wanted = self.observe.redshift
        if isinstance(wanted, tuple):
            return np.array([chance.uniform(*wanted) for chance in self._chance(rows, epoch, "redshift")])
        if wanted == "halo":
            return np.asarray(self.maps.halos["redshift"][self.maps.halo[rows]])
        return np.full(len(rows), float(wanted))

    def _sky(self, rows: IntArray, redshift: FloatArray, factor: FloatArray | float) -> Sky:
        r200 = self.maps.halos["r200"][self.maps.halo[rows]] * factor
        return sky_of(redshift, r200, float(self.maps.attributes["h"]), float(self.maps.attributes["omega_m"]))

    def _chance(self, rows: IntArray, epoch: int | None, of: str) -> list[Generator]:
        key = zlib.crc32(of.encode())
        when = 0 if epoch is None else epoch + 1
        return [np.random.default_rng([self.observe.seed, int(row), when, key]) for row in rows]

    def _check(self) -> None:
        self._check_settings()
        for view in self.observe.views:  # what only pixels can tell, before the first job
            self.file().maps[view][int(self.maps.halos["m200"].argmax()) * len(self.maps.rotations)]

    def _check_settings(self) -> None:
        path = self.maps.path
        for view, settings in self.observe.views.items():
            for name, effect in EFFECTS.items():
                unit = self.maps.units[view]
                if getattr(settings, name) and effect.unit not in (None, unit):
                    raise InputError(
                        f"{path}: its {view} maps are in {unit!r}, but observe.views.{view}.{name} is for such in "
                        f"{effect.unit!r}"
                    )
        if not self.observe.on_the_sky:
            return
        for name in ("h", "omega_m"):
            if name not in self.maps.attributes:
                raise InputError(f"{path}: does not say its {name}, by which observe knows angles on the sky")
        rows = np.unique(self.maps.halo, return_index=True)[1]  # the first map of each halo
        wanted = self.observe.redshift
        ends = [np.full(len(rows), z) for z in wanted] if isinstance(wanted, tuple) else [self.redshifts(rows, None)]
        if any((redshift <= 0).any() for redshift in ends):
            halo = int(np.argmin(ends[0]))
            raise InputError(
                f"{path}: halo {halo} is at redshift {ends[0][halo]:g}, which has no angle on the sky; set "
                "observe.redshift to a number, or [low, high]"
            )
        width = PIXELS * np.min([self._sky(rows, redshift, 1.0).arcmin for redshift in ends], axis=0)
        for view, settings in self.observe.views.items():
            if settings.beam is not None and settings.beam.fwhm > width.min():
                raise InputError(
                    f"{path}: observe.views.{view}.beam.fwhm = {settings.beam.fwhm:g} is wider than the map of halo "
                    f"{int(width.argmin())}, {width.min():.2g} arcmin; set a smaller beam or observe.redshift"
                )


def described(observe: Observe) -> str:
    """What stands between maps and network, in a sentence for the reader of a report; nothing if that is nothing."""
    if not observe.is_on:
        return ""
    effects = {view: [name for name in EFFECTS if getattr(settings, name)] for view, settings in observe.views.items()}
    parts = [f"{view} with {', '.join(names).replace('_', ' ')}" for view, names in effects.items() if names]
    if observe.on_the_sky:
        z = observe.redshift
        parts.append(f"at redshift {' to '.join(f'{end:g}' for end in z)}" if isinstance(z, tuple) else f"redshift {z}")
    if observe.miscentring or observe.r200_scatter:
        parts.append(f"centres off by {observe.miscentring:g} R200 along each axis, R200 by {observe.r200_scatter:.0%}")
    return f"The views are as telescopes see them: {'; '.join(parts) or 'some of them missing in training'}."


def observed(maps: MapFile, observe: Observe, views: list[str]) -> MapFile:
    """A map file as it is seen in validation and test; itself, if all is off. Raises what `Observation` does."""
    return Observation(observe, maps, views).file() if observe.is_on else maps
