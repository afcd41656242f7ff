"""A trained network in a notebook: maps go in, a map with its masses, spectrum and picture comes out."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.cosmology.units as cu
import astropy.units as u
import numpy as np
from astropy.table import QTable

from hpc_massmap.apertures import RADII
from hpc_massmap.apertures import enclosed_mass as sums_in_apertures
from hpc_massmap.api.maps import Maps
from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.errors import InputError
from hpc_massmap.predict.own_units import unit_of
from hpc_massmap.units import to_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hpc_massmap.train.trained import TrainedModel

MAPS_AT_ONCE = 16
LEVELS = (0.16, 0.84)  # of errors


@dataclass(frozen=True)
class Prediction:
    """Predicted maps of n clusters.

    Attributes
    ----------
    maps : target -> (n, 80, 80) with its unit, each edge R200 from the centre
    samples : target -> (samples, n, 80, 80); empty if none were asked for
    r200 : (n,), kpc; None if it was not given
    """

    maps: dict[str, u.Quantity]
    samples: dict[str, u.Quantity]
    r200: u.Quantity | None

    @property
    def mass(self) -> u.Quantity:
        """The map of the total mass: (n, 80, 80)."""
        return self.maps["mass"]

    def enclosed(self, target: str = "mass") -> QTable:
        """Sums in cylinders of R200/10 to R200, a row a radius: `radius`, `mass` (n,), and `low` and `high` of samples.

        Raises
        ------
        InputError
            If R200 was not given.
        """
        radii = self._r200().to_value(u.kpc)
        unit = self.maps[target].unit * u.kpc**2
        table = QTable({"radius": RADII, "mass": sums_in_apertures(self.maps[target].value, radii).T * unit})
        if target in self.samples:
            drawn = np.array([sums_in_apertures(maps, radii) for maps in self.samples[target].value])
            table["low"], table["high"] = (np.quantile(drawn, level, axis=0).T * unit for level in LEVELS)
        return table

    def power(self, target: str = "mass") -> QTable:
        """Power spectra (eq. 11 to 13), a row a bin: `wavelength` in R200 and `power` (n,); raises as `enclosed`."""
        from hpc_massmap.metrics.power import power_spectrum, wavelengths

        spectra = power_spectrum(self.maps[target].value, self._r200().to_value(u.kpc)).T
        return QTable({"wavelength": wavelengths(), "power": spectra * self.maps[target].unit ** 2 * u.kpc**2})

    def plot(self, number: int = 0) -> "Figure":
        """A picture of the maps of one cluster, with a logarithmic scale each."""
        from matplotlib.colors import LogNorm
        from matplotlib.figure import Figure

        from hpc_massmap.views import title_of, view_of

        figure = Figure(figsize=(3.6 * len(self.maps), 3.2), layout="constrained")
        panels = figure.subplots(1, len(self.maps), squeeze=False)[0]
        for panel, (target, maps) in zip(panels, self.maps.items(), strict=True):
            pixels = maps[number].value
            high = float(pixels.max())
            scale = LogNorm(max(float(pixels.min()), high / 1e4), high) if high > 0 else None
            image = panel.imshow(
                pixels, origin="lower", extent=(-1, 1, -1, 1), norm=scale, cmap=view_of(target).colours
            )
            panel.set(title=title_of(target), xlabel="$x / R_{200}$", ylabel="$y / R_{200}$")
            figure.colorbar(image, ax=panel, label=str(maps.unit))
        return figure

    def to_fits(self, path: str | Path, number: int = 0, target: str = "mass", h: float | None = None) -> None:
        """Write one map: with `h` in Msun/kpc^2, else with the h of the training maps in its unit.

        Raises
        ------
        InputError
            If the file is there, or cannot be written.
        """
        from astropy.io import fits

        from hpc_massmap.storage import replacing

        path, pixels = Path(path), self.maps[target][number]
        if path.exists():
            raise InputError(f"{path}: exists already; choose another name")
        header = fits.Header({"OBJECT": target})
        if h is not None and pixels.unit == unit_of("h^-1 Msun kpc^-2"):
            pixels = pixels.to(u.Msun / u.kpc**2, cu.with_H0(100 * h * u.km / u.s / u.Mpc))
            header["HUBBLE"] = (h, "h of the Hubble constant")
        header["BUNIT"] = to_file(str(pixels.unit).replace("solMass", "Msun"))
        step = 1.0 if self.r200 is None else 2 * self.r200.to_value(u.kpc)[number] / PIXELS
        for axis, name in (("1", "X"), ("2", "Y")):
            header[f"CTYPE{axis}"], header[f"CUNIT{axis}"] = name, "pix" if self.r200 is None else "kpc"
            header[f"CRPIX{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = (PIXELS + 1) / 2, 0.0, step
        with replacing(path) as temporary:
            fits.PrimaryHDU(pixels.value.astype(np.float32), header).writeto(temporary, overwrite=True)

    def _r200(self) -> u.Quantity:
        if self.r200 is None:
            raise InputError("R200 is not known: give r200 to predict, in kpc")
        return self.r200


class Model:
    """A trained network.

    Attributes
    ----------
    trained : what the suite itself works with
    views, targets : the maps that go in, and those that come out
    """

    def __init__(self, trained: "TrainedModel") -> None:
        self.trained = trained
        self.views, self.targets = trained.description.views, trained.description.targets

    def __repr__(self) -> str:
        return f"<a network of {', '.join(self.views)} to {', '.join(self.targets)}, {self.trained.digest[:12]}>"

    def predict(
        self,
        maps: Maps | None = None,
        *,
        halos: list[int] | None = None,
        r200: Any = None,
        h: float | None = None,
        samples: int = 0,
        seed: int = 0,
        **views: Any,
    ) -> Prediction:
        """The maps of the targets.

        Parameters
        ----------
        maps : a map file, of which `halos` or all are predicted along every line of sight, through the telescopes that
            the network was trained with; or else
        views : name=map, as sz=..., star=...: (80, 80) or (n, 80, 80), each edge R200 from the centre; numbers are in
            the unit of the training maps, a Quantity in its own
        r200 : (n,) in kpc or with a unit, for masses and spectra
        h : of the Hubble constant, if a Quantity has no h
        samples : how many to draw, of a model that has them
        seed : of the samples

        Raises
        ------
        InputError
            If views are missing, of another shape or unit, or not finite, or the model has no samples.
        """
        if maps is not None:
            from hpc_massmap.observe.observation import observed

            rows = np.arange(len(maps)) if halos is None else np.flatnonzero(np.isin(maps.file.halo, halos))
            seen = observed(maps.file, self.trained.observe, self.views)
            stack = np.stack([np.asarray(seen.maps[view][rows]) for view in self.views], 1)
            radii = maps.file.halos["r200"][maps.file.halo[rows]] * u.kpc
        else:
            stack = self._stacked(views, h)
            rows, radii = np.arange(len(stack)), None
            if r200 is not None:
                radii = np.broadcast_to(u.Quantity(r200, u.kpc), len(stack), subok=True)
        found, drawn = self._ask(stack.astype(np.float32), rows, samples, seed)
        units = [unit_of(self.trained.normalisation.unit[target]) for target in self.targets]
        return Prediction(
            {target: found[:, n] * unit for n, (target, unit) in enumerate(zip(self.targets, units, strict=True))},
            {target: drawn[:, :, n] * units[n] for n, target in enumerate(self.targets) if samples},
            radii,
        )

    def _stacked(self, views: Mapping[str, Any], h: float | None) -> FloatArray:
        if set(views) != set(self.views):
            raise InputError(f"the model takes {', '.join(self.views)}; given: {', '.join(views) or 'nothing'}")
        hubble = [] if h is None else cu.with_H0(100 * h * u.km / u.s / u.Mpc)
        stacked = []
        for view in self.views:
            given, unit = views[view], unit_of(self.trained.normalisation.unit[view])
            try:
                values = given.to_value(unit, hubble) if isinstance(given, u.Quantity) else np.asarray(given, float)
            except u.UnitConversionError:
                remedy = "; give h" if h is None else ""
                raise InputError(f"{view}: its unit {given.unit} cannot become {unit}{remedy}") from None
            if values.shape[-2:] != (PIXELS, PIXELS) or values.ndim not in (2, 3):
                raise InputError(f"{view}: is {values.shape}, must be (80, 80) or (n, 80, 80)")
            if not np.all(np.isfinite(values)):
                raise InputError(f"{view}: has a pixel that is not finite")
            stacked.append(values.reshape(-1, PIXELS, PIXELS))
        if len({len(values) for values in stacked}) > 1:
            counts = ", ".join(str(len(values)) for values in stacked)
            raise InputError(f"as many maps of each view are needed; given: {counts}")
        return np.stack(stacked, 1)

    def _ask(self, stack: FloatArray, rows: Any, samples: int, seed: int) -> tuple[FloatArray, FloatArray]:
        import torch

        from hpc_massmap.posterior.distribution import Asked
        from hpc_massmap.posterior.kinds import kind_of
        from hpc_massmap.train.precision import autocast

        trained = self.trained
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network, kind = trained.network.to(device), kind_of(trained.description)

        def precise() -> AbstractContextManager[object]:
            contexts = ExitStack()
            contexts.enter_context(torch.inference_mode())
            contexts.enter_context(autocast(trained.precision, device))
            return contexts

        means, drawn = [], []
        for start in range(0, len(stack), MAPS_AT_ONCE):
            part = slice(start, start + MAPS_AT_ONCE)
            views = trained.normalisation.apply(torch.from_numpy(stack[part]), self.views).to(device)
            says = kind.says(network, Asked(views, rows[part], trained.description, trained.normalisation, precise))
            means.append(says.mean())
            drawn.append(np.array(list(says.samples(samples, seed)) if samples else [means[-1]][:0]))
        return np.concatenate(means), np.concatenate(drawn, 1) if samples else np.empty(0)


def load_model(folder: str | Path) -> Model:
    """The trained network of a run, by the run's folder or that of its model; an InputError if there is none."""
    from hpc_massmap.train.trained import load_model as load_trained

    folder = Path(folder)
    return Model(load_trained(folder / "model" if (folder / "model").is_dir() else folder))
