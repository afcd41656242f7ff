"""Units in files that others read, where `h` alone is an hour: the Hubble parameter is written `littleh` there.

In memory a unit is as people write it, `h^-1 Msun kpc^-2`; files of earlier versions have it so, too.
"""

import re

IN_MEMORY, IN_FILES = "h", "littleh"


def to_file(unit: str) -> str:
    """A unit as a file has it: astropy reads it where `astropy.cosmology.units` is enabled, else it refuses."""
    return re.sub(rf"\b{IN_MEMORY}\b", IN_FILES, unit)


def from_file(unit: str) -> str:
    """A unit as it is in memory, from files of this or an earlier version."""
    return re.sub(rf"\b{IN_FILES}\b", IN_MEMORY, unit)
