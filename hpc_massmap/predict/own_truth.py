"""Maps of a user's own that have the truth beside the views, as a map file: all that follows is as for any other.

A cluster has one line of sight, and is a region of its own unless its header says which one it is of. M200 is that of
its R200 and redshift, R500 that of an NFW halo of the usual concentration; they choose mass intervals and apertures.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from hpc_massmap.arrays import FloatArray
from hpc_massmap.dataset.mapfile import open_maps, provenance_of
from hpc_massmap.dataset.writing import write_map_file
from hpc_massmap.errors import InputError
from hpc_massmap.predict.apply import normalised_views, strangeness
from hpc_massmap.predict.own_files import KEYWORDS, TABLE, header_and_shape
from hpc_massmap.predict.own_maps import Cluster, find_clusters, read_view
from hpc_massmap.run import machine
from hpc_massmap.sims.catalogue import USUAL_CONCENTRATION, r500_over_r200
from hpc_massmap.sims.consistency import OVERDENSITY, critical_density
from hpc_massmap.train.trained import TrainedModel

MADE_OF = "own maps"  # in the provenance of such a file
OMEGA_M = 0.307  # flat; a change by 0.01 is 0.3 % of M200 at z = 0.1


def import_clusters(out: Path, folder: Path, model: TrainedModel) -> list[str]:
    """Write the clusters of a folder, views and targets, as one map file, whole or not at all.

    Returns
    -------
    What was done to maps, or is strange about them: a line each

    Raises
    ------
    InputError
        If `out` is another map file, a cluster lacks a view or a truth, what a map must tell is missing, or a pixel
        is not finite.
    """
    if out.exists() and MADE_OF not in provenance_of(open_maps(out)):
        raise InputError(f"{out}: exists already, and was not made of such maps; choose another --out")
    views, targets = model.description.views, model.description.targets
    unit = model.normalisation.unit
    clusters = find_clusters(folder, {name: unit[name] for name in views}, {name: unit[name] for name in targets})
    for target in targets:
        for cluster in clusters.values():
            _refuse_prediction(cluster, target)
    halos = halo_table(clusters, folder.resolve().name)
    notes: list[str] = []

    def stacks() -> Iterator[dict[str, FloatArray]]:
        for name, cluster in clusters.items():
            maps, _ = normalised_views(model, cluster, name)
            notes.extend(strangeness(maps, cluster, model).splitlines())
            of_views = {view: pixels[None] for view, pixels in zip(views, maps, strict=True)}
            yield of_views | {target: read_view(cluster[target])[None] for target in targets}

    files = {name: [str(own.path) for own in cluster.values()] for name, cluster in clusters.items()}
    attributes = {
        "h": float(_known(next(iter(clusters.values())), "h")),
        "omega_m": OMEGA_M,
        "fwhm": np.nan,  # not known; the maps are taken as they are
        "provenance": json.dumps({**machine(), MADE_OF: files}),
    }
    write_map_file(out, [*views, *targets], halos, np.full((1, 3, 3), np.nan), stacks(), attributes, unit)
    return notes


def halo_table(clusters: dict[str, Cluster], simulation: str) -> dict[str, Any]:
    """The columns of `mapfile.HALO_COLUMNS`; a cluster's number is its place in the order of names.

    Raises
    ------
    InputError
        If R200 in kpc, the redshift or h of a cluster is not known.
    """
    n = len(clusters)
    r200 = np.array([_r200(cluster) for cluster in clusters.values()])
    redshift, h = (np.array([float(_known(c, key)) for c in clusters.values()]) for key in ("redshift", "h"))
    density = OVERDENSITY * critical_density(redshift, OMEGA_M)
    return {
        "simulation": [simulation] * n,
        "region": [_region(cluster) or name for name, cluster in clusters.items()],
        "snapshot": np.zeros(n, np.int64),
        "redshift": redshift,
        "halo_id": np.arange(n),
        "m200": density * 4 / 3 * np.pi * (r200 * h) ** 3,
        "r200": r200,
        "r500": r200 * r500_over_r200(np.array([USUAL_CONCENTRATION])),
        "f_gas": np.full(n, np.nan),
        "f_star": np.full(n, np.nan),
    }


def _known(cluster: Cluster, key: str) -> float:
    value = next((getattr(own, key) for own in cluster.values() if getattr(own, key) is not None), None)
    if value is None:
        path = next(iter(cluster.values())).path
        raise InputError(
            f"{path}: no {key}, without which a cluster with a truth has no M200; give {KEYWORDS[key]} in its header "
            f"or {key} in {TABLE}"
        )
    return float(value)


def _region(cluster: Cluster) -> str | None:
    return next((own.region for own in cluster.values() if own.region is not None), None)


def _r200(cluster: Cluster) -> float:
    """In kpc."""
    for own in cluster.values():
        given = u.Quantity(own.r200_as_given)
        if given.unit.is_equivalent(u.kpc):
            return float(given.to_value(u.kpc))
        if own.pixel is not None and own.pixel.unit.is_equivalent(u.kpc):
            return float(own.r200 * own.pixel.to_value(u.kpc))
    first = next(iter(cluster.values()))
    raise InputError(
        f"{first.path}: R200 is {first.r200_as_given}; a cluster with a truth needs it in kpc, or its pixel in kpc"
    )


def _refuse_prediction(cluster: Cluster, target: str) -> None:
    own = cluster[target]
    header, _ = header_and_shape(own.path, own.image)
    if "MODEL" in header and str(header.get("CREATOR")).startswith("hpc_massmap"):
        raise InputError(f"{own.path}: is a prediction of massmap predict, no truth; put the true map in its place")
