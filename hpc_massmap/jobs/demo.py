#!/usr/bin/env python3
"""The whole chain on a small real simulation that comes with the package, to a report page, in some six minutes.

Works in any folder, writes runs/demo there, and goes on where it was stopped. Outside of a clone the config is first
copied to configs/demo.yaml, to look at and to change.
"""

from hpc_massmap.cli import Parser, add_overrides, plain_parser, run_job


def arguments() -> Parser:
    demo = plain_parser("demo", __doc__, "massmap demo", "massmap demo train.epochs=4")
    add_overrides(demo)
    return demo


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from pathlib import Path

    from hpc_massmap.jobs import run
    from hpc_massmap.progress import say
    from hpc_massmap.shipped import HERE, copy
    from hpc_massmap.storage import write_text

    config, halos = Path("configs/demo.yaml"), "examples/gadget4_L50"
    if not config.exists():
        copy([str(config)], Path(), force=False)
        write_text(config, config.read_text(encoding="utf-8").replace(halos, str(HERE / halos)))
        say(f"wrote {config}")
    run.main([str(config), *args.overrides])


if __name__ == "__main__":
    run_job(main)
