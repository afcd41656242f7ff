"""Which maps train, which validate, which test (section 3.2), without a leak.

Membership is a seeded hash of a name, not a shuffle: a halo stays on its side when others are added. With policy
`halo` the name is the region's, so all projections, snapshots (progenitors) and simulations (counterparts) of a
halo are on one side. With `map`, the paper's plain random split, it is the single map's.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpc_massmap.arrays import IntArray
from hpc_massmap.config import Split
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.errors import InputError


@dataclass(frozen=True)
class Rows:
    """Rows of the map file in each part, ascending."""

    train: IntArray
    validation: IntArray
    test: IntArray


def unit_hash(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the name."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_maps(maps: MapFile, split: Split) -> Rows:
    """Assign every map to one part.

    Raises
    ------
    InputError
        If a part would be empty.
    """
    names = _names(maps, split.policy)
    hashes = {name: unit_hash(split.seed, name) for name in set(names)}
    position = np.array([hashes[name] for name in names])
    in_train = position < split.train
    in_validation = ~in_train & (position < split.train + split.validation)
    taught = _taught(maps, split)
    parts = {"train": in_train & taught, "validation": in_validation & taught, "test": ~in_train & ~in_validation}
    for part, member in parts.items():
        if not member.any() and not taught.all():
            raise InputError(
                f"{maps.path}: split.log_m200 and split.only leave no {part} set; widen them, or see the halos with "
                "massmap maps show"
            )
        if not member.any():
            unit = "regions" if split.policy == "halo" else "maps"
            raise InputError(
                f"{maps.path}: its {len(hashes)} {unit} leave no {part} set with split.seed = {split.seed}; "
                "add halos or change split.seed"
            )
    return Rows(**{part: np.flatnonzero(member) for part, member in parts.items()})


def _taught(maps: MapFile, split: Split) -> npt.NDArray[np.bool_]:
    """Which maps may train or validate: (maps,)."""
    allowed = np.ones(len(maps.halos["m200"]), bool)
    if split.log_m200 is not None:
        log_m200 = np.log10(maps.halos["m200"])
        allowed &= (split.log_m200[0] <= log_m200) & (log_m200 < split.log_m200[1])
    if split.only:
        allowed &= np.isin(maps.halos["simulation"], split.only)
    taught: npt.NDArray[np.bool_] = allowed[maps.halo]
    return taught


def _names(maps: MapFile, policy: str) -> list[str]:
    region: list[str] = maps.halos["region"][maps.halo].tolist()
    if policy == "halo":
        return region
    columns = [maps.halos[key][maps.halo].tolist() for key in ("simulation", "snapshot", "halo_id")]
    return ["/".join(map(str, parts)) for parts in zip(region, *columns, maps.projection.tolist(), strict=True)]
