#!/usr/bin/env python3
"""Write the report of a run: figures, tables and one self-contained page, with the paper's numbers beside the run's.

With --with it shows other runs beside it: models with the same test maps together (figs. 5 to 9, table 4), models
retrained on some halos in a panel each (fig. A4).
"""

from pathlib import Path

from hpc_massmap.cli import Parser, parse, parser, run_job, run_of, with_elsewhere

EXAMPLE = "massmap report configs/multi3.yaml --with configs/star.yaml configs/sz.yaml configs/xray.yaml"


def arguments() -> Parser:
    step = with_elsewhere(parser("report", __doc__, EXAMPLE))
    step.add_argument(
        *("--with", "-w"),
        dest="others",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="RUN",
        help="other runs to show beside this one: their config files, or their folders in runs/",
    )
    note = "a line for the page, as what is missing and why; can be given again"
    step.add_argument("--note", dest="notes", action="append", default=[], metavar="TEXT", help=note)
    return step


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)

    from hpc_massmap.elsewhere import notes_of
    from hpc_massmap.observe.observation import described
    from hpc_massmap.progress import say
    from hpc_massmap.report.comparison import digests_of, run_at
    from hpc_massmap.report.inputs import input_digests, read_inputs
    from hpc_massmap.report.page import INDEX, closing_lines, write_report

    run, others = run_of(args), [run_at(path) for path in args.others]
    config, inputs = run.config, read_inputs(run)
    notes = [*notes_of(run), *filter(None, [described(inputs.predictions.observe)]), *args.notes]
    settings = {**config.part("data", "model", "space"), "startup": config.tune.startup, "notes": notes}
    step = run.step("report", settings, input_digests(run) | digests_of(others), [run.report / INDEX])
    if args.force:
        step.record.unlink(missing_ok=True)  # the page that is there stays until the new one replaces it
    if not step.is_finished(force=False):
        run.keep_config()
        say("drawing figures and writing tables")
        write_report(inputs, run.report, others, notes)
        step.finish()
    for line in closing_lines(inputs):
        say(line)
    say(f"report: {run.report / INDEX}")


if __name__ == "__main__":
    run_job(main)
