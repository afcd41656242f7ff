"""What a telescope sees of the maps: by default all of them, as they were drawn."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hpc_massmap.config.section import Name, Positive, Section, Seed

Share = Annotated[float, Field(ge=0, lt=1)]


class Beam(Section):
    """A Gaussian beam, or point-spread function."""

    fwhm: Positive
    """arcmin, full width at half maximum"""


class Sources(Section):
    """Point sources of X-rays that are not the cluster's: N(>S) is a power law, as of active galactic nuclei."""

    density: Positive
    """deg^-2, of sources brighter than `faintest`"""
    slope: Positive
    """of N(>S), as 1.5 of an even sky of standard sources"""
    faintest: Positive
    """erg s^-1 cm^-2, in the band of the telescope"""
    brightest: Positive
    """erg s^-1 cm^-2; brighter ones are masked or told apart"""

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if not self.faintest < self.brightest:
            raise ValueError("faintest must be less than brightest")
        return self


class Counts(Section):
    """X-ray photons, counted."""

    exposure: Positive
    """s"""
    conversion: Positive
    """counts cm^2 erg^-1: counts of a flux in the band of the telescope, whose effective area is in it"""
    band_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """of the map's luminosity that is seen in that band; 1 for a map of that band alone"""
    background: Annotated[float, Field(ge=0)] = 0.0
    """counts s^-1 arcmin^-2"""
    output: Literal["subtracted", "counts"] = "subtracted"
    """the map's unit, with the expected background subtracted; or counts per pixel, as they are"""


class Noise(Section):
    """Noise of a map of the cosmic microwave background, as Compton-y: white, with what the atmosphere adds."""

    depth: Positive
    """μK arcmin, of thermodynamic temperature"""
    frequency: Positive
    """GHz"""
    knee: Annotated[float, Field(ge=0)] = 0.0
    """multipole at which the atmosphere's noise is as strong as the white; 0 for none"""
    slope: Positive = 3.0
    """of its power, which falls as the multipole to that power"""

    @field_validator("frequency")
    @classmethod
    def _is_not_at_the_null(cls, frequency: float) -> float:
        if 210 < frequency < 225:
            raise ValueError("must be away from 217 GHz, where the effect vanishes and noise says nothing of Compton-y")
        return frequency


class Effects(Section):
    """What a telescope does to the maps of one view, in this order; none of them by default."""

    amplitude_scatter: Annotated[float, Field(ge=0, le=2)] = 0.0
    """scatter of ln of a factor to the whole map: of calibration, or of mass to light"""
    sources: Sources | None = None
    """point sources in the field; with counts"""
    beam: Beam | None = None
    """the beam, or point-spread function"""
    counts: Counts | None = None
    """photons; of X-ray maps"""
    noise: Noise | None = None
    """of SZ maps"""
    large_scales: Beam | None = None
    """the map less itself behind such a beam: larger scales are lost"""
    detection_limit: Annotated[float, Field(ge=0)] = 0.0
    """pixels below it are 0, in the map's unit"""
    missing_pixels: Share = 0.0
    """share of the pixels that are 0, each by itself"""

    @model_validator(mode="after")
    def _counts_its_sources(self) -> Self:
        if self.sources is not None and self.counts is None:
            raise ValueError("sources have fluxes in the band of a telescope: they need counts")
        return self


class Observe(Section):
    """What telescopes see of each cluster; by default its maps as they were drawn."""

    redshift: Annotated[float, Field(ge=0)] | tuple[float, float] | Literal["halo"] = "halo"
    """where the cluster is seen: a number, [low, high] of which each map gets another, or halo: its snapshot's"""
    miscentring: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """R200, scatter of the centre along each axis, the same in all views"""
    r200_scatter: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """scatter of ln R200 by which the maps are cut out, the same in all views"""
    view_dropout: Share = 0.0
    """chance of each view to be away from a map while training; one stays at least"""
    seed: Seed = 0
    """of noise, photons and all other chance"""
    views: dict[Name, Effects] = {}
    """effects by the names of views"""

    @field_validator("redshift", mode="before")
    @classmethod
    def _is_a_redshift(cls, redshift: Any) -> Any:
        values = redshift if isinstance(redshift, list | tuple) else [redshift]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        is_range = len(values) == 2 and len(numbers) == 2 and 0 <= numbers[0] < numbers[1] <= 20
        is_number = not isinstance(redshift, list | tuple) and len(numbers) == 1 and 0 <= numbers[0] <= 20
        if redshift != "halo" and not is_range and not is_number:
            raise ValueError("must be halo, a redshift, or [low, high] with 0 <= low < high, up to 20")
        return tuple(redshift) if isinstance(redshift, list) else redshift

    @property
    def on_the_sky(self) -> dict[str, list[str]]:
        """Those effects that depend on the redshift, by view."""
        kinds = ("beam", "counts", "noise", "large_scales")
        return {
            view: found
            for view, its in self.views.items()
            if (found := [kind for kind in kinds if getattr(its, kind) is not None])
        }

    @model_validator(mode="after")
    def _is_away(self) -> Self:
        nearest = self.redshift[0] if isinstance(self.redshift, tuple) else self.redshift
        if nearest == 0 and self.on_the_sky:
            view, kinds = next(iter(self.on_the_sky.items()))
            raise ValueError(
                f"redshift = 0 has no angle on the sky and no distance for views.{view}.{kinds[0]}; give a larger one"
            )
        return self

    @property
    def is_on(self) -> bool:
        """Whether any map is seen otherwise than it was drawn."""
        return self != Observe(redshift=self.redshift, seed=self.seed, views=dict.fromkeys(self.views, Effects()))


AS_DRAWN = Observe()
