#!/usr/bin/env python3
"""Predict target maps with a run's final model, in physical units: of the test set, or of maps of your own."""

from hpc_massmap.cli import config_of, parse, parser, run_job

EXAMPLE = "mpirun -n 4 python jobs/predict.py configs/multi3.yaml"


def main(argv: list[str] | None = None) -> None:
    args = parse(parser(__doc__ or "", EXAMPLE), argv)

    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.dataset.split import split_maps
    from hpc_massmap.mpi import communicator, on_first, together
    from hpc_massmap.predict.test_set import predict_rows
    from hpc_massmap.progress import progress
    from hpc_massmap.run import Run
    from hpc_massmap.train.trained import load_model

    with communicator() as comm:
        run = on_first(comm, lambda: Run.open(config_of(args)))
        with together(comm):
            model = load_model(run.model)
            maps = open_maps(run.maps, [*model.description.views, *model.description.targets])
            rows = split_maps(maps, model.split).test  # the model's own: what it was trained on is never its test
        step = run.step("predict", {}, {"maps": maps.digest, "model": model.digest}, [run.predictions])
        if on_first(comm, lambda: step.is_finished(args.force)):
            return
        with progress(f"predicting on {comm.size} ranks", len(rows), "maps", show=comm.rank == 0) as bar:
            predict_rows(run.predictions, model, maps, rows, run.config.name, comm, on_maps=bar.advance)
        if comm.rank == 0:
            step.finish()


if __name__ == "__main__":
    run_job(main)
