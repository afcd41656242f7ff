"""The files of trials: each attempt writes into a folder of its own, `trials/<tid>/<version>`.

Whoever was taken for dead and wakes up again writes where nobody reads: what fences the documents fences the files.
An attempt starts from a copy of the furthest checkpoint that its predecessors left.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from hyperopt import JOB_STATE_DONE

from hpc_massmap.config import Config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.normalisation import Normalisation, fit_normalisation
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.observe.observation import observed
from hpc_massmap.progress import say
from hpc_massmap.run import Run
from hpc_massmap.storage import digest_of, read_json, replacing, write_json
from hpc_massmap.train.checkpoint import load_checkpoint
from hpc_massmap.train.loop import BEST, LAST, LOG, identity_of
from hpc_massmap.tune.documents import Document
from hpc_massmap.tune.trials import Trial

KEPT = (BEST, LOG)


def prepare(run: Run, trial: Trial, config: Config, world: int) -> tuple[Path, bool]:
    """The folder of this attempt, and whether there is a checkpoint in it to go on from."""
    folder = _of(run, trial) / str(trial.version)
    if folder.exists():  # our own, of a claim whose answer was lost, or of a database that was restored
        return folder, (folder / LAST).exists()
    identity = identity_of(config, open_maps(run.maps, config.model.views), world)
    reached = {}
    for earlier in _attempts(_of(run, trial)):
        try:
            state = load_checkpoint(earlier / LAST)
            load_checkpoint(earlier / BEST)
        except InputError:
            continue  # killed before its first checkpoint, or damaged: the epochs are trained again
        if state["identity"] == identity:
            reached[earlier] = len(state["history"])
    folder.mkdir(parents=True)
    if not reached:
        return folder, False
    furthest = max(reached, key=lambda earlier: (reached[earlier], int(earlier.name)))
    for name in (LOG, BEST, LAST):  # the last says that the others are there
        if (furthest / name).exists():
            with replacing(folder / name) as temporary:
                shutil.copyfile(furthest / name, temporary)
    return folder, True


def keep(run: Run, tid: int, version: int) -> None:
    """Keep the best model and the log of a trial that is done, beside its attempts, and remove those.

    A model that is damaged is not kept, and said: the loss of the trial stands, and nothing else needs it.
    """
    folder, attempt = run.trials / str(int(tid)), str(int(version))
    best = folder / attempt / BEST
    try:
        if best.exists():
            load_checkpoint(best)
    except InputError as error:
        if isinstance(error.__cause__, OSError):  # the disk's fault, not the file's
            raise
        say(f"trial {tid}: its best model is not kept: {error}")
        best.unlink(missing_ok=True)
    for name in KEPT:
        with suppress(FileNotFoundError):  # there is none, or somebody else keeps it
            (folder / attempt / name).replace(folder / name)
    for earlier in _attempts(folder):
        shutil.rmtree(earlier, ignore_errors=True)


def keep_rest(run: Run, documents: list[Document]) -> None:
    """Keep the models of trials that are done whose worker died, or had to leave, before it did."""
    for document in documents:
        if document["state"] == JOB_STATE_DONE and _attempts(run.trials / str(document["tid"])):
            keep(run, document["tid"], document["version"])


def common_normalisation(run: Run, write: bool) -> Normalisation:
    """The training set's, which all trials have in common; kept in a file, since measuring it takes longer than a fork.

    Raises
    ------
    InputError
        If the maps cannot be read.
    """
    config = run.config
    names = [*config.model.views, *config.model.targets]
    maps = open_maps(run.maps, names)
    rows = split_maps(maps, config.split)
    path = run.trials / "normalisation.json"
    observe = [config.part("observe")] if config.observe.is_on else []
    of = digest_of([maps.digest, config.part("split"), names, config.train.normalisation, *observe])
    with suppress(InputError):  # none yet, or damaged: measured again
        known = read_json(path)
        if isinstance(known, dict) and known.get("of") == digest_of([of, known.get("normalisation")]):
            return Normalisation(**known["normalisation"])
    seen = observed(maps, config.observe, config.model.views)
    found = fit_normalisation(seen, rows.train, names, config.train.normalisation)
    if write:
        write_json(path, {"of": digest_of([of, found.as_dict()]), "normalisation": found.as_dict()})
    return found


def _of(run: Run, trial: Trial) -> Path:
    return run.trials / str(int(trial.tid))


def _attempts(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.is_dir() and path.name.isdigit()]
