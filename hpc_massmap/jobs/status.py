#!/usr/bin/env python3
"""Say of a run what each step has done, with what and how long, what is stale, and what comes next."""

from hpc_massmap.cli import Parser, plain_parser, run_job, with_run


def arguments() -> Parser:
    return with_run(plain_parser("status", __doc__, "massmap status runs/demo"))


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from hpc_massmap.pipeline.status import as_text, status_of
    from hpc_massmap.progress import say
    from hpc_massmap.tune.monitor.reading import run_in

    run = run_in(args.run)
    say(as_text(run, status_of(run)))


if __name__ == "__main__":
    run_job(main)
