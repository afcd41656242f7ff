#!/usr/bin/env python3
"""Describe this cluster for `--site auto`: ask sinfo, scontrol and sacctmgr, and write what they say as a site file."""

from pathlib import Path

from hpc_massmap.cli import Parser, plain_parser, run_job

OUT = Path("configs/sites/local.yaml")


def arguments() -> Parser:
    parser = plain_parser("site", __doc__, "massmap site --partition gpu")
    parser.add_argument("--partition", metavar="NAME", help="default: the default one, or the first that has GPUs")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the site file (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace the file")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from hpc_massmap.cluster.proposal import propose
    from hpc_massmap.cluster.slurm import require
    from hpc_massmap.errors import InputError
    from hpc_massmap.progress import say
    from hpc_massmap.storage import write_text

    if args.out.exists() and not args.force:
        raise InputError(f"{args.out}: is there; edit it, or --force proposes another")
    require()
    text = propose(args.partition).text()
    write_text(args.out, text)
    say(f"{text}wrote {args.out}")


if __name__ == "__main__":
    run_job(main)
