#!/usr/bin/env python3
"""Compare the predicted maps of a run with the true ones: pixels, profiles, power spectra and MMD (section 4)."""

from hpc_massmap.cli import Parser, parse, parser, run_job, run_of, with_elsewhere

EXAMPLE = "mpirun -n 4 massmap evaluate configs/multi3.yaml"


def arguments() -> Parser:
    return with_elsewhere(parser("evaluate", __doc__, EXAMPLE))


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)

    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.diagnostics.calibration import read_calibration
    from hpc_massmap.metrics.baselines import BASELINES, baselines_of, write_baselines
    from hpc_massmap.metrics.calibrate import check_calibration, residuals_of
    from hpc_massmap.metrics.driver import evaluate
    from hpc_massmap.metrics.error_bars import Known, aspects_of
    from hpc_massmap.metrics.floor import FLOOR, floor_of
    from hpc_massmap.metrics.predictions import digest_of_file, read_predictions
    from hpc_massmap.metrics.results import write_metrics
    from hpc_massmap.metrics.summary import headline, in_short
    from hpc_massmap.mpi import communicator, on_first, share, together
    from hpc_massmap.progress import progress, say

    with communicator() as comm:
        run = on_first(comm, lambda: run_of(args))
        inputs = {"predictions": on_first(comm, lambda: digest_of_file(run.predictions))}
        calibration = on_first(comm, lambda: read_calibration(run.calibration) if run.calibration.exists() else None)
        if calibration is not None:
            inputs["calibration"] = on_first(comm, lambda: digest_of_file(run.calibration))
        step = run.step("evaluate", run.config.part("evaluate"), inputs, [run.metrics])
        if on_first(comm, lambda: step.is_finished(args.force)):
            return
        with together(comm):
            predictions = read_predictions(run.predictions, open_maps(run.maps))
            if calibration is not None:
                check_calibration(run.calibration, calibration, predictions)
        known = Known.by(calibration)
        on_first(comm, run.keep_config)
        first = comm.rank == 0
        own = share(len(predictions), comm)
        total = (own.stop - own.start) * len(predictions.targets)
        with progress(f"evaluating, one of {comm.size} ranks", total, "maps", show=first) as bar:
            metrics = evaluate(predictions, run.config.evaluate, comm, bar.advance, known)
        with together(comm):
            floor = floor_of(predictions, comm)
        baselines = baselines_of(predictions, floor, comm)
        of_floor = None
        if floor is not None:
            scored = bool(aspects_of(predictions, known))
            constant = Known(residuals=residuals_of(floor.of_validation(), comm)) if scored else Known()
            of_floor = evaluate(floor, run.config.evaluate, comm, lambda: None, constant)
        if metrics is not None:
            floor_path = run.metrics.with_name(FLOOR)
            floor_path.unlink(missing_ok=True)  # that of earlier predictions
            if of_floor is not None:
                write_metrics(floor_path, of_floor)
            baselines_path = run.metrics.with_name(BASELINES)
            baselines_path.unlink(missing_ok=True)
            if baselines is not None:
                write_baselines(baselines_path, baselines, predictions)
            write_metrics(run.metrics, metrics)
            for line in headline(metrics):
                say(line)
            if floor is not None:
                say(f"without a network: {floor.name}")
            step.finish(*in_short(metrics))


if __name__ == "__main__":
    run_job(main)
