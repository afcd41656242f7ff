#!/usr/bin/env python3
"""Train the final model of a run, with the best hyperparameters if it was tuned.

Started by torchrun, or by srun as several tasks, each process is one rank of the training; else it submits the ranks.
"""

from hpc_massmap.cli import Parser, config_of, forced, parse, parser, run_job, site_of, with_site


def arguments() -> Parser:
    step = with_site(parser("train", __doc__, "massmap train configs/multi3.yaml train.ranks=2"))
    step.add_argument("--profile", action="store_true", help="only write a trace of a few steps, made here")
    return step


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)
    config, site, force = config_of(args), site_of(args), forced(args)

    from hpc_massmap.cluster.requeue import handing_over
    from hpc_massmap.cluster.submit import check_site, ranks_of, reattach, submit
    from hpc_massmap.config import HYPERPARAMETERS
    from hpc_massmap.dataset.mapfile import open_maps
    from hpc_massmap.dataset.split import split_maps
    from hpc_massmap.errors import InputError
    from hpc_massmap.observe.observation import observed
    from hpc_massmap.progress import progress, say
    from hpc_massmap.run import Run
    from hpc_massmap.train.final import FinalTraining, Record, follow, how_it_went, is_trained, train_as_rank
    from hpc_massmap.train.loop import settings_of
    from hpc_massmap.train.profile import profile
    from hpc_massmap.train.ranks import join_ranks, rank_of_launcher
    from hpc_massmap.train.recipe import check_shares
    from hpc_massmap.tune.best import with_best

    run = Run(config, config.runs / config.name)
    if config.tuned_by is not None and not run.best.exists():
        raise InputError(f"{run.best}: no such file; tune {config.tuned_by} first, or leave tuned_by out")
    if run.best.exists():
        config = with_best(config, run.best)
    maps = open_maps(run.maps, [*config.model.views, *config.model.targets], check_values=True)
    observed(maps, config.observe, config.model.views)  # refuses what cannot be seen, before anything is submitted
    rows = split_maps(maps, config.split)
    rank = rank_of_launcher()
    if rank is not None and (args.site or args.profile):
        raise InputError("--site and --profile are for a process of its own, not for the ranks of torchrun or srun")
    if args.profile:
        with join_ranks(config.train.threads) as alone:
            say(profile(maps, rows, config, alone, run.logs / "train" / "trace.json"))
        say(f"wrote {run.logs / 'train' / 'trace.json'}")
        return
    step = run.step("train", settings_of(config), {"maps": maps.digest}, [run.model])
    if rank is not None:
        train_as_rank(rank, FinalTraining(config, run.maps, run.model), run, step, force)
        return
    name, logs, ranks = f"train_{config.name}", run.logs / "train", ranks_of(site, config.train.ranks)
    check_shares(config.train, len(rows.train), ranks)
    checked = check_site(name, logs, 1, ranks, site)
    if args.dry_run:
        print(checked)
        return
    record = Record(
        logs / "job.json", [step.settings, step.inputs, ranks], lambda names: reattach(names, logs, ranks, site)
    )
    running = record.running(force)
    if is_trained(step, run.model, force):
        return
    Run.open(run.config)
    chosen = ", ".join(f"{shown.short} = {getattr(config.model, name):.4g}" for name, shown in HYPERPARAMETERS.items())
    say(f"training {config.name} with {chosen} {'of ' + str(run.best) if run.best.exists() else 'of the config'}")
    training = FinalTraining(config, run.maps, run.model)
    with handing_over(), progress(f"training on {ranks} ranks", config.train.epochs, "epochs") as bar:
        while running is None or not follow(running, config, run.model, bar):
            (running,) = submit(training, name=name, logs=logs, copies=1, ranks=ranks, site=site)
            record.write(running)
    step.finish(*how_it_went(run.model, config))


if __name__ == "__main__":
    run_job(main)
