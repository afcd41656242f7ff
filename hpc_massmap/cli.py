"""The command line that every job shares: a config, overrides, --site, --force, and one-line errors."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_massmap.cluster.term import end_at_term
from hpc_massmap.errors import EXIT_BAD_INPUT, InputError, line_of

if TYPE_CHECKING:
    from hpc_massmap.cluster.site import Site
    from hpc_massmap.config import Config, Database
    from hpc_massmap.run import Run

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
SITE_HELP = "a file of configs/sites/: submit to this Slurm cluster; auto: its own, or what this job itself has"
STARTED_AGAIN = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")  # how often, by whom


def plain_parser(description: str | None, *examples: str) -> argparse.ArgumentParser:
    """A parser without arguments yet, whose help is a job's docstring and examples."""
    return argparse.ArgumentParser(
        description=description,
        epilog="\n".join(f"example: {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parser(description: str | None, example: str) -> argparse.ArgumentParser:
    """A parser with what every step takes; a job adds its own options."""
    arguments = plain_parser(description, example)
    arguments.add_argument("config", type=Path, help="a file of configs/")
    arguments.add_argument("overrides", nargs="*", metavar="key.sub=value", help="values in place of the config's")
    arguments.add_argument("--force", action="store_true", help="discard what the step wrote, and redo it")
    return arguments


def run_parser(description: str | None, example: str) -> argparse.ArgumentParser:
    """A parser of a job that looks into a run which is there."""
    arguments = plain_parser(description, example)
    arguments.add_argument("run", type=Path, help="the folder of a run")
    return arguments


def add_verb(verbs: Any, name: str, what: str, example: str) -> argparse.ArgumentParser:
    """A parser of one verb of a job, with a help of its own; `verbs` is what `add_subparsers` returned."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return verb


def with_site(arguments: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add --site and --dry-run to a job that submits others."""
    arguments.add_argument("--site", type=Path, help=SITE_HELP)
    arguments.add_argument("--dry-run", action="store_true", help="show what would be submitted, and check it")
    return arguments


def with_elsewhere(arguments: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add --of to a job that goes on with what jobs/predict.py --maps predicted."""
    what = "what the run's model says of another map file: the --out of jobs/predict.py"
    arguments.add_argument("--of", type=Path, metavar="FOLDER", help=what)
    return arguments


def run_of(args: argparse.Namespace) -> "Run":
    """The run of a parsed command line, or what its model says elsewhere; nothing is written."""
    from hpc_massmap.elsewhere import elsewhere
    from hpc_massmap.run import Run

    config = config_of(args)
    return elsewhere(config, args.of) if args.of else Run.of(config)


def parse(arguments: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Parse, with overrides allowed before and after options."""
    return arguments.parse_intermixed_args(argv)


def forced(args: argparse.Namespace) -> bool:
    """Whether --force discards what a step of hours wrote: not what this job itself has written before its requeue."""
    return args.force and all(os.environ.get(name, "0") in ("", "0") for name in STARTED_AGAIN)


def config_of(args: argparse.Namespace) -> "Config":
    """The checked config of a parsed command line; a site's database takes the place of the config's."""
    from hpc_massmap.cluster.proposal import is_derived
    from hpc_massmap.cluster.site import refuse_site
    from hpc_massmap.config import load_config

    refuse_site(args.config)
    config = load_config(args.config, args.overrides)
    site = site_of(args)
    if site and site.database and not (is_derived(args.site) and _says_something_of(config.database)):
        config = config.model_copy(update={"database": _of_site(site.database, config.database.folder)})
    return config


def _says_something_of(database: "Database") -> bool:
    """Whether a config describes a database of its own, besides the folder that runs share."""
    return bool(database.model_fields_set - {"folder"})


def _of_site(database: "Database", shared: "Path | None") -> "Database":
    """What a site says of the database, in the folder that runs share unless the site has a place of its own."""
    own = database.kind == "external" or database.data or database.folder
    return database if own else database.model_copy(update={"folder": shared})


def site_of(args: argparse.Namespace) -> "Site | None":
    """The checked site of a parsed command line, or None for this machine; looked for once."""
    from hpc_massmap.cluster.proposal import site_at

    if not getattr(args, "site", None):
        return None
    if "found_site" not in args:
        args.found_site = site_at(args.site)
    found: Site = args.found_site
    return found


def run_job(main: Callable[[], None]) -> None:
    """Run a job's main; an error of the user's, or of their disk, becomes one line and exit code 2.

    What the locale's encoding does not have is printed as its code.

    A TERM, which Slurm sends before it kills, ends the job as an exception would: what it started is shut down.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    end_at_term()
    try:
        main()
    except BrokenPipeError:  # whoever read what we print has enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE_CLOSED)
    except (InputError, OSError) as error:
        line = line_of(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
