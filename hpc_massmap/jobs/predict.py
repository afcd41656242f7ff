#!/usr/bin/env python3
"""Predict target maps with a run's final model, in physical units.

Of the run's test set, or of the maps that validated; of another map file; or of maps of your own, as FITS files.
"""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpc_massmap.cli import Parser, config_of, parse, parser, run_job

if TYPE_CHECKING:
    from mpi4py import MPI

    from hpc_massmap.arrays import FloatArray, IntArray
    from hpc_massmap.config import Observe
    from hpc_massmap.dataset.mapfile import MapFile
    from hpc_massmap.predict.rows import Which
    from hpc_massmap.run import Run
    from hpc_massmap.train.trained import TrainedModel

EXAMPLE = """mpirun -n 4 massmap predict configs/multi3.yaml
example: massmap predict configs/multi3.yaml --validation
example: massmap predict configs/multi3.yaml --maps observed --out predicted
example: massmap predict configs/multi3.yaml --maps observed --truth --out compared
example: massmap predict configs/multi3.yaml --maps other/maps.h5 --out elsewhere"""


def arguments() -> Parser:
    step = parser("predict", __doc__, EXAMPLE)
    step.add_argument("--maps", type=Path, metavar="PATH", help="another map file, or a folder of NAME_VIEW.fits")
    step.add_argument("--out", type=Path, metavar="FOLDER", help="where their predictions go")
    what = "the folder has the true map of each target, too, for massmap evaluate and report to compare with"
    step.add_argument("--truth", action="store_true", help=what)
    what = "of another map file these halos only, by their numbers in massmap maps show"
    step.add_argument("--halos", type=int, nargs="+", metavar="N", help=what)
    what = "of the maps that validated, into predictions_validation.h5: error bars are calibrated on them"
    step.add_argument("--validation", action="store_true", help=what)
    return step


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)
    if (args.maps is None) != (args.out is None):
        arguments().error("--maps and --out go together")
    if args.validation and args.maps is not None:
        arguments().error("--validation is of the run's own maps; leave --maps out")
    of_a_map_file = args.maps is not None and (args.maps.is_file() or args.maps.suffix in (".h5", ".hdf5"))
    if args.truth and (args.maps is None or of_a_map_file):
        arguments().error("--truth is of a folder of maps, to be given as --maps; a map file has the truth")
    if args.halos is not None and not of_a_map_file:
        arguments().error("--halos are of another map file; give it as --maps")

    from hpc_massmap.mpi import communicator, on_first, together
    from hpc_massmap.predict.members import joined
    from hpc_massmap.predict.rows import over_symmetries
    from hpc_massmap.progress import say
    from hpc_massmap.run import Run
    from hpc_massmap.train.trained import load_model

    with communicator() as comm:
        run = on_first(comm, lambda: Run.of(config_of(args)))
        with together(comm):
            folders = members_of(run)
            model = joined(folders) if folders is not None else load_model(run.model)
        if comm.rank == 0 and folders is None and not run.is_recorded("train"):
            say(f"{run.model}: its training is not recorded as finished; this is its best model so far")
        if args.truth:
            import_own_maps(args, run, model, comm)
        if of_a_map_file or args.truth:
            predict_map_file(args, run, model, comm)
        elif args.maps:
            predict_own_maps(args, run, over_symmetries(model) if run.config.predict.symmetries else model, comm)
        else:
            predict_part(args, run, model, comm)


def members_of(run: "Run") -> list[Path] | None:
    """The folders of the models of an ensemble; None if there is to be none.

    Raises
    ------
    InputError
        If the study has fewer trials with a model.
    """
    from hpc_massmap.errors import InputError
    from hpc_massmap.run import Run
    from hpc_massmap.train.loop import BEST
    from hpc_massmap.tune.documents import finished, record_of
    from hpc_massmap.tune.export import read_export

    members = run.config.predict.members
    if isinstance(members, list):
        return [Run(run.config, run.config.runs / name).model for name in members]
    if members is None:
        return None
    records = finished(record_of(document, run.config.space) for document in read_export(run.trials_export))
    ranked = sorted(records, key=lambda trial: (trial.best, trial.tid))
    folders = [folder for trial in ranked if ((folder := run.trials / str(trial.tid)) / BEST).exists()]
    if len(folders) < members:
        raise InputError(
            f"predict.members = {members}: {run.trials_export} has {len(folders)} trials that ended with a model; run "
            "massmap tune first, or ask for fewer"
        )
    return folders[:members]


def predict_part(args: Namespace, run: "Run", model: "TrainedModel", comm: "MPI.Intracomm") -> None:
    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.dataset.split import split_maps
    from hpc_massmap.mpi import on_first, together
    from hpc_massmap.predict.likeness import likeness_of
    from hpc_massmap.predict.rows import predict_rows
    from hpc_massmap.progress import progress

    with together(comm):
        which = which_of(args, run, model, model.observe)
        check_observe(run, model)
        maps = open_maps(run.maps, [*model.description.views, *model.description.targets])
        split = split_maps(maps, model.split)  # the model's own split: what it was trained on is never its test
    path = run.predictions_of_validation if args.validation else run.predictions
    name = "predict_validation" if args.validation else "predict"
    step = run.step(name, settings_of(which), {"maps": maps.digest, "model": model.digest}, [path])
    if on_first(comm, lambda: step.is_finished(args.force)):
        return
    on_first(comm, run.keep_config)
    rows = split.validation if args.validation else split.test
    likeness = likeness_of(run.likeness, model, maps, maps, which.observe, rows, comm, keep=True)
    with progress(f"predicting on {comm.size} ranks", len(rows), "maps", show=comm.rank == 0) as bar:
        predict_rows(path, model, maps, split, run.config.name, comm, bar.advance, which, likeness)
    if comm.rank == 0:
        step.finish(*how_it_went(maps, rows, which, likeness))


def how_it_went(maps: "MapFile", rows: "IntArray", which: "Which", likeness: "FloatArray | None") -> tuple[str, str]:
    """What rows, (n,), were predicted, and how many are unlike by their p-values, (n,), if anybody can tell."""
    from hpc_massmap.predict.likeness import said_of_likeness

    samples = f", with {which.samples} samples of each" if which.samples else ""
    done = f"predicted {len(rows)} maps of {len(set(maps.halo[rows].tolist()))} halos{samples}"
    if likeness is None:
        return done, ""
    return done, said_of_likeness(likeness) or "none of them is unlike what the network was trained on"


def check_observe(run: "Run", model: "TrainedModel") -> None:
    """Raise an InputError if the config has other telescopes than trained the model, whose own maps are predicted."""
    from hpc_massmap.errors import InputError
    from hpc_massmap.run import difference

    ours, its = (observe.model_dump(mode="json") for observe in (run.config.observe, model.observe))
    changed = difference(its, ours, "observe") if run.config.observe.is_on or model.observe.is_on else ""
    if changed:
        raise InputError(f"{run.model}: trained with {changed}; for other telescopes give --maps {run.maps} and --out")


def which_of(args: Namespace, run: "Run", model: "TrainedModel", observe: "Observe") -> "Which":
    """What is predicted and kept; raises an InputError if the model has no samples and is asked for some."""
    from hpc_massmap.posterior.kinds import samples_of
    from hpc_massmap.predict.rows import Which

    samples = samples_of(model.description, run.config.predict.samples, len(model.members))
    part: Literal["validation", "test"] = "validation" if args.validation else "test"
    return Which(part, samples, run.config.seed, run.config.predict.symmetries, observe)


def settings_of(which: "Which") -> dict[str, Any]:
    """What predictions depend on besides maps and model; nothing by default."""
    settings: dict[str, Any] = {"symmetries": True} if which.symmetries else {}
    settings |= {"observe": which.observe.model_dump(mode="json")} if which.observe.is_on else {}
    return settings | ({"samples": which.samples, "seed": which.seed} if which.samples else {})


def predict_map_file(args: Namespace, run: "Run", model: "TrainedModel", comm: "MPI.Intracomm") -> None:
    from hpc_massmap.config import AS_DRAWN
    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.elsewhere import keep_elsewhere, make_elsewhere
    from hpc_massmap.mpi import on_first, together
    from hpc_massmap.observe.observation import observed
    from hpc_massmap.predict.likeness import likeness_of
    from hpc_massmap.predict.others import check_is_new, check_units, own_test_set, rows_of
    from hpc_massmap.predict.rows import predict_rows
    from hpc_massmap.progress import progress, say

    with together(comm):
        which = which_of(args, run, model, AS_DRAWN if args.truth else run.config.observe)
    there = on_first(comm, lambda: make_elsewhere(run.config, args.out, args.maps))
    with together(comm):
        maps = open_maps(there.maps, [*model.description.views, *model.description.targets])
        check_units(model, maps)
        observed(maps, which.observe, model.description.views)  # refuses what cannot be seen
        home = open_maps(run.maps, model.description.views) if run.maps.exists() else None
        is_home = home is not None and home.digest == maps.digest and args.halos is None
        rows = own_test_set(model, maps) if is_home else rows_of(maps, args.halos)
    if is_home:
        note = "Of this map file the model knows the test set, which is what was taken"
    elif home is not None:
        note = on_first(comm, lambda: check_is_new(model, home, maps, rows))
    else:
        note = f"{run.maps}: not there, so nobody can tell whether these halos trained the model"
    if note and comm.rank == 0:
        say(note)
    inputs = {"maps": maps.digest, "model": model.digest}
    step = there.step("predict", {"halos": args.halos, **settings_of(which)}, inputs, [there.predictions])
    if on_first(comm, lambda: step.is_finished(args.force)):
        return
    on_first(comm, lambda: keep_elsewhere(there, note))
    likeness = likeness_of(run.likeness, model, home, maps, which.observe, rows.test, comm)
    with progress(f"predicting on {comm.size} ranks", len(rows.test), "maps", show=comm.rank == 0) as bar:
        predict_rows(there.predictions, model, maps, rows, run.config.name, comm, bar.advance, which, likeness)
    if comm.rank == 0:
        step.finish(*how_it_went(maps, rows.test, which, likeness))


def import_own_maps(args: Namespace, run: "Run", model: "TrainedModel", comm: "MPI.Intracomm") -> None:
    """Maps that have the truth become a map file beside their predictions, and are predicted as any other."""
    from hpc_massmap.elsewhere import make_elsewhere
    from hpc_massmap.mpi import on_first
    from hpc_massmap.predict.own_truth import import_clusters
    from hpc_massmap.progress import say

    there = on_first(comm, lambda: make_elsewhere(run.config, args.out, args.out / "maps.h5"))
    for note in sorted(on_first(comm, lambda: import_clusters(there.maps, args.maps, model))):
        if comm.rank == 0:
            say(note)
    args.maps = there.maps


def predict_own_maps(args: Namespace, run: "Run", model: "TrainedModel", comm: "MPI.Intracomm") -> None:
    from hpc_massmap.config import AS_DRAWN
    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.mpi import on_first, together
    from hpc_massmap.predict.apply import apply_model, check_out
    from hpc_massmap.predict.likeness import reference_of, said_of_likeness
    from hpc_massmap.predict.own_errors import calibration_of
    from hpc_massmap.predict.own_maps import find_clusters
    from hpc_massmap.progress import progress, say

    with together(comm):
        which = which_of(args, run, model, AS_DRAWN)
        calibration = calibration_of(run.calibration, model, which.samples, which.symmetries)
    units = {view: model.normalisation.unit[view] for view in model.description.views}
    clusters = on_first(comm, lambda: find_clusters(args.maps, units))
    on_first(comm, lambda: check_out(args.out, clusters, model.description.targets, args.force))
    with together(comm):
        at_hand = run.maps.exists() and not run.likeness.exists()
        home = open_maps(run.maps, model.description.views) if at_hand else None
    reference = reference_of(run.likeness, model, home, comm)
    strange: list[str] = []
    with progress(f"predicting on {comm.size} ranks", len(clusters), "clusters", show=comm.rank == 0) as bar:

        def on_done(notes: str) -> None:
            strange.extend(notes.splitlines())
            bar.advance()

        likeness = apply_model(
            model, clusters, args.out, comm, on_done, which.samples, which.seed, calibration, reference
        )
    if comm.rank == 0:
        for line in sorted(strange):
            say(line)
        if calibration is not None:
            say(f"error bars by {run.calibration}: {calibration.promise()}")
        if line := said_of_likeness(likeness):
            say(line)
        say(f"{args.out}: {len(clusters)} clusters")


if __name__ == "__main__":
    run_job(main)
