"""A map of any pixel size onto the 80x80 pixels of the network's, by exact overlaps of areas.

An input pixel is taken as uniform over its square, so the result is the mean of the input over each new pixel and its
integral over the field is the input's. Smoothing is left alone: a map that is sharper or blurred more than the training
maps stays so.
"""

import numpy as np
from scipy.ndimage import map_coordinates

from hpc_massmap.arrays import PIXELS, FloatArray

TOLERANCE = 1e-3  # R200 that a map may lack at its edge: rounded sizes


def reach(shape: tuple[int, int], x: float, y: float, r200: float) -> float:
    """How far a map goes from its centre towards its nearest edge, in R200.

    Parameters
    ----------
    shape : rows and columns
    x, y : the centre in pixels, as FITS counts: 1 is the middle of the first column and row
    r200 : pixels
    """
    return min(x - 0.5, shape[1] + 0.5 - x, y - 0.5, shape[0] + 0.5 - y) / r200


def field(shape: tuple[int, int], x: float, y: float, r200: float) -> tuple[slice, slice]:
    """Rows and columns of the input that the network's map overlaps; parameters as of `reach`."""
    rows, columns = _edges(shape[0], y, r200), _edges(shape[1], x, r200)
    return (
        slice(int(np.floor(rows[0])), int(np.ceil(rows[-1]))),
        slice(int(np.floor(columns[0])), int(np.ceil(columns[-1]))),
    )


def regrid(pixels: FloatArray, x: float, y: float, r200: float) -> FloatArray:
    """The mean of a map over each of 80x80 pixels that span R200 to each side of its centre.

    Parameters
    ----------
    pixels : (rows, columns), finite inside `field`; it must reach R200
    x, y, r200 : as of `reach`

    Returns
    -------
    (80, 80) float64, in the unit of the input, which must be one of brightness or density, not of a pixel's total
    """
    rows, columns = field((pixels.shape[0], pixels.shape[1]), x, y, r200)
    down = _weights(_edges(pixels.shape[0], y, r200), rows)
    across = _weights(_edges(pixels.shape[1], x, r200), columns)
    return np.asarray(down @ pixels[rows, columns].astype(np.float64) @ across.T)


def turned(pixels: FloatArray, turn: FloatArray) -> FloatArray:
    """A square map flipped or turned by right angles.

    Parameters
    ----------
    pixels : (n, n), on its own grid
    turn : (2, 2) of -1, 0 and 1: a step (columns, rows) on the new grid as a step on its own

    Returns
    -------
    (n, n), on the new grid
    """
    (a, b), (c, d) = turn.astype(int)
    return pixels[::d, ::a] if a else pixels[::c, ::b].T


def resampled(pixels: FloatArray, x: float, y: float, r200: float, turn: FloatArray) -> FloatArray:
    """As `regrid`, onto pixels that are turned by any angle; overlaps are counted by points, 64 or more in a new pixel.

    Parameters
    ----------
    pixels : (rows, columns), finite where the turned square lies
    x, y, r200 : as of `reach`
    turn : (2, 2), as of `turned`, of any angle

    Returns
    -------
    (80, 80)
    """
    samples = max(8, int(np.ceil(4 * 2 * r200 / PIXELS)))
    along = (np.arange(PIXELS * samples) + 0.5) / samples * 2 / PIXELS - 1  # R200
    rows = []
    for up in along.reshape(PIXELS, samples):  # of one row of the new pixels: memory stays small
        steps = np.stack(np.broadcast_arrays(along[None, :], up[:, None]))
        columns_and_rows = np.einsum("ij,j...->i...", turn, steps) * r200 + np.array([x - 1, y - 1])[:, None, None]
        sampled = map_coordinates(pixels, columns_and_rows[::-1], np.float64, order=0, mode="nearest")
        rows.append(sampled.reshape(samples, PIXELS, samples).mean((0, 2)))
    return np.array(rows)


def _edges(size: int, centre: float, r200: float) -> FloatArray:
    """Edges of the new pixels along one axis, (81,), counted from the edge of the first old one."""
    return np.asarray(np.clip(centre - 0.5 + r200 * np.linspace(-1, 1, PIXELS + 1), 0, size))


def _weights(edges: FloatArray, part: slice) -> FloatArray:
    """Share of each old pixel of `part` in each new one: (80, old)."""
    old = np.arange(part.start, part.stop)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return np.asarray(np.maximum(overlap, 0) / np.diff(edges)[:, None])
