#!/usr/bin/env python3
"""Do what is left of a run, from maps to report; the same command again goes on.

With --site the steps become Slurm jobs that depend on each other, and this one ends; without, they run here one after
the other.
"""

from hpc_massmap.cli import Parser, config_of, parse, parser, run_job, site_of, with_site

EXAMPLES = ("massmap run configs/demo.yaml", "massmap run configs/multi3.yaml --site configs/sites/gpu.yaml")


def arguments() -> Parser:
    whole = with_site(parser("run", __doc__, *EXAMPLES))
    whole.add_argument("--no-tune", action="store_true", help="take the config's hyperparameters as they are")
    return whole


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)
    if args.force:
        arguments().error("--force is for the job of a single step: it would throw the maps and the trials away")
    config, site = config_of(args), site_of(args)

    import sys

    from hpc_massmap.cluster.proposal import file_of, is_derived
    from hpc_massmap.cluster.slurm import require
    from hpc_massmap.pipeline.here import run_in_sight
    from hpc_massmap.pipeline.on_slurm import of_this_job, submit
    from hpc_massmap.pipeline.stages import stages_of_run
    from hpc_massmap.progress import say
    from hpc_massmap.run import Run

    wanted = stages_of_run(config, [str(args.config), *args.overrides], not args.no_tune)
    if args.dry_run:
        for stage in wanted:
            say(f"{stage.name}: {'done' if stage.is_done else ' '.join(stage.script)}")
        return
    if site is None:
        sys.exit(run_in_sight(wanted, lambda name, told: say(f"{name}: {told}")))
    require()
    folder = Run.of(config).folder
    asked = of_this_job(site, wanted) if is_derived(args.site) else {}
    for name, (job, told) in submit(wanted, None, folder, file_of(args.site, site, folder), asked).items():
        say(f"{name}: {told}{f' as job {job}' if job else ''}")
    say(f"logs: {folder / 'logs'}")


if __name__ == "__main__":
    run_job(main)
