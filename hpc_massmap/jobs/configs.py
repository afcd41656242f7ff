#!/usr/bin/env python3
"""The configs, site files and batch scripts that come with the package: list them, or copy them into a folder."""

from pathlib import Path

from hpc_massmap.cli import Parser, add_verb, plain_parser, run_job


def arguments() -> Parser:
    parser = plain_parser("configs", __doc__, "massmap configs list", "massmap configs copy multi3 slurm")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|copy")
    add_verb(verbs, "list", "each file and what it is for", "massmap configs list")
    what = "write some of them into a folder, with those that they need"
    copy = add_verb(verbs, "copy", what, "massmap configs copy multi3 slurm")
    copy.add_argument("names", nargs="*", metavar="NAME", help="as multi3, sites/gpu or slurm; all by default")
    copy.add_argument("--to", type=Path, default=Path(), metavar="FOLDER", help="default: this one")
    copy.add_argument("--force", action="store_true", help="replace files that are there with changes")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from hpc_massmap.progress import say
    from hpc_massmap.shipped import about, chosen, copy, names

    if args.verb == "list":
        for name in names():
            say(f"{name:34} {about(name)}")
        return
    wanted = chosen(args.names)
    new = copy(wanted, args.to, args.force)
    for name in wanted:
        say(f"{args.to / name}{'' if name in new else ': there already'}")


if __name__ == "__main__":
    run_job(main)
