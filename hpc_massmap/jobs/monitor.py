#!/usr/bin/env python3
"""Watch the tuning of a run: workers, trials, losses, what is left. q or Ctrl-C leaves; nothing is changed."""

import io
import sys

from hpc_massmap.cli import Parser, plain_parser, run_job, with_run


def arguments() -> Parser:
    parser = with_run(plain_parser("monitor", __doc__, "massmap monitor runs/multi3"))
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="print one screen; so it does where there is no terminal")
    how.add_argument("--json", action="store_true", help="print one JSON object; docs/tuning.md says which keys it has")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from hpc_massmap.tune.monitor.listing import to_json
    from hpc_massmap.tune.monitor.reading import StudyReader, run_in
    from hpc_massmap.tune.monitor.terminal import print_once, watch

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where a terminal knows no block characters
    peek = StudyReader(run_in(args.run))
    if args.json:
        print(to_json(peek.snapshot(recent=None)))
    elif args.once or not sys.stdout.isatty():
        print_once(peek.snapshot())
    else:
        try:
            watch(peek.snapshot)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    run_job(main)
