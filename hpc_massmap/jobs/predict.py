#!/usr/bin/env python3
"""Predict target maps with a run's final model, in physical units: of the test set, or of maps of your own."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_massmap.cli import config_of, parse, parser, run_job

if TYPE_CHECKING:
    from mpi4py import MPI

    from hpc_massmap.run import Run
    from hpc_massmap.train.trained import TrainedModel

EXAMPLE = """mpirun -n 4 python jobs/predict.py configs/multi3.yaml
example: python jobs/predict.py configs/multi3.yaml --maps observed --out predicted"""


def main(argv: list[str] | None = None) -> None:
    arguments = parser(__doc__, EXAMPLE)
    arguments.add_argument("--maps", type=Path, metavar="FOLDER", help="maps of your own: NAME_VIEW.fits or .npy")
    arguments.add_argument("--out", type=Path, metavar="FOLDER", help="where their predictions go: NAME_TARGET.fits")
    args = parse(arguments, argv)
    if (args.maps is None) != (args.out is None):
        arguments.error("--maps and --out go together")

    from hpc_massmap.mpi import communicator, on_first, together
    from hpc_massmap.progress import say
    from hpc_massmap.run import Run
    from hpc_massmap.train.trained import load_model

    with communicator() as comm:
        run = on_first(comm, lambda: Run.open(config_of(args)))
        with together(comm):
            model = load_model(run.model)
        if comm.rank == 0 and not run.is_recorded("train"):
            say(f"{run.model}: its training is not recorded as finished; this is its best model so far")
        if args.maps:
            predict_own_maps(args, model, comm)
        else:
            predict_test_set(args, run, model, comm)


def predict_test_set(args: Namespace, run: "Run", model: "TrainedModel", comm: "MPI.Intracomm") -> None:
    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.dataset.split import split_maps
    from hpc_massmap.mpi import on_first, together
    from hpc_massmap.predict.rows import predict_rows
    from hpc_massmap.progress import progress

    with together(comm):
        maps = open_maps(run.maps, [*model.description.views, *model.description.targets])
        split = split_maps(maps, model.split)  # the model's own split: what it was trained on is never its test
    step = run.step("predict", {}, {"maps": maps.digest, "model": model.digest}, [run.predictions])
    if on_first(comm, lambda: step.is_finished(args.force)):
        return
    with progress(f"predicting on {comm.size} ranks", len(split.test), "maps", show=comm.rank == 0) as bar:
        predict_rows(run.predictions, model, maps, split, run.config.name, comm, on_maps=bar.advance)
    if comm.rank == 0:
        step.finish()


def predict_own_maps(args: Namespace, model: "TrainedModel", comm: "MPI.Intracomm") -> None:
    from hpc_massmap.mpi import on_first
    from hpc_massmap.predict.apply import apply_model, check_out
    from hpc_massmap.predict.own_maps import find_clusters
    from hpc_massmap.progress import progress, say

    units = {view: model.normalisation.unit[view] for view in model.description.views}
    clusters = on_first(comm, lambda: find_clusters(args.maps, units))
    on_first(comm, lambda: check_out(args.out, clusters, model.description.targets, args.force))
    strange: list[str] = []
    with progress(f"predicting on {comm.size} ranks", len(clusters), "clusters", show=comm.rank == 0) as bar:

        def on_done(notes: str) -> None:
            strange.extend(notes.splitlines())
            bar.advance()

        apply_model(model, clusters, args.out, comm, on_done)
    if comm.rank == 0:
        for line in sorted(strange):
            say(line)
        say(f"{args.out}: {len(clusters)} clusters")


if __name__ == "__main__":
    run_job(main)
