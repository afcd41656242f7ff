#!/usr/bin/env python3
"""Reproduce the whole paper: every model tuned, trained, predicted and judged, and one report that compares them.

With --site its stages become Slurm jobs that depend on each other, and this one ends; without, they run here one after
the other. The same command again goes on with what is left.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from hpc_massmap.cli import Parser, config_of, parse, parser, run_job, site_of, with_site

if TYPE_CHECKING:
    from hpc_massmap.pipeline.stages import Stage

EXAMPLES = (
    "massmap paper configs/paper.yaml --site configs/sites/gpu.yaml",
    "massmap paper configs/leave_one_out.yaml --between --no-tune",
)


def arguments() -> Parser:
    paper = with_site(parser("paper", __doc__, *EXAMPLES))
    paper.add_argument("--models", nargs="+", metavar="MODEL", help="some of the paper's; all by default")
    between = "each model also trained on each simulation alone, of more than two on all but each, and tested on all"
    paper.add_argument("--between", action="store_true", help=f"{between}; by default without appendix A's")
    paper.add_argument("--no-tune", action="store_true", help="take the config's hyperparameters as they are")
    asks = "ask sbatch for more, for a stage or all of a kind, as make_maps:ntasks=16 or train:account=mine"
    paper.add_argument("--ask", action="append", default=[], metavar="STAGE:OPTION", help=asks)
    paper.add_argument("--estimate", action="store_true", help="only say what it will cost, from a few steps here")
    paper.add_argument("--report", action="store_true", help="only the report of what there is")
    return paper


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)
    if args.force:
        arguments().error("--force is for the job of a single step: it would throw every model away")
    base, site = config_of(args), site_of(args)

    import sys

    from hpc_massmap.cluster.proposal import file_of, is_derived
    from hpc_massmap.cluster.slurm import require
    from hpc_massmap.errors import InputError
    from hpc_massmap.pipeline.estimate import estimate
    from hpc_massmap.pipeline.here import run_here
    from hpc_massmap.pipeline.missing import why_missing
    from hpc_massmap.pipeline.on_slurm import of_this_job, submit
    from hpc_massmap.pipeline.stages import RETRAINED, TUNED, Stage, stages, write_configs
    from hpc_massmap.progress import say
    from hpc_massmap.storage import write_text
    from hpc_massmap.yamlfile import dump_yaml

    models, tune = args.models or [*TUNED, *(() if args.between else RETRAINED)], not args.no_tune
    paths = write_configs(base, models, args.between, tune)
    if args.estimate:
        say(estimate(base, paths, site, tune))
        return
    folder = base.runs / base.name
    resolved = folder / "configs" / "all.yaml"  # with the overrides: what the stages read
    write_text(resolved, dump_yaml(base.model_dump(mode="json")))
    wanted = stages(base, paths, resolved, tune, args.between)
    options = [option for option, is_set in (("--between", args.between), ("--no-tune", args.no_tune)) if is_set]
    script = ["slurm/paper_report.sh", str(resolved), *options, "--models", *models]
    last = Stage("report", script, [], False, [stage.name for stage in wanted])
    asked = _asked(args.ask, [*wanted, last])
    if args.report:
        sys.exit(_report(paths, why_missing(wanted, folder / "logs")))
    if args.dry_run:
        for stage in [*wanted, last]:
            say(f"{stage.name}: {'done' if stage.is_done else ' '.join(stage.script)}")
        return
    if site is None:
        lost = run_here(wanted, folder / "logs", lambda name, told: say(f"{name}: {told}"))
        missing = why_missing(stages(base, paths, resolved, tune, args.between), folder / "logs")
        code = _report(paths, missing)
        if lost or code:
            raise InputError(f"{len(lost)} of {len(wanted)} stages are missing; run the same command again to go on")
        return
    require()
    if is_derived(args.site):
        asked |= {name: [*own, *asked.get(name, [])] for name, own in of_this_job(site, [*wanted, last]).items()}
    site_file = file_of(args.site, site, folder)
    for name, (job, told) in submit(wanted, last, folder, site_file, asked).items():
        say(f"{name}: {told}{f' as job {job}' if job else ''}")
    say(f"logs: {folder / 'logs'}")


def _report(paths: dict[str, Path], notes: list[str]) -> int:
    import subprocess
    import sys

    from hpc_massmap.pipeline.stages import report_job

    return subprocess.run([sys.executable, *report_job(paths, notes)]).returncode


def _asked(words: list[str], stages: "list[Stage]") -> dict[str, list[str]]:
    from hpc_massmap.errors import InputError

    known = list(dict.fromkeys(name for stage in stages for name in (Path(stage.script[0]).stem, stage.name)))
    asked: dict[str, list[str]] = {}
    for word in words:
        stage, colon, option = word.partition(":")
        if not (stage and colon and option):
            raise InputError(f"--ask {word}: must be STAGE:OPTION, as make_maps:ntasks=16")
        if stage not in known:
            raise InputError(f"--ask {word}: no such stage; there are {', '.join(known)}")
        asked.setdefault(stage, []).append(option)
    return asked


if __name__ == "__main__":
    run_job(main)
