#!/usr/bin/env python3
"""List the runs of a folder: a line of each, with what is done, what is stale, and what comes next."""

from pathlib import Path

from hpc_massmap.cli import Parser, plain_parser, run_job


def arguments() -> Parser:
    parser = plain_parser("runs", __doc__, "massmap runs")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="where they are (default: runs)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from hpc_massmap.errors import InputError
    from hpc_massmap.pipeline.status import runs_in, status_of, summary
    from hpc_massmap.progress import say
    from hpc_massmap.tune.monitor.reading import run_in

    folders = runs_in(args.folder)
    if not folders:
        raise InputError(f"{args.folder}: no run is in this folder; massmap run CONFIG begins one")
    for folder in folders:
        try:
            run = run_in(folder)
            say(summary(run, status_of(run)))
        except InputError as error:  # one that is damaged hides none of the others
            say(f"{folder!s:24} {error}")


if __name__ == "__main__":
    run_job(main)
