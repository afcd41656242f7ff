#!/usr/bin/env python3
"""Calibrate the error bars of a run's model by region, on the maps that validated it.

These are predicted by `massmap predict --validation`. Test maps are never read.
"""

from hpc_massmap.cli import Parser, config_of, parse, parser, run_job

EXAMPLE = "massmap calibrate configs/multi3.yaml"


def arguments() -> Parser:
    return parser("calibrate", __doc__, EXAMPLE)


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)

    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.diagnostics.calibration import write_calibration
    from hpc_massmap.metrics.calibrate import calibrate
    from hpc_massmap.metrics.predictions import digest_of_file, read_predictions
    from hpc_massmap.progress import progress
    from hpc_massmap.run import Run

    run = Run.of(config_of(args))
    inputs = {"predictions_validation": digest_of_file(run.predictions_of_validation)}
    step = run.step("calibrate", {}, inputs, [run.calibration])
    if step.is_finished(args.force):
        return
    predictions = read_predictions(run.predictions_of_validation, open_maps(run.maps))
    run.keep_config()
    with progress("calibrating", len(predictions) * len(predictions.targets), "maps") as bar:
        calibration = calibrate(predictions, bar.advance)
    write_calibration(run.calibration, calibration)
    step.finish("calibrated error bars on the maps that validated", f"{run.calibration}: {calibration.promise()}")


if __name__ == "__main__":
    run_job(main)
