#!/usr/bin/env python3
"""Keep the trials database of a run open, to look into it with MongoDB's own tools. Ctrl-C closes it."""

import signal
from contextlib import ExitStack

from hpc_massmap.cli import Parser, plain_parser, run_job, with_run


def arguments() -> Parser:
    return with_run(plain_parser("database", __doc__, "massmap database runs/multi3"))


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)

    from hpc_massmap.progress import say
    from hpc_massmap.tune.database.connect import connect, ensure, stop
    from hpc_massmap.tune.monitor.reading import run_in
    from hpc_massmap.tune.watchdog import holders, start_watchdog

    run = run_in(args.run)
    settings = run.config.database
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup does
        signal.signal(signal.SIGHUP, signal.default_int_handler)  # its terminal is gone: as Ctrl-C
    started = ensure(settings, run.database)
    try:
        with ExitStack() as held:
            if started:
                held.enter_context(holders(run).hold(f"{run.database}: massmap database", 0))
                start_watchdog(run)  # it ends what we cannot any more, if we are killed
            opened = connect(settings, run.database)
            host, port = opened.client.address or ("?", "?")
            trials = opened["jobs"].estimated_document_count()
            say(f"{opened.name} at {host}:{port}: {trials} trials; docs/tuning.md says how to look into it")
            others = "it serves a launcher or workers, which close it; Ctrl-C only leaves"
            say("Ctrl-C closes it" if started else others)
            signal.pause()
    except KeyboardInterrupt:
        return
    finally:
        if started:
            stop(run.database)


if __name__ == "__main__":
    run_job(main)
