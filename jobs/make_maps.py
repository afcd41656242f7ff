#!/usr/bin/env python3
"""Make the maps of a sample of halos from simulation snapshots and halo catalogues."""

from hpc_massmap.cli import config_of, parse, parser, run_job


def main(argv: list[str] | None = None) -> None:
    args = parse(parser(__doc__, "python jobs/make_maps.py configs/demo.yaml maps.lines_of_sight=5"), argv)
    config = config_of(args)

    from hpc_massmap.dataset.build import make_maps
    from hpc_massmap.dataset.mapfile import describe, open_maps
    from hpc_massmap.progress import progress, say
    from hpc_massmap.run import Run
    from hpc_massmap.sims.selection import find_sources, select_halos, sources_digest

    run = Run.open(config)
    sources = find_sources(config.simulations)
    inputs = {"snapshots and catalogues": sources_digest(sources)}
    step = run.step("make_maps", config.part("simulations", "selection", "maps"), inputs, [run.maps])
    if step.is_finished(args.force):
        return
    halos = select_halos(sources, config.selection)
    with progress(f"drawing {config.maps.lines_of_sight} views of each halo", len(halos), "halos") as bar:
        make_maps(run.maps, halos, config.maps, on_halo=bar.advance)
    say(describe(open_maps(run.maps, check_values=True)))
    step.finish()


if __name__ == "__main__":
    run_job(main)
