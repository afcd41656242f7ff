#!/usr/bin/env python3
"""The trials of a run: list them, take them out to a file or in from one, or have those that failed tried again."""

import argparse
from pathlib import Path

from hpc_massmap.cli import add_verb, run_job, run_parser


def arguments() -> argparse.ArgumentParser:
    parser = run_parser(__doc__, "python jobs/trials.py runs/multi3 list")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|export|import|retry")
    listing = add_verb(verbs, "list", "all trials, the best first", "python jobs/trials.py runs/multi3 list")
    listing.add_argument("--json", action="store_true", help="as a list of objects")
    written = "python jobs/trials.py runs/multi3 export trials.csv"
    export = add_verb(verbs, "export", "write all trials to a file", written)
    export.add_argument("file", type=Path, help="of JSON lines, or CSV if it ends in .csv")
    taken = "put the ended trials of a file into the database where it lacks them"
    restore = add_verb(verbs, "import", taken, "python jobs/trials.py runs/multi3 import trials.jsonl")
    restore.add_argument("file", type=Path, help="of JSON lines, as `export` writes them")
    retry = add_verb(
        verbs, "retry", "let workers try failed trials again", "python jobs/trials.py runs/multi3 retry 7 12"
    )
    retry.add_argument("tids", type=int, nargs="*", metavar="TID", help="all that failed if none is given")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from hpc_massmap.progress import say
    from hpc_massmap.storage import write_text
    from hpc_massmap.tune.documents import sound
    from hpc_massmap.tune.export import to_jsonl
    from hpc_massmap.tune.monitor import listing
    from hpc_massmap.tune.monitor.reading import StudyReader, run_in
    from hpc_massmap.tune.repair import import_trials, retry_trials

    run = run_in(args.run)
    if args.verb == "list":
        trials = StudyReader(run).snapshot(recent=None).trials
        print(listing.trials_as_json(trials) if args.json else listing.trials_as_text(trials))
    elif args.verb == "export" and args.file.suffix == ".csv":
        trials = StudyReader(run).snapshot(recent=None).trials
        write_text(args.file, listing.trials_as_csv(trials))
        say(f"{args.file}: {len(trials)} trials")
    elif args.verb == "export":
        documents = sound(StudyReader(run).read().trials)
        write_text(args.file, to_jsonl(documents))
        say(f"{args.file}: {len(documents)} trials")
    elif args.verb == "import":
        taken, of = import_trials(run, args.file)
        say(f"{taken} of {of} trials of {args.file} were taken over")
    else:
        say(f"{retry_trials(run, args.tids or None)} trials will be tried again; jobs/tune.py starts workers for them")


if __name__ == "__main__":
    run_job(main)
