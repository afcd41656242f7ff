#!/usr/bin/env python3
"""Predict the target maps of the test set with a run's final model, in physical units."""

from hpc_massmap.cli import config_of, parse, parser, run_job


def main(argv: list[str] | None = None) -> None:
    args = parse(parser(__doc__, "python jobs/predict.py configs/multi3.yaml"), argv)
    config = config_of(args)

    import torch

    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.dataset.split import split_maps
    from hpc_massmap.predict import predict_maps, write_predictions
    from hpc_massmap.progress import progress
    from hpc_massmap.run import Run
    from hpc_massmap.train.trained import load_model

    run = Run.open(config)
    model = load_model(run.model)
    targets = model.description.targets
    maps = open_maps(run.maps, [*model.description.views, *targets])
    step = run.step("predict", {}, {"maps": maps.digest, "model": model.digest}, [run.predictions])
    if step.is_finished(args.force):
        return
    rows = split_maps(maps, model.split).test  # the model's own split: what it was trained on is never its test
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    attributes = {"name": config.name, "model": model.digest}
    with progress("predicting", len(rows), "maps") as bar:
        predictions = predict_maps(model, maps, rows, device)
        write_predictions(run.predictions, maps, rows, targets, predictions, attributes, bar.advance)
    step.finish()


if __name__ == "__main__":
    run_job(main)
