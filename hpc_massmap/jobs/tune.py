#!/usr/bin/env python3
"""Tune the U-Net's hyperparameters: TPE over the config's space, by equal workers that share one database."""

from hpc_massmap.cli import Parser, config_of, forced, parse, parser, run_job, site_of, with_site


def arguments() -> Parser:
    step = with_site(parser("tune", __doc__, "massmap tune configs/multi3.yaml --site configs/sites/gpu.yaml"))
    step.add_argument("--workers", type=int, metavar="N", help="in place of the config's tune.workers")
    return step


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)
    if args.workers is not None:
        args.overrides.append(f"tune.workers={args.workers}")
    config, site, force = config_of(args), site_of(args), forced(args)

    from hpc_massmap.tune.launcher import launch_study

    launch_study(config, site, force, args.dry_run)


if __name__ == "__main__":
    run_job(main)
