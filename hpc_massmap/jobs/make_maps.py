#!/usr/bin/env python3
"""Make the maps of a sample of halos from simulation snapshots and halo catalogues; go on where it was stopped."""

from typing import TYPE_CHECKING

from hpc_massmap.cli import Parser, config_of, forced, parse, parser, run_job

if TYPE_CHECKING:
    from hpc_massmap.config import Config
    from hpc_massmap.sims.selection import Source

EXAMPLE = "mpirun -n 8 massmap make_maps configs/multi3.yaml --consolidate"


def arguments() -> Parser:
    step = parser("make_maps", __doc__, EXAMPLE)
    what = "make the map file one contiguous file, and remove its parts"
    step.add_argument("--consolidate", action="store_true", help=what)
    return step


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)
    force = forced(args)

    import shutil

    from hpc_massmap.dataset.build import make_maps, read_candidates
    from hpc_massmap.dataset.mapfile import describe, open_maps
    from hpc_massmap.dataset.parts import parts_folder
    from hpc_massmap.dataset.writing import consolidate
    from hpc_massmap.mpi import communicator, on_first
    from hpc_massmap.progress import progress, say
    from hpc_massmap.run import Run
    from hpc_massmap.sims.sample import describe_sample, draw_sample
    from hpc_massmap.sims.selection import find_sources
    from hpc_massmap.sims.subvolumes import in_subvolumes

    with communicator() as comm:
        run = on_first(comm, lambda: Run.of(config_of(args)))
        config, parts = run.config, parts_folder(run.maps)
        sources = on_first(comm, lambda: find_sources(config.simulations))
        inputs = on_first(comm, lambda: inputs_of(config, sources))
        outputs = [run.maps, parts] if force else [run.maps]
        step = run.step("make_maps", config.part("simulations", "selection", "maps"), inputs, outputs)
        finished = on_first(comm, lambda: step.is_finished(force))
        if not finished:
            on_first(comm, run.keep_config)
            found, unread = read_candidates(sources, config.selection, config.maps, comm)
            drawn = draw_sample(found, config.selection, config.simulations)
            halos = on_first(comm, lambda: in_subvolumes(drawn, found, config.simulations))
            if comm.rank == 0:
                say(describe_sample(halos, found, config.selection, config.simulations))
            title = f"drawing {config.maps.lines_of_sight} views of each halo on {comm.size} ranks"
            with progress(title, len(halos), "halos", show=comm.rank == 0) as bar:
                make_maps(run.maps, halos, unread, config.maps, comm, on_halos=bar.advance)
            if comm.rank == 0:
                step.finish(describe(open_maps(run.maps)))
        if comm.rank == 0:
            if args.consolidate and parts.exists():
                consolidate(run.maps)
                shutil.rmtree(parts)
            if finished:
                say(describe(open_maps(run.maps)))


def inputs_of(config: "Config", sources: "list[Source]") -> dict[str, str]:
    """What the maps are made of, by its digest."""
    from hpc_massmap.maps.cooling import read_cooling_tables
    from hpc_massmap.sims.selection import sources_digest

    inputs = {"snapshots and catalogues": sources_digest(sources)}
    tables = read_cooling_tables(config.maps)
    return inputs | {f"cooling table of {name}": table.digest for name, table in tables.items()}


if __name__ == "__main__":
    run_job(main)
