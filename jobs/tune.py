#!/usr/bin/env python3
"""Tune the U-Net's hyperparameters: TPE over the config's space, by equal workers that share one database."""

from hpc_massmap.cli import config_of, parse, parser, run_job, site_of, with_site


def main(argv: list[str] | None = None) -> None:
    arguments = with_site(parser(__doc__, "python jobs/tune.py configs/multi3.yaml --site configs/sites/mine.yaml"))
    args = parse(arguments, argv)
    config, site = config_of(args), site_of(args)

    from hpc_massmap.dataset.mapfile import describe, open_maps
    from hpc_massmap.dataset.split import split_maps
    from hpc_massmap.launch import submit
    from hpc_massmap.progress import progress, say
    from hpc_massmap.run import Run
    from hpc_massmap.tune.best import write_best
    from hpc_massmap.tune.database import database, stop
    from hpc_massmap.tune.supervise import supervise
    from hpc_massmap.tune.worker import open_study, work

    run = Run.open(config)
    maps = open_maps(run.maps, [*config.model.views, *config.model.targets], check_values=True)
    split_maps(maps, config.split)
    settings = {
        **config.part("model", "train", "split", "space", "seed"),
        "trial": config.tune.model_dump(include={"startup", "epochs", "maps_per_epoch"}),
    }
    evaluations = config.tune.evaluations
    step = run.step(
        "tune",
        {**settings, "evaluations": evaluations},
        {"maps": maps.digest},
        [run.best, run.trials_export, run.trials, run.database],
    )
    if args.force:
        stop(run.database)
    if step.is_finished(args.force):
        return
    say(describe(maps))
    with database(config.database, run.database):
        study = open_study(run)
        study.create(evaluations, {**settings, "maps": maps.digest})
        with progress(f"tuning {config.name}", evaluations, "trials") as bar:
            supervise(
                study,
                config.tune,
                lambda n: submit(work, run, name="tune", logs=run.logs / "tune", copies=n, ranks=1, site=site),
                bar,
            )
        study.export(run.trials_export)
        write_best(run.best, study.documents(), config)
    step.finish()


if __name__ == "__main__":
    run_job(main)
