#!/usr/bin/env python3
"""Write the report of a run: figures, tables and one self-contained page, with the paper's numbers beside the run's."""

from hpc_massmap.cli import config_of, parse, parser, run_job


def main(argv: list[str] | None = None) -> None:
    args = parse(parser(__doc__, "python jobs/report.py configs/multi3.yaml"), argv)
    config = config_of(args)

    from hpc_massmap.progress import say
    from hpc_massmap.report.inputs import input_digests, read_inputs
    from hpc_massmap.report.page import INDEX, closing_lines, write_report
    from hpc_massmap.run import Run

    run = Run.open(config)
    settings = {**config.part("data", "model", "space"), "startup": config.tune.startup}
    step = run.step("report", settings, input_digests(run), [run.report / INDEX])
    inputs = read_inputs(run)
    if not step.is_finished(args.force):
        say("drawing figures and writing tables")
        write_report(inputs, run.report)
        step.finish()
    for line in closing_lines(inputs):
        say(line)
    say(f"report: {run.report / INDEX}")


if __name__ == "__main__":
    run_job(main)
