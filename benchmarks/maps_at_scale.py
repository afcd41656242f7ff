#!/usr/bin/env python3
"""Map making end to end on mock halos of The300's resolution, and what it makes of the whole of The300.

`jobs/mock.py` writes halos of two codes, then `jobs/make_maps.py` runs under mpirun as a user would run it, from
reading catalogues to one contiguous map file. Extrapolated by rank-seconds a halo to 5,041 halos on 64 cores; claim:
under one hour. The extrapolation supposes that the file system feeds 64 readers as it feeds these few, which a shared
one need not: the bytes that are read are printed for that reason.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hpc_massmap.dataset.mapfile import describe, open_maps

HALOS, CORES = 5041, 64  # section 2.1; a small allocation
ROOT = Path(__file__).parents[1]
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--halos", type=int, default=100, help="of both codes together (default 100)")
    parser.add_argument("--particles", type=int, default=500_000, help="of each halo (default 500,000)")
    parser.add_argument("--ranks", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maps_at_scale") as name:
        folder = Path(name)
        config = [str(ROOT / "configs/mock.yaml"), f"runs={folder}/runs", f"maps.file={folder}/maps.h5"]
        config += [f"mock.halos={args.halos // 2}", f"mock.particles={args.particles}", "maps.lines_of_sight=29"]
        simulations = [
            {"name": "GADGET-X", "snapshot": "snapdir_{snapshot:03d}/snap_{snapshot:03d}.0"},
            {"name": "GIZMO-SIMBA", "snapshot": "snap_{snapshot:03d}.hdf5"},
        ]
        where = [{**sim, "folder": f"{folder}/{sim['name']}", "snapshots": [128]} for sim in simulations]
        config.append(f"simulations={json.dumps(where)}")
        mpirun = [
            str(Path(sys.executable).with_name("mpirun")),
            "--oversubscribe",
            "-n",
            str(args.ranks),
            sys.executable,
        ]
        run([*mpirun, str(ROOT / "jobs/mock.py"), *config])
        # once, so that compiling is not measured: a cluster compiles once for all its halos
        few = [*config, f"runs={folder}/warm", f"maps.file={folder}/warm.h5", "maps.lines_of_sight=1"]
        run([*mpirun, str(ROOT / "jobs/make_maps.py"), *few])
        read = sum(
            file.stat().st_size for sim in where for file in Path(str(sim["folder"])).rglob("*") if file.is_file()
        )
        seconds = run([*mpirun, str(ROOT / "jobs/make_maps.py"), *config, "--consolidate"])
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        maps = open_maps(folder / "maps.h5", check_values=True)
        print(describe(maps))
        drawn, written = len(maps.digests), (folder / "maps.h5").stat().st_size
    each = seconds * args.ranks / drawn
    print(f"{drawn} halos of {args.particles} particles, {len(maps)} x 4 maps on {args.ranks} ranks: {seconds:.0f} s")
    print(f"memory of the largest rank {memory:.2f} GiB; read {read / 2**30:.1f} GiB, wrote {written / 2**30:.2f} GiB")
    print(f"{seconds:.0f} s x {args.ranks} ranks / {drawn} halos = {each:.2f} rank-seconds a halo")
    whole = each * HALOS / CORES
    print(f"{each:.2f} s x {HALOS} halos / {CORES} cores = {whole / 60:.1f} minutes for the paper's sample")
    rate = read / drawn * HALOS / whole / 2**30
    print(f"at which {CORES} cores together read {rate:.2f} GiB/s")


def run(command: list[str]) -> float:
    """Run a job to its end; seconds."""
    start = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, **AS_ROOT})
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
