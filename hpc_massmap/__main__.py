"""The command `massmap`: every job of the package as a subcommand. `python -m hpc_massmap` is the same."""

import argparse
import importlib
import os
import sys

from hpc_massmap import __version__
from hpc_massmap.cli import Parser, run_job

GROUPS = {
    "begin": ("demo", "configs", "config", "site"),
    "the steps of a run": ("make_maps", "tune", "train", "predict", "calibrate", "evaluate", "report", "run"),
    "look": ("status", "runs", "maps", "monitor", "trials", "database"),
    "more": ("paper", "mock", "cooling_table", "completion"),
}
JOBS = [job for jobs in GROUPS.values() for job in jobs]


def main() -> None:
    """Do what the command line says."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
    run_job(call)


def call() -> None:
    """Hand the words after the first to the job that it names."""
    words = sys.argv[1:]
    if words and words[0] in JOBS:
        importlib.import_module(f"hpc_massmap.jobs.{words[0]}").main(words[1:])
        return
    parser().parse_args(words or ["--help"])


def parser() -> Parser:
    """A parser of the first word alone, whose help has a line of every job."""
    lines = []
    for group, jobs in GROUPS.items():
        lines += [f"\n{group}:"]
        for job in jobs:
            about = (importlib.import_module(f"hpc_massmap.jobs.{job}").__doc__ or "").splitlines()[0]
            lines.append(f"  {job:14} {about}")
    first = Parser(
        prog="massmap",
        usage="massmap COMMAND ...",
        description="Total-mass maps of galaxy clusters: from simulation to network to report.",
        epilog="\n".join([*lines, "", "massmap COMMAND --help says more.", "example: massmap demo"]),
    )
    first.add_argument("--version", action="version", version=f"massmap {__version__}")
    first.add_argument("command", choices=JOBS, metavar="COMMAND", help=argparse.SUPPRESS)
    return first


def complete() -> None:
    """Answer the shell that asks which word can come next, and end."""
    import argcomplete

    whole = Parser(prog="massmap")
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers()
    for job in JOBS:
        its = importlib.import_module(f"hpc_massmap.jobs.{job}").arguments()
        commands.add_parser(job, parents=[its], add_help=False)
    argcomplete.autocomplete(whole)


if __name__ == "__main__":
    main()
