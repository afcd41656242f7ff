#!/usr/bin/env python3
"""The trials of a run: list them, take them out to a file or in from one, or have those that failed tried again."""

import sys
from pathlib import Path

from hpc_massmap.cli import Parser, add_verb, plain_parser, run_job, with_run

VERBS = ("list", "export", "import", "retry")


def arguments() -> Parser:
    parser = plain_parser("trials", __doc__, "massmap trials list runs/multi3")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(VERBS))
    listing = with_run(add_verb(verbs, "list", "all trials, the best first", "massmap trials list runs/multi3"))
    listing.add_argument("--json", action="store_true", help="as a list of objects")
    written = "massmap trials export runs/multi3 trials.csv"
    export = with_run(add_verb(verbs, "export", "write all trials to a file", written))
    export.add_argument("file", type=Path, help="of JSON lines, or CSV if it ends in .csv")
    taken = "put the ended trials of a file into the database where it lacks them"
    restore = with_run(add_verb(verbs, "import", taken, "massmap trials import runs/multi3 trials.jsonl"))
    restore.add_argument("file", type=Path, help="of JSON lines, as `export` writes them")
    again = "massmap trials retry runs/multi3 7 12"
    retry = with_run(add_verb(verbs, "retry", "let workers try failed trials again", again))
    retry.add_argument("tids", type=int, nargs="*", metavar="TID", help="all that failed if none is given")
    return parser


def main(argv: list[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) > 1 and words[0] not in VERBS and words[1] in VERBS:  # as it was: the run before the verb
        words[:2] = words[1], words[0]
    args = arguments().parse_args(words)

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
        say(f"{retry_trials(run, args.tids or None)} trials will be tried again; massmap tune starts workers for them")


if __name__ == "__main__":
    run_job(main)
