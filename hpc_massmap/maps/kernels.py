"""Smoothing kernels, integrated along the line of sight.

Both have compact support: W(q) = 0 for q = r/H >= 1, with H the full radius (GADGET's smoothing length). The cubic
spline is Monaghan & Lattanzio (1985), Wendland's C4 as in Dehnen & Aly (2012), table 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.integrate import quad

from hpc_massmap.arrays import FloatArray

TABLE_SIZE = 4096  # linear interpolation in q^2 is then good to 1e-6 of the peak


def cubic_spline(q: FloatArray) -> FloatArray:
    """W(q) H^3, normalised to 1 over the sphere; any shape."""
    inner = 1 - 6 * q**2 + 6 * q**3
    outer = 2 * np.clip(1 - q, 0, None) ** 3
    return 8 / np.pi * np.where(q < 0.5, inner, outer)


def wendland_c4(q: FloatArray) -> FloatArray:
    """W(q) H^3, normalised to 1 over the sphere; any shape."""
    return 495 / (32 * np.pi) * np.clip(1 - q, 0, None) ** 6 * (1 + 6 * q + 35 / 3 * q**2)


KERNELS: dict[str, Callable[[FloatArray], FloatArray]] = {"cubic_spline": cubic_spline, "wendland_c4": wendland_c4}


@dataclass(frozen=True)
class ProjectedKernel:
    """A kernel integrated along the line of sight.

    Attributes
    ----------
    table : (TABLE_SIZE + 1,), the column at projected distance b = H sqrt(i/TABLE_SIZE), times H^2
    coefficients : (9,), c_n of the fit t^3 sum c_n t^n to the table, where t = 1 - b^2/H^2
    variance : of one coordinate of the kernel, in H^2
    """

    table: FloatArray
    coefficients: tuple[float, ...]
    variance: float


@cache
def projected_kernel(name: str) -> ProjectedKernel:
    """The table of a kernel, by quadrature."""
    kernel = KERNELS[name]
    table = np.array([_column(kernel, b2) for b2 in np.linspace(0, 1, TABLE_SIZE + 1)])
    second_moment, _ = quad(lambda q: 4 * np.pi * q**4 * float(kernel(np.asarray(q))), 0, 1, points=[0.5])
    table.setflags(write=False)
    t = 1 - np.linspace(0, 1, len(table))
    coefficients, *_ = np.linalg.lstsq(t[:, None] ** (3 + np.arange(9)), table, rcond=None)
    return ProjectedKernel(table, tuple(coefficients.tolist()), second_moment / 3)


def _column(kernel: Callable[[FloatArray], FloatArray], b2: float) -> float:
    """2 int_0^sqrt(1-b^2) W(sqrt(b^2 + z^2)) dz."""
    kink = [np.sqrt(0.25 - b2)] if b2 < 0.25 else None  # of the cubic spline's third derivative, at q = 1/2
    value, _ = quad(lambda z: float(kernel(np.sqrt(b2 + z * z))), 0, np.sqrt(1 - b2), points=kink)
    return 2 * float(value)
