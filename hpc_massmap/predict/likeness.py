"""Whether maps look like those that a run's network was made from: the reference, beside the model, and its use.

likeness.h5 is made from the maps that trained and validated when they are first at hand, and goes where the model goes.
HDF5: attributes schema, views, split (of the model) and maps_digest; profiles; fold and count of each home region and
scores, (n, m), of its maps, of which only as many as `count` says are any; and, a row a fold, the arrays of
`diagnostics.likeness.Fold`.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpc_massmap.apertures import means_in_rings
from hpc_massmap.arrays import FloatArray, IntArray
from hpc_massmap.config import Observe
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.diagnostics.likeness import FEWEST_REGIONS, UNLIKE, Fold, Reference, fit, with_faults
from hpc_massmap.diagnostics.view_features import features, mean_profiles
from hpc_massmap.errors import InputError
from hpc_massmap.hdf5 import Unreadable, attribute_of, dataset_of, group_of, new_hdf5, opened, values_of
from hpc_massmap.mpi import on_first, share, together
from hpc_massmap.observe.observation import observed
from hpc_massmap.progress import say
from hpc_massmap.train.trained import TrainedModel

if TYPE_CHECKING:
    from mpi4py import MPI

SCHEMA = 1
MAPS_PER_REGION = 12  # of all its snapshots and lines of sight: they show one object
MAPS_PER_BLOCK = 16


def reference_of(
    path: Path, model: TrainedModel, home: MapFile | None, comm: "MPI.Intracomm", keep: bool = False
) -> Reference | None:
    """What a model's home maps look like; None, which is said, if nobody can tell. To be called by all ranks.

    Parameters
    ----------
    path : likeness.h5
    keep : whether it is written if it is not there, or of other maps; only the run's own prediction may touch the run
    home : the run's map file as it was drawn, where it is at hand

    Raises
    ------
    InputError
        If the file is damaged.
    """
    known = on_first(comm, lambda: read_reference(path, model, home) if path.exists() else None)
    if known is not None:
        return known
    if home is None:
        _say(comm, f"{path}: no such file of this model, so nobody can tell whether these maps look like its own")
        return None
    with together(comm):
        split = split_maps(home, model.split)
        home = observed(home, model.observe, model.description.views)
    rows = chosen_rows(home, np.sort(np.concatenate([split.train, split.validation])))
    n_regions = len(np.unique(home.halos["region"][home.halo[rows]]))
    if n_regions < FEWEST_REGIONS:
        asked = f"{FEWEST_REGIONS} would be needed to tell whether maps look like their own (p < {UNLIKE:g})"
        _say(comm, f"{n_regions} regions trained and validated; {asked}")
        return None
    found = fit_reference(home, rows, model.description.views, comm)
    if keep:
        on_first(comm, lambda: write_reference(path, found, model, home))
    return found


def likeness_of(
    path: Path,
    model: TrainedModel,
    home: MapFile | None,
    maps: MapFile,
    observe: Observe,
    rows: IntArray,
    comm: "MPI.Intracomm",
    keep: bool = False,
) -> FloatArray | None:
    """The p-values of rows, (n,), of a map file, as they are seen; parameters and errors of `reference_of`.

    Returns
    -------
    (n,); None if nobody can tell
    """
    reference = reference_of(path, model, home, comm, keep)
    if reference is None:
        return None
    with together(comm):
        seen = observed(maps, observe, model.description.views)
    return p_values_of(reference, seen, rows, comm)


def _say(comm: "MPI.Intracomm", line: str) -> None:
    if comm.rank == 0:
        say(line)


def chosen_rows(maps: MapFile, rows: IntArray) -> IntArray:
    """Some of the rows of each region, (n,), evenly spread over what there is of it: (m,)."""
    region = maps.halos["region"][maps.halo[rows]]
    parts = [rows[region == name] for name in np.unique(region)]
    return np.concatenate([of[np.arange(0, len(of), max(1, -(-len(of) // MAPS_PER_REGION)))] for of in parts])


def fit_reference(maps: MapFile, rows: IntArray, views: list[str], comm: "MPI.Intracomm") -> Reference:
    """The reference by some rows, (n,), of a map file. To be called by all ranks."""
    own = rows[share(len(rows), comm)]
    blocks = [own[start : start + MAPS_PER_BLOCK] for start in range(0, len(own), MAPS_PER_BLOCK)]
    rings = [means_in_rings(_views_of(maps, block, views)) for block in blocks]
    profiles = mean_profiles(np.concatenate([block for ranks in comm.allgather(rings) for block in ranks]))
    found: list[FloatArray] = []
    for block in blocks:
        pixels = _views_of(maps, block, views)
        found.append(np.stack([features(one, profiles) for one in (pixels, *with_faults(pixels))]))
    of_all = np.concatenate([block for ranks in comm.allgather(found) for block in ranks], axis=1)
    region = maps.halos["region"][maps.halo[rows]]
    return on_first(comm, lambda: fit(views, profiles, of_all[0], of_all[1:], region))


def p_values_of(reference: Reference, maps: MapFile, rows: IntArray, comm: "MPI.Intracomm") -> FloatArray:
    """Of rows, (n,), of a map file: (n,). To be called by all ranks."""
    own = rows[share(len(rows), comm)]
    found: list[FloatArray] = [np.empty(0)]
    for start in range(0, len(own), MAPS_PER_BLOCK):
        found.append(reference.p_values(_views_of(maps, own[start : start + MAPS_PER_BLOCK], reference.views)))
    return np.concatenate(comm.allgather(np.concatenate(found)))


def said_of_likeness(p_values: FloatArray) -> str:
    """The line that a person should read if any map is unlike by its p-value, (n,); else nothing."""
    unlike = int((p_values < UNLIKE).sum())
    if not unlike:
        return ""
    return (
        f"{unlike} of {len(p_values)} maps do not look like what the network was trained on (p < {UNLIKE:g}, at home "
        f"{UNLIKE:.0%} of maps or less); their error bars are not calibrated"
    )


def write_reference(path: Path, reference: Reference, model: TrainedModel, maps: MapFile) -> None:
    """Write likeness.h5, whole or not at all."""
    with new_hdf5(path) as file:
        file.attrs.update({"schema": SCHEMA, "views": reference.views, "split": _split(model)})
        file.attrs["maps_digest"] = maps.digest
        counts = [len(scores) for scores in reference.scores]
        padded = np.full((len(counts), max(counts)), np.nan)
        for row, scores in zip(padded, reference.scores, strict=True):
            row[: len(scores)] = scores
        found = {"profiles": reference.profiles, "fold": reference.fold, "count": np.array(counts), "scores": padded}
        for name, values in found.items():
            file[name] = values
        for field in fields(Fold):
            file[f"folds/{field.name}"] = np.stack([getattr(fold, field.name) for fold in reference.folds])


def read_reference(path: Path, model: TrainedModel, maps: MapFile | None) -> Reference | None:
    """Read likeness.h5; None if it is of other maps, or another split or other views than the model's.

    Raises
    ------
    InputError
        If it is cut off or damaged.
    """
    again = "remove it, and massmap predict makes it again"
    with opened(path, f"{path}: not a readable reference; {again}") as file:
        if attribute_of(file, "schema") != SCHEMA:
            raise InputError(f"{path}: a reference of another version; {again}")
        views = np.atleast_1d(attribute_of(file, "views")).tolist()
        split, digest = str(attribute_of(file, "split")), str(attribute_of(file, "maps_digest"))
        if views != model.description.views or split != _split(model) or (maps is not None and digest != maps.digest):
            return None
        profiles, fold, count, scores = (
            values_of(dataset_of(file, name)) for name in ("profiles", "fold", "count", "scores")
        )
        group = group_of(file, "folds")
        columns = {field.name: values_of(dataset_of(group, field.name)) for field in fields(Fold)}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1 or not len(fold) == len(count) == len(scores) or fold.max(initial=0) >= lengths.pop():
            raise Unreadable("its arrays do not belong together")
    folds = [Fold(**{name: values[n] for name, values in columns.items()}) for n in range(len(columns["scale"]))]
    return Reference(views, profiles, folds, fold, [row[:n] for row, n in zip(scores, count, strict=True)])


def _split(model: TrainedModel) -> str:
    observe = {"observe": model.observe.model_dump(mode="json")} if model.observe.is_on else {}
    return json.dumps(model.split.model_dump(mode="json") | observe, sort_keys=True)


def _views_of(maps: MapFile, rows: IntArray, views: list[str]) -> FloatArray:
    return np.stack([np.asarray(maps.maps[view][rows]) for view in views], axis=1)
