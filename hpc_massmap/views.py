"""The maps that are drawn, which are views or targets of a network: all that is known of each by its name (table 1)."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """A kind of map.

    Attributes
    ----------
    unit : as in the map file; of X-rays 1e40, since erg s^-1 kpc^-2 alone would overflow float32
    title : in sentences and above panels
    symbol : of its pixels, in mathtext
    enclosed : what its pixels add up to inside a radius, whose bias b(R) and b200 are
    colour : of the lines of a model that has this view alone
    colours : matplotlib's name of the scale in which it is drawn
    """

    unit: str
    title: str
    symbol: str
    enclosed: str
    colour: str | None = None
    colours: str = "magma"


VIEWS = {  # in the order in which they are drawn
    "sz": View("1", "SZ", "Compton-$y$", "integrated Compton-y", "#0072B2", "viridis"),
    "xray": View(
        "1e40 erg s^-1 kpc^-2", "X-ray", "surface brightness", "X-ray luminosity", "#D55E00", colours="inferno"
    ),
    "star": View("h^-1 Msun kpc^-2", "stars", r"$\Sigma_\mathrm{star}$", "stellar mass", "#E69F00", "cividis"),
    "mass": View("h^-1 Msun kpc^-2", "total mass", r"$\Sigma$", "mass"),
}
UNITS = {name: view.unit for name, view in VIEWS.items()}


def view_of(name: str) -> View:
    """What is known of a map; of one that this table lacks, no more than its name."""
    return VIEWS.get(name) or View("", name, name, f"integrated {name}")


def title_of(name: str) -> str:
    """A view or target as a title."""
    return view_of(name).title


def units_of(bands: Iterable[str]) -> dict[str, str]:
    """The units of all maps that are drawn, with further bands of X-rays."""
    return UNITS | dict.fromkeys(bands, UNITS["xray"])
