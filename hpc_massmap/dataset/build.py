"""The map file of a sample: its regions drawn by all ranks, each into a part file, and joined.

A rank holds as many regions at a time as it has threads, and their maps until they are written, 3 MB a halo.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpc_massmap.balance import balanced, own_threads
from hpc_massmap.config import Maps, Selection
from hpc_massmap.dataset.boxes import read_once, remove
from hpc_massmap.dataset.mapfile import open_maps, provenance_of
from hpc_massmap.dataset.parts import digests_of_part, parts_folder, write_part
from hpc_massmap.dataset.writing import write_virtual_file
from hpc_massmap.errors import InputError
from hpc_massmap.maps.cooling import CoolingTable, read_cooling_tables
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import asked_of, maps_from_scratch, region_maps
from hpc_massmap.maps.reference import FWHM
from hpc_massmap.mpi import on_first, share, together
from hpc_massmap.progress import say
from hpc_massmap.run import machine
from hpc_massmap.sims.scratch import Scratch
from hpc_massmap.sims.selection import Halo, Source, candidates, check_some_are_left, sources_digest
from hpc_massmap.storage import digest_of
from hpc_massmap.views import units_of

if TYPE_CHECKING:
    from mpi4py import MPI

OPTIONS = ("accuracy", "gas_rules")  # of drawing, which a map file names where they are not the usual ones
HALOS_PER_TASK = 64  # of a region: more are drawn in several tasks, for which it is read once (dataset/boxes.py)


@dataclass(frozen=True)
class Task:
    """Halos of one region at one time: what is drawn in one go.

    Attributes
    ----------
    key : of all that their maps depend on
    """

    halos: list[Halo]
    part: Path
    key: str

    @property
    def cost(self) -> float:
        """To order tasks by: the number of particles, at one resolution."""
        return sum(halo.m200 for halo in self.halos)


def read_candidates(
    sources: list[Source], selection: Selection, config: Maps, comm: "MPI.Intracomm"
) -> tuple[list[Halo], list[str]]:
    """The candidates of all sources, read by all ranks, and why some sources have none. To be called by all ranks.

    Raises
    ------
    InputError
        If a source cannot be read and `bad_regions` is `stop`, or no halo is left.
    """
    halos, unread = [], []
    with together(comm):
        for source in sources[share(len(sources), comm)]:
            try:
                halos += candidates(source, selection)
            except InputError as error:
                if config.bad_regions == "stop":
                    raise
                unread.append(str(error))
    halos = [halo for part in comm.allgather(halos) for halo in part]
    unread = [reason for part in comm.allgather(unread) for reason in part]
    on_first(comm, lambda: check_some_are_left(halos, sources, selection))
    return halos, unread


def make_maps(
    path: Path,
    halos: list[Halo],
    unread: list[str],
    config: Maps,
    comm: "MPI.Intracomm",
    on_halos: Callable[[int], None],
) -> None:
    """Draw every halo of a sample and write its map file, whole or not at all. To be called by all ranks.

    What an earlier call has finished is not drawn again, for another run neither. The result is the same on any number
    of ranks.

    Parameters
    ----------
    halos : only those of rank 0 count
    unread : why some regions have none of them
    on_halos : called on rank 0 with a number of halos that are done

    Raises
    ------
    InputError
        If the simulations differ in cosmology, no region can be drawn, one cannot and `bad_regions` is `stop`, or
        another job removes what this one has drawn.
    """
    tables = on_first(comm, lambda: read_cooling_tables(config))
    tasks = on_first(comm, lambda: plan(halos, config, parts_folder(path), tables))
    if on_first(comm, lambda: _is_made_of(path, tasks)):
        on_halos(sum(len(task.halos) for task in tasks))
        return
    todo = on_first(comm, lambda: _unfinished(tasks))
    if comm.rank == 0:
        on_halos(sum(len(task.halos) for task in tasks) - sum(len(task.halos) for task in todo))
    boxes, others = _boxes(tasks, todo)
    failed: dict[Path, str] = {}
    for halos_of_box, left in boxes:
        if not failed or config.bad_regions == "skip":
            scratch = read_once(halos_of_box, parts_folder(path), config, asked_of(config, tables), comm)
            if isinstance(scratch, str):
                _tell(scratch, config, comm)
                failed |= dict.fromkeys((task.part for task in left), scratch)
                continue
            failed |= _draw(left, scratch, config, tables, comm, on_halos)
            on_first(comm, partial(remove, scratch))
    if not failed or config.bad_regions == "skip":
        failed |= _draw(others, None, config, tables, comm, on_halos)
    on_first(comm, lambda: _join(path, tasks, unread, failed, config))


def _boxes(tasks: list[Task], todo: list[Task]) -> tuple[list[tuple[list[Halo], list[Task]]], list[Task]]:
    """All halos of each source with several tasks, and its tasks that are left; and what is left of all others."""
    of_sources: dict[Source, list[Task]] = {}
    for task in tasks:
        of_sources.setdefault(task.halos[0].source, []).append(task)
    several = {source: own for source, own in of_sources.items() if len(own) > 1}
    left = {source: [task for task in todo if task.halos[0].source == source] for source in several}
    boxes = [([halo for task in several[source] for halo in task.halos], of_box) for source, of_box in left.items()]
    others = [task for task in todo if task.halos[0].source not in several]
    return [box for box in boxes if box[1]], others


def _draw(
    tasks: list[Task],
    scratch: Scratch | None,
    config: Maps,
    tables: Mapping[str, CoolingTable],
    comm: "MPI.Intracomm",
    on_halos: Callable[[int], None],
) -> dict[Path, str]:
    """Draw some tasks, all of one source if there is a scratch of it; why some cannot be drawn, by their parts."""
    views = rotations(config.lines_of_sight)
    reasons: dict[int, str] = {}

    def draw(place: int) -> str | None:
        task = tasks[place]
        try:
            if scratch is None:
                stacks = region_maps(task.halos, config, views, tables)
            else:
                stacks = maps_from_scratch(scratch, task.halos, config, views, tables)
        except InputError as error:
            return str(error)
        write_part(task.part, task.key, stacks)
        return None

    def on_done(place: int, reason: str | None) -> bool:
        on_halos(len(tasks[place].halos))
        if reason is not None:
            reasons[place] = reason
            _tell(reason, config, comm)
        return not reasons or config.bad_regions == "skip"

    balanced(comm, len(tasks), draw, own_threads(comm), on_done)
    return on_first(comm, lambda: {tasks[place].part: reasons[place] for place in sorted(reasons)})


def _tell(reason: str, config: Maps, comm: "MPI.Intracomm") -> None:
    if comm.rank == 0:
        say(f"skipped: {reason}" if config.bad_regions == "skip" else "stopping: a region cannot be drawn")


def plan(halos: list[Halo], config: Maps, folder: Path, tables: Mapping[str, CoolingTable]) -> list[Task]:
    """The tasks that draw a sample, in the order of its table.

    Raises
    ------
    InputError
        If its simulations differ in cosmology.
    """
    _check_cosmology(halos)
    tasks = []
    settings = config.model_dump(mode="json", exclude={"file", "bad_regions", "cooling_table", "bands"})
    settings["cooling"] = {name: table.digest for name, table in tables.items()}
    settings["bands"] = {name: band.energies for name, band in config.bands.items()}
    for source, group in groupby(halos, lambda halo: halo.source):
        own, files = list(group), sources_digest([source])
        for chunk, start in enumerate(range(0, len(own), HALOS_PER_TASK)):
            few = own[start : start + HALOS_PER_TASK]
            what = [(halo.halo_id, halo.centre.tolist(), halo.m200, halo.r200) for halo in few]
            key = digest_of([settings, files, what])
            # with the key in it no part of an earlier map file is overwritten, which stays whole until it is replaced
            name = f"{source.simulation}-{source.region}-{source.snapshot:03d}-{chunk}-{key[:12]}.h5"
            tasks.append(Task(few, folder / name, key))
    return tasks


def _is_made_of(path: Path, tasks: list[Task]) -> bool:
    """Whether the map file stands, whole, and is of these tasks: its parts may be gone since."""
    try:
        return provenance_of(open_maps(path)).get("tasks") == _digest_of(tasks)
    except InputError:
        return False


def _digest_of(tasks: list[Task]) -> str:
    subvolumes = [halo.subvolume for task in tasks for halo in task.halos]
    return digest_of([*(task.key for task in tasks), *([subvolumes] if any(subvolumes) else [])])


def _unfinished(tasks: list[Task]) -> list[Task]:
    """The tasks that are left, the longest first, so that none of the last ones keeps everybody waiting."""
    left = [task for task in tasks if digests_of_part(task.part, task.key) is None]
    return sorted(left, key=lambda task: -task.cost)


def _join(path: Path, tasks: list[Task], unread: list[str], failed: Mapping[Path, str], config: Maps) -> None:
    """Join the parts of all tasks but the failed into one file, and remove what belongs to no task."""
    skipped = [*unread, *dict.fromkeys(failed.values())]
    if skipped and config.bad_regions == "stop":
        raise InputError(f"{skipped[0]} (maps.bad_regions: skip would go on without this region)")
    found = [(task, digests_of_part(task.part, task.key)) for task in tasks]
    done = [(task, digests) for task, digests in found if digests is not None]
    for task, digests in found:
        if digests is None and task.part not in failed:
            raise InputError(
                f"{task.part}: was drawn and is gone; if another job makes {path}, let it end, then run again"
            )
    if not done:
        raise InputError(f"none of the {len(tasks)} regions can be drawn; the first: {skipped[0]}")
    halos = [halo for task, _ in done for halo in task.halos]
    attributes = {
        "h": halos[0].h,
        "omega_m": halos[0].omega_m,
        "fwhm": FWHM,
        "kernel": config.kernel,
        "adaptive_smoothing": config.adaptive_smoothing or 0,
        # one that lacks regions is not told from others: they may be readable next time
        "provenance": json.dumps({**machine(), "tasks": None if skipped else _digest_of(tasks)}),
    }
    attributes |= {key: getattr(config, key) for key in OPTIONS if getattr(config, key) != getattr(Maps(), key)}
    if config.bands:
        attributes["bands"] = json.dumps(config.model_dump(mode="json")["bands"])
    parts = [(task.part, len(task.halos)) for task, _ in done]
    digests = [digest for _, of_task in done for digest in of_task]
    views, units = rotations(config.lines_of_sight), units_of(config.bands)
    write_virtual_file(path, parts, halo_table(halos), views, digests, attributes, units, skipped)
    for file in parts_folder(path).iterdir():
        if file not in {task.part for task in tasks}:
            file.unlink()


def halo_table(halos: list[Halo]) -> dict[str, list[Any]]:
    """The columns of `mapfile.HALO_COLUMNS`."""
    of_source = ("simulation", "snapshot")
    of_halo = ("region", "redshift", "halo_id", "m200", "r200", "r500", "f_gas", "f_star")
    table = {column: [getattr(halo.source, column) for halo in halos] for column in of_source}
    return table | {column: [getattr(halo, column) for halo in halos] for column in of_halo}


def _check_cosmology(halos: list[Halo]) -> None:
    first = halos[0]
    for halo in halos:
        if not np.allclose((halo.h, halo.omega_m), (first.h, first.omega_m), rtol=1e-4):
            raise InputError(
                f"{halo.source.snapshot_file}: h = {halo.h:g}, Omega_m = {halo.omega_m:g}, but "
                f"{first.source.snapshot_file} has {first.h:g}, {first.omega_m:g}; one map file holds one cosmology"
            )
