"""Which halos of another map file a trained model may be tried on."""

from collections.abc import Iterable

import numpy as np

from hpc_massmap.arrays import IntArray
from hpc_massmap.dataset.mapfile import MapFile
from hpc_massmap.dataset.split import Rows, split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.predict.own_units import unit_of
from hpc_massmap.train.trained import TrainedModel

SAME = ("snapshot", "halo_id", "m200", "r200")  # of a halo in both files


def rows_of(maps: MapFile, halos: Iterable[int] | None) -> Rows:
    """All maps of some halos, or of all, to be predicted: none of them trains.

    Parameters
    ----------
    halos : rows of the halo table

    Raises
    ------
    InputError
        If the file has no such halo.
    """
    n_halos = len(maps.halos["m200"])
    chosen = np.arange(n_halos) if halos is None else np.unique(np.array(list(halos)))
    for halo in chosen.tolist():
        if not 0 <= halo < n_halos:
            raise InputError(f"{maps.path}: has halos 0 to {n_halos - 1}, no {halo}; see them with massmap maps show")
    none: IntArray = np.zeros(0, np.int64)
    return Rows(none, none, np.flatnonzero(np.isin(maps.halo, chosen)))


def own_test_set(model: TrainedModel, maps: MapFile) -> Rows:
    """The test set of the map file that trained a model, to be predicted in another place."""
    none: IntArray = np.zeros(0, np.int64)
    return Rows(none, none, split_maps(maps, model.split).test)


def check_units(model: TrainedModel, maps: MapFile) -> None:
    """Raise an InputError if a map is in another unit than the training maps were."""
    for name in (*model.description.views, *model.description.targets):
        ours, given = model.normalisation.unit[name], maps.units[name]
        if ours != given and unit_of(ours) != unit_of(given):
            raise InputError(f"{maps.path}: /maps/{name} is in {given!r}, but the model was trained on {ours!r}")


def check_is_new(model: TrainedModel, own: MapFile, maps: MapFile, rows: Rows) -> str:
    """What a reader should know of halos that are relatives of those that trained.

    Parameters
    ----------
    own : the map file of the training
    rows : to be predicted, of `maps`

    Raises
    ------
    InputError
        If a halo is one that trained or validated.
    """
    split = split_maps(own, model.split)
    seen = np.unique(own.halo[np.concatenate([split.train, split.validation])])
    known = {_identity(own, halo): halo for halo in seen.tolist()}
    halos = np.unique(maps.halo[rows.test]).tolist()
    for halo in halos:
        trained = known.get(_identity(maps, halo))
        if trained is not None:
            raise InputError(
                f"{maps.path}: halo {halo} trained this model (halo {trained} of {own.path}); "
                "choose others with --halos, or predict the run's own test set"
            )
    regions = set(own.halos["region"][seen].tolist())
    relatives = sum(maps.halos["region"][halo] in regions for halo in halos)
    if not relatives:
        return ""
    return (
        f"{relatives} of {len(halos)} halos are of regions whose names the training has too: if they are the same "
        "regions, the halos are counterparts or progenitors of those that trained"
    )


def _identity(maps: MapFile, halo: int) -> tuple[float, ...]:
    return tuple(maps.halos[column][halo].item() for column in SAME)
