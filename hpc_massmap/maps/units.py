"""The maps that are drawn and their units (table 1). X-rays in erg s^-1 kpc^-2 would overflow float32."""

UNITS = {"sz": "1", "xray": "1e40 erg s^-1 kpc^-2", "star": "h^-1 Msun kpc^-2", "mass": "h^-1 Msun kpc^-2"}
