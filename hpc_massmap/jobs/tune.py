#!/usr/bin/env python3
"""Tune the U-Net's hyperparameters: TPE over the config's space, by equal workers that share one database."""

import os

from hpc_massmap.cli import config_of, forced, parse, parser, run_job, site_of, with_site


def main(argv: list[str] | None = None) -> None:
    arguments = with_site(parser(__doc__, "python jobs/tune.py configs/multi3.yaml --site configs/sites/gpu.yaml"))
    arguments.add_argument("--workers", type=int, metavar="N", help="in place of the config's tune.workers")
    args = parse(arguments, argv)
    if args.workers is not None:
        args.overrides.append(f"tune.workers={args.workers}")
    config, site, force = config_of(args), site_of(args), forced(args)

    from hpc_massmap.cluster.requeue import handing_over
    from hpc_massmap.cluster.submit import check_site, ranks_of, reattach, submit
    from hpc_massmap.dataset.mapfile import describe as describe_maps
    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.dataset.split import split_maps
    from hpc_massmap.errors import InputError
    from hpc_massmap.progress import progress, say
    from hpc_massmap.run import Run
    from hpc_massmap.storage import read_json, write_json
    from hpc_massmap.train.loop import settings_of
    from hpc_massmap.train.recipe import check_shares
    from hpc_massmap.tune.best import write_best
    from hpc_massmap.tune.connection import StudyConnection
    from hpc_massmap.tune.database.connect import DatabaseUnreachable, database, ensure, stop
    from hpc_massmap.tune.export import export, read_export, restore
    from hpc_massmap.tune.launcher import supervise
    from hpc_massmap.tune.trials import Study
    from hpc_massmap.tune.watchdog import start_watchdog
    from hpc_massmap.tune.worker import Worker, open_study
    from hpc_massmap.tune.worker_jobs import WorkerJobs

    if config.tuned_by is not None:
        raise InputError(f"tuned_by = {config.tuned_by}: this model takes that study's best; there is nothing to tune")
    run = Run(config, config.runs / config.name)
    maps = open_maps(run.maps, [*config.model.views, *config.model.targets], check_values=True)
    rows = split_maps(maps, config.split)
    settings = {
        **settings_of(config),
        **config.part("space"),
        "trial": config.tune.model_dump(mode="json", include={"startup", "epochs", "maps_per_epoch", "pruning"}),
    }
    evaluations = config.tune.evaluations
    step = run.step(
        "tune",
        {**settings, "evaluations": evaluations},
        {"maps": maps.digest},
        [run.best, run.trials_export, run.trials, *([] if config.database.folder else [run.database])],
    )
    worker = Worker(run, site.signal_seconds if site else 0)
    name, logs, ranks = f"tune_{config.name}", run.logs / "tune", ranks_of(site, config.tune.ranks)
    check_shares(config.train, len(rows.train), ranks)
    checked = check_site(name, logs, config.tune.workers, ranks, site)
    if args.dry_run:
        print(checked)
        return
    Run.open(config)
    worker_jobs = WorkerJobs(
        logs / "workers.json",
        lambda n: submit(worker, name=name, logs=logs, copies=n, ranks=ranks, site=site),
        lambda names: reattach(names, logs, ranks, site),
    )
    if force:
        worker_jobs.cancel()
        if config.database.folder is None:
            stop(run.database)
    if step.is_finished(force):
        return
    settings = {**settings, "maps": maps.digest}
    if run.trials_export.exists() and run.study.exists() and read_json(run.study) != settings:
        raise InputError(f"{run.trials_export}: its trials have other settings; use a new run name, or --force")
    say(describe_maps(maps))
    with handing_over(), database(config.database, run.database):
        if config.database.kind != "external":
            start_watchdog(run, os.getpid())

        def reopen() -> Study:
            try:
                if ensure(config.database, run.database):
                    start_watchdog(run, os.getpid())
            except InputError as error:  # its data may still be held by one that is about to end
                raise DatabaseUnreachable(str(error)) from None
            return open_study(run)

        # a server that we share may end with the launcher that started it, at any moment; then it is ours to start
        connection = StudyConnection(reopen, config.tune.wait)
        if force:
            connection(Study.discard)
        connection(lambda study: study.refuse_others(settings))
        write_json(run.study, settings)
        if restored := connection(lambda study: restore(study, read_export(run.trials_export))):
            say(f"{restored} trials of {run.trials_export} were restored: the database did not have them")
        connection(lambda study: study.create(evaluations, settings))  # from now on workers take what is left

        with progress(f"tuning {config.name}", evaluations, "trials") as bar:
            supervise(connection, config.tune, worker_jobs, bar)
        connection(lambda study: export(study, run.trials_export))
        write_best(run.best, connection(Study.documents), config)
    step.finish()


if __name__ == "__main__":
    run_job(main)
