"""The maps that the page's browser shows: which they are, and their pixels as bytes of a fixed scale.

A byte is 1/255 of a logarithmic scale (of a linear one for residuals), so a page of hundreds of maps stays small
enough to send; who needs the values themselves has them in predictions.h5.
"""

import base64
import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import Normalize

from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.metrics.profiles import Profiles
from hpc_massmap.metrics.results import Metrics
from hpc_massmap.report import style
from hpc_massmap.report.comparison import shown_name
from hpc_massmap.report.error_bars import pixel_errors
from hpc_massmap.report.gallery import CUT, log_scale
from hpc_massmap.report.inputs import Inputs
from hpc_massmap.views import title_of, view_of

PANELS = 3000  # images of 80 x 80 bytes in a page: at most 26 MB, a third of it for maps of real clusters
WORST = 30
PROJECTIONS = 3  # of a halo at least, before another halo
LEVELS = 255
SAMPLES_SHOWN = 6  # of each map, the first

Bytes = npt.NDArray[np.uint8]


def chosen_maps(metrics: Metrics, target: str, at_most: int) -> IntArray:
    """Places (n,) in the test set of the maps to show: all of them, or `rule_of_choice` where they are too many."""
    error = _error(metrics, target)
    if len(metrics) <= at_most:
        return np.arange(len(metrics))
    worst = np.argsort(-error, kind="stable")[: min(WORST, at_most // 2)]
    left = at_most - len(worst)
    halo, mass = metrics.maps["halo"], metrics.maps["m200"]
    halos, first = np.unique(halo, return_index=True)
    by_mass = halos[np.lexsort((halos, mass[first]))]
    kept = _evenly(by_mass, max(1, left // PROJECTIONS))
    each = max(1, left // len(kept))
    typical = [_evenly(places[np.argsort(error[places], kind="stable")], each) for places in _of_halos(halo, kept)]
    return np.unique(np.concatenate([worst, *typical]))


def rule_of_choice(shown: int, of: int) -> str:
    """Which maps are shown, and what is left out, in one sentence."""
    if shown == of:
        return f"All {of} test maps are here."
    return (
        f"Here are {shown} of the {of} test maps, so that the page stays small: the {WORST} with the largest |b200|, "
        "and of halos evenly spaced in the order of M200 those whose |b200| are evenly spaced from the least to the "
        f"largest of the halo. The other {of - shown} are in predictions.h5."
    )


def browser_data(models: list[Inputs], target: str, at_most: int) -> dict[str, Any]:
    """What the page's script needs, as plain data.

    Parameters
    ----------
    models : runs with the same test maps; the first decides which maps are shown, and its views are
    """
    main = models[0]
    maps, views = main.predictions.maps, main.run.config.model.views
    places = chosen_maps(main.metrics, target, at_most)
    rows = main.predictions.rows[places]
    blocks = [_read(model, target, places) for model in models]
    true = blocks[0][1]
    residuals = [predicted - true for predicted, _ in blocks]
    reach = float(np.percentile(np.abs(residuals), CUT)) or 1.0
    unit = maps.units[target]
    panels = [_log_panel(title_of(view), _stack(maps.maps[view], rows), view, maps.units[view]) for view in views]
    scale = log_scale(list(true))
    panels.append(_log_panel(f"{title_of(target)}: truth", true, target, unit, scale))
    for model, (predicted, _), residual in zip(models, blocks, residuals, strict=True):
        of = f" of {shown_name(model)}" if len(models) > 1 else ""
        panels.append(_log_panel(f"prediction{of}", predicted, target, unit, scale))
        panels.append(_residual_panel(f"residual{of}", residual, reach, unit))
    of = f" of {shown_name(main)}" if len(models) > 1 else ""
    if main.predictions.n_samples:
        samples = _samples(main, target, places)
        panel = _log_panel(f"sample{of}", samples.reshape(-1, *true.shape[1:]), target, unit, scale)
        panels.append(panel | {"frames": samples.shape[1]})  # of a map one after the other
    errors = pixel_errors(main, target, places)
    if errors is not None:
        panels.append(_log_panel(f"error{of}: half its 68 % interval", errors, target, unit, scale))
    return {
        "target": target,
        "pixels": true.shape[-1],
        "colours": {panel["colours"]: _colours(panel["colours"]) for panel in panels},
        "panels": panels,
        "models": [shown_name(model) for model in models],
        "maps": _table(models, target, places),
    }


def _error(metrics: Metrics, target: str) -> FloatArray:
    """`|b200|` of every test map, 0 where there is none: (n,)."""
    return np.nan_to_num(np.abs(metrics.targets[target][Profiles].bias[:, -1]))


def _evenly(items: IntArray, number: int) -> IntArray:
    """At most `number` of the items, from the first to the last; the middle one if only one is wanted."""
    if number == 1:
        return items[(len(items) - 1) // 2 :][:1]
    spaced: IntArray = items[np.unique(np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int))]
    return spaced


def _of_halos(halo: IntArray, kept: IntArray) -> list[IntArray]:
    return [np.flatnonzero(halo == one) for one in kept]


def _read(model: Inputs, target: str, places: IntArray) -> tuple[FloatArray, FloatArray]:
    blocks = [model.predictions.block(target, slice(place, place + 1)) for place in places]
    predicted, true = zip(*blocks, strict=True)
    return np.concatenate(predicted), np.concatenate(true)


def _samples(model: Inputs, target: str, places: IntArray) -> FloatArray:
    """The first samples of some maps: (n, `SAMPLES_SHOWN` or as many as there are, 80, 80)."""
    found = [model.predictions.samples(target, slice(place, place + 1))[:, :SAMPLES_SHOWN] for place in places]
    return np.concatenate(found)


def _stack(maps: Any, rows: IntArray) -> FloatArray:
    return np.asarray(maps[rows], np.float64)


def _log_panel(title: str, stack: FloatArray, name: str, unit: str, scale: Normalize | None = None) -> dict[str, Any]:
    scale = scale or log_scale(list(stack))
    assert scale.vmin is not None
    assert scale.vmax is not None
    decades = np.log(scale.vmax / scale.vmin) or 1.0  # maps of one value have none
    level = np.log(np.maximum(stack, scale.vmin) / scale.vmin) / decades
    colours = view_of(name).colours
    return _panel(title, level, (scale.vmin, scale.vmax), unit, colours, "log")


def _residual_panel(title: str, stack: FloatArray, reach: float, unit: str) -> dict[str, Any]:
    return _panel(title, stack / (2 * reach) + 0.5, (-reach, reach), unit, style.RESIDUAL, "linear")


def _panel(title: str, level: FloatArray, ends: tuple[Any, Any], unit: str, colours: str, kind: str) -> dict[str, Any]:
    """A column of the browser; `level` runs from 0 to 1 along its scale."""
    images = np.rint(np.clip(level, 0, 1) * LEVELS).astype(np.uint8)
    return {
        "title": title,
        "scale": kind,
        "low": float(ends[0]),
        "high": float(ends[1]),
        "unit": "" if unit == "1" else style.plain(unit),
        "colours": colours,
        "images": [packed(image) for image in images],
    }


def packed(image: Bytes) -> str:
    """Rows from the top, each byte the difference to the one before it, deflated, in base64.

    Parameters
    ----------
    image : (n, n), whose first axis is x
    """
    upright = np.ascontiguousarray(image.T[::-1]).ravel()
    return base64.b64encode(zlib.compress(np.diff(upright, prepend=np.uint8(0)).tobytes(), 9)).decode()


def _colours(name: str) -> str:
    """A colour map as 256 colours of six hexadecimal digits."""
    return bytes(colormaps[name](np.arange(LEVELS + 1), bytes=True)[:, :3]).hex()


def _table(models: list[Inputs], target: str, places: IntArray) -> list[dict[str, Any]]:
    main = models[0].metrics
    halos, maps = models[0].predictions.maps.halos, main.maps
    bias = [model.metrics.targets[target][Profiles].bias[:, -1] for model in models]
    return [
        {
            "id": n,
            "halo": int(maps["halo"][place]),
            "region": str(halos["region"][maps["halo"][place]]),
            "projection": int(maps["projection"][place]),
            "simulation": str(maps["simulation"][place]),
            "mass": round(float(main.log_m200[place]), 3),
            "redshift": round(float(maps["redshift"][place]), 3),
            "r500": float(halos["r500"][maps["halo"][place]] / halos["r200"][maps["halo"][place]]),
            "bias": [_rounded(float(of[place])) for of in bias],
        }
        for n, place in enumerate(places)
    ]


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
