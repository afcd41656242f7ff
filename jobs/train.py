#!/usr/bin/env python3
"""Train the final model of a run, with the best hyperparameters if it was tuned."""

from hpc_massmap.cli import config_of, parse, parser, run_job, site_of, with_site


def main(argv: list[str] | None = None) -> None:
    args = parse(with_site(parser(__doc__, "python jobs/train.py configs/multi3.yaml train.ranks=2")), argv)
    config, site = config_of(args), site_of(args)

    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.dataset.split import split_maps
    from hpc_massmap.launch import submit
    from hpc_massmap.progress import progress, say
    from hpc_massmap.run import Run
    from hpc_massmap.train.final import follow, train_rank
    from hpc_massmap.tune.best import with_best

    run = Run.open(config)
    if run.best.exists():
        config = with_best(config, run.best)
    maps = open_maps(run.maps, [*config.model.views, *config.model.targets], check_values=True)
    split_maps(maps, config.split)
    step = run.step("train", config.part("model", "train", "split", "seed"), {"maps": maps.digest}, [run.model])
    if step.is_finished(args.force):
        return
    model = config.model
    say(
        f"training {config.name} with F = {model.filters}, K = {model.kernel}, N = {model.layers}, "
        f"dropout = {model.dropout:.3f} {'of ' + str(run.best) if run.best.exists() else 'of the config'}"
    )
    (job,) = submit(
        train_rank,
        config,
        run.maps,
        run.model,
        name="train",
        logs=run.logs / "train",
        copies=1,
        ranks=config.train.ranks,
        site=site,
    )
    with progress(f"training on {config.train.ranks} ranks", config.train.epochs, "epochs") as bar:
        follow(job, config, run.model, bar)
    step.finish()


if __name__ == "__main__":
    run_job(main)
