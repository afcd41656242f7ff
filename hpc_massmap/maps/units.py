"""The maps that are drawn and their units (table 1). X-rays in erg s^-1 kpc^-2 would overflow float32."""

from collections.abc import Iterable

UNITS = {"sz": "1", "xray": "1e40 erg s^-1 kpc^-2", "star": "h^-1 Msun kpc^-2", "mass": "h^-1 Msun kpc^-2"}


def units_of(bands: Iterable[str]) -> dict[str, str]:
    """The units of all maps that are drawn, with further bands of X-rays."""
    return UNITS | dict.fromkeys(bands, UNITS["xray"])
