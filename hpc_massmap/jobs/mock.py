#!/usr/bin/env python3
"""Write a mock universe: snapshots and halo catalogues in The300's formats, for benchmarks, not for science."""

from hpc_massmap.cli import Parser, config_of, parse, parser, run_job

EXAMPLE = "mpirun -n 2 massmap mock configs/mock.yaml mock.halos=100 mock.particles=500000"


def arguments() -> Parser:
    return parser("mock", __doc__, EXAMPLE)


def main(argv: list[str] | None = None) -> None:
    args = parse(arguments(), argv)

    from hpc_massmap.mpi import communicator, on_first
    from hpc_massmap.progress import progress
    from hpc_massmap.run import Run
    from hpc_massmap.sims.mock import draw_region
    from hpc_massmap.sims.mock_files import claim_folders, codes_of, mock_of, write_region
    from hpc_massmap.sims.mock_halo import draw_halo, region_name

    with communicator() as comm:
        run = on_first(comm, lambda: Run.of(config_of(args)))
        config = run.config
        mock, codes = on_first(comm, lambda: (mock_of(config), codes_of(config.simulations)))
        folders = [simulation.folder for simulation in config.simulations]
        on_first(comm, lambda: claim_folders(folders))
        last_regions = [folder / region_name(mock.halos) for folder in folders]
        step = run.step("mock", config.part("mock", "simulations"), {}, last_regions)
        if on_first(comm, lambda: step.is_finished(args.force)):
            return
        on_first(comm, run.keep_config)
        own = range(1 + comm.rank, mock.halos + 1, comm.size)
        with progress(f"writing mock halos, one of {comm.size} ranks", len(own), "halos", show=comm.rank == 0) as bar:
            for number in own:
                halo = draw_halo(mock.seed, number)
                for simulation, code in zip(config.simulations, codes, strict=True):
                    for snapshot in simulation.snapshots:
                        write_region(simulation, draw_region(halo, code, snapshot, mock.particles), mock.files)
                bar.advance()
        comm.Barrier()
        if comm.rank == 0:
            step.finish()


if __name__ == "__main__":
    run_job(main)
