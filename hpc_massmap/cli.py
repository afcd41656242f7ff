"""The command line that every job shares: a config, overrides, --site, --force, and one-line errors."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hpc_massmap.cluster.term import end_at_term
from hpc_massmap.errors import EXIT_BAD_INPUT, InputError, line_of

if TYPE_CHECKING:
    from hpc_massmap.cluster.site import Site
    from hpc_massmap.config import Config, Database
    from hpc_massmap.run import Run

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
CONFIG_HELP = "a file of configs/, or the folder of a run"
KEPT = "config.yaml"  # of a run
RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")  # 0 is the one that speaks
MOST_CHANGES = 5
OVERRIDE = "key.sub=value"
SITE_HELP = "a file of configs/sites/: submit to this Slurm cluster; auto: its own, or what this job itself has"
STARTED_AGAIN = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")  # how often, by whom


class Parser(argparse.ArgumentParser):
    """Takes options by their whole names only, and says of what it misses what that is."""

    def __init__(self, **of_argparse: Any) -> None:
        of_argparse.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **of_argparse)

    def error(self, message: str) -> NoReturn:
        """End with a line; values in place of the config's are never what is missing."""
        super().error(message.replace(f"config, {OVERRIDE}", f"config, {CONFIG_HELP}"))


def plain_parser(job: str, description: str | None, *examples: str) -> Parser:
    """A parser without arguments yet, whose help is a job's docstring and examples."""
    epilog = "\n".join(f"example: {example}" for example in examples)
    return Parser(prog=f"massmap {job}", description=description, epilog=epilog)


def parser(job: str, description: str | None, *examples: str) -> Parser:
    """A parser with what every step takes; a job adds its own options."""
    arguments = plain_parser(job, description, *examples)
    arguments.add_argument("config", type=Path, help=CONFIG_HELP)
    add_overrides(arguments)
    arguments.add_argument("--force", action="store_true", help="discard what the step wrote, and redo it")
    return arguments


def add_overrides(arguments: Parser) -> None:
    """Add values in place of the config's, which a shell completes by the config's schema."""
    what = "values in place of the config's"
    action: Any = arguments.add_argument("overrides", nargs="*", metavar=OVERRIDE, help=what)
    action.completer = _completions


def _completions(prefix: str, **_: Any) -> list[str]:
    from hpc_massmap.config import Config
    from hpc_massmap.keys import completions

    return completions(Config, prefix)


def with_run(arguments: Parser) -> Parser:
    """Add the run that a job looks into."""
    arguments.add_argument("run", type=Path, help="the folder of a run")
    return arguments


def add_verb(verbs: Any, name: str, what: str, example: str) -> Parser:
    """A parser of one verb of a job, with a help of its own; `verbs` is what `add_subparsers` returned."""
    described = f"{what[0].upper()}{what[1:]}."
    verb: Parser = verbs.add_parser(name, help=what, description=described, epilog=f"example: {example}")
    return verb


def with_site(arguments: Parser) -> Parser:
    """Add --site and --dry-run to a job that submits others."""
    arguments.add_argument("--site", type=Path, help=SITE_HELP)
    arguments.add_argument("--dry-run", action="store_true", help="show what would be submitted, and check it")
    return arguments


def with_elsewhere(arguments: Parser) -> Parser:
    """Add --of to a job that goes on with what massmap predict --maps predicted."""
    what = "what the run's model says of another map file: the --out of massmap predict"
    arguments.add_argument("--of", type=Path, metavar="FOLDER", help=what)
    return arguments


def run_of(args: argparse.Namespace) -> "Run":
    """The run of a parsed command line, or what its model says elsewhere; nothing is written."""
    from hpc_massmap.elsewhere import RECORD, elsewhere, elsewhere_at
    from hpc_massmap.run import Run

    if (args.config / RECORD).exists():  # what a model says elsewhere
        args.of, args.config = args.config, elsewhere_at(args.config).home
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
    from hpc_massmap.shipped import hint

    if not args.config.exists() and (puts := hint(args.config)):
        raise InputError(f"{args.config}: no such config file{puts}")
    if args.config.is_dir():
        config = _of_run(args.config, args.overrides)
    else:
        refuse_site(args.config)
        config = load_config(args.config, args.overrides)
    site = site_of(args)
    if site and site.database and not (is_derived(args.site) and _says_something_of(config.database)):
        config = config.model_copy(update={"database": _of_site(site.database, config.database.folder)})
    _say_what_changed(config)
    return config


def _of_run(folder: Path, overrides: list[str]) -> "Config":
    """The config that a run keeps, wherever its folder is now."""
    from hpc_massmap.config import load_config

    path = folder / KEPT
    if not path.is_file():
        raise InputError(f"{folder}: not the folder of a run (it has no {KEPT}); give one, as runs/demo, or a config")
    try:
        kept = load_config(path)
    except InputError as error:
        raise InputError(f"{error}; kept by another version, it seems: give the config file it is of") from None
    if kept.name != folder.resolve().name:
        raise InputError(f"{folder}: the folder of the run {kept.name}; give it its name back, or give the config")
    return load_config(path, [f"runs={folder.parent}", *overrides])


def _say_what_changed(config: "Config") -> None:
    """Say which values differ from those that the run was last used with, if it is there."""
    from hpc_massmap.keys import differences
    from hpc_massmap.progress import say
    from hpc_massmap.yamlfile import load_yaml

    path = config.runs / config.name / KEPT
    if not path.is_file() or any(os.environ.get(name, "0") not in ("", "0") for name in RANKS):
        return
    found = [(key, *pair) for key, pair in differences(load_yaml(path), config.model_dump(mode="json")).items()]
    found = [one for one in found if not one[0].startswith(("database.", "runs"))]
    for key, before, now in found[:MOST_CHANGES]:
        say(f"{key} = {now}, was {before} in {path}")
    if len(found) > MOST_CHANGES:
        say(f"and {len(found) - MOST_CHANGES} more; massmap config diff {path.parent} CONFIG shows them")


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
