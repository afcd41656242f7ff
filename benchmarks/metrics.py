#!/usr/bin/env python3
"""Evaluation of a test set: each metric against its plain definition, and all together on one and on two MPI ranks.

The maps are made up, cusps with lognormal lumps, as many as --maps. Plain: numpy as one would write the equations
down; for the MMD, sums over all 6400^2 pairs. `Pk_plane` is Pylians', if it is installed. The plain percentiles hold
every pixel in memory; ours look at them twice instead, to be exact for any number of maps, and are no faster.
Claims: the MMD is at least 200 times faster than its direct sums and agrees to 1e-8; the paper's 14,619 test maps of
five models take less than ten minutes on two ranks, which do at least 90 % as much a rank as one alone, in less than
1 GiB each.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np

from hpc_massmap.apertures import RADII, enclosed_mass
from hpc_massmap.arrays import PIXELS, FloatArray
from hpc_massmap.config import load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.writing import write_map_file
from hpc_massmap.metrics.driver import evaluate
from hpc_massmap.metrics.mmd import median_distance, mmd_squared
from hpc_massmap.metrics.pixels import FirstPass, SecondPass, differences_by_aperture, statistics
from hpc_massmap.metrics.power import power_spectrum
from hpc_massmap.metrics.predictions import read_predictions
from hpc_massmap.metrics.results import read_metrics, write_metrics
from hpc_massmap.metrics.summary import headline
from hpc_massmap.mpi import communicator
from hpc_massmap.run import Run
from tests.metrics.made_up import CONFIG, cluster, prediction, write_predictions

ROOT = Path(__file__).parents[1]
PROJECTIONS = 29
TEST_MAPS, MODELS = 14_619, 5  # a tenth of section 2.2's; star, SZ, X-ray, multi-1, multi-3
SCALES = [0.25, 0.5, 1.0, 2.0, 4.0]
POSITION = (np.arange(PIXELS) - (PIXELS - 1) / 2) / (PIXELS / 2)
RADIUS = np.hypot(POSITION[:, None], POSITION[None, :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=int, default=50 * PROJECTIONS, help="of the evaluation (default 1,450)")
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rank:
        one_rank(args.rank)
    else:
        each_metric()
        together(args.maps)


def together(maps: int) -> None:
    """All metrics of about so many maps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n = write_test_set(folder, max(1, round(maps / PROJECTIONS)))
        one, two = (all_metrics(folder, ranks) for ranks in (1, 2))
        print(f"all metrics of {n:,} maps: {one['seconds']:.1f} s on one rank, {two['seconds']:.1f} s on two")
        print(f"of a processor, should it be shared: {one['processor']:.1f} s, and {two['processor']:.1f} s each")
        minutes = two["seconds"] / n * TEST_MAPS * MODELS / 60
        print(f"so {TEST_MAPS:,} maps of {MODELS} models take {minutes:.1f} minutes on two ranks (claim: less than 10)")
        print(f"efficiency of two ranks: {one['seconds'] / two['seconds'] / 2:.0%} (claim: at least 90 %)")
        print(f"peak memory of a rank: {two['megabytes']:.0f} MB, pages of the map file included (claim: 1024)")
        started = time.perf_counter()
        headline(read_metrics(folder / "runs" / "made_up" / "metrics.h5"))
        print(f"the headline with its bootstrap errors, from metrics.h5: {time.perf_counter() - started:.1f} s")


def each_metric() -> None:
    """Rates of every metric on a few maps, beside the plain ones."""
    rng, n = np.random.default_rng(1), 256
    true = np.stack([cluster(rng) for _ in range(n)]).astype(np.float64)
    predicted = np.stack([prediction(one, rng) for one in true]).astype(np.float64)
    r200, r500 = np.full(n, 1300.0), np.full(n, 850.0)
    compare("pixels", n, lambda: pixels(predicted, true, r200, r500), lambda: plain_pixels(predicted, true, 850 / 1300))
    compare("profiles", n, lambda: enclosed_mass(true, r200), lambda: plain_profiles(true, 1300.0))
    compare("power spectra", n, lambda: power_spectrum(true, r200), lambda: plain_power(true, 1300.0))
    try:
        pylians = import_module("Pk_library").Pk_plane
    except ImportError:
        print("power spectra against Pylians: not installed")
    else:
        single = true.astype(np.float32)
        silent = contextlib.redirect_stdout(io.StringIO())

        def by_pylians() -> None:
            with silent:
                for pixels in single:
                    pylians(pixels, 2600.0, "None", 1)

        compare("power spectra, Pylians", n, lambda: power_spectrum(true, r200), by_pylians)
    unit = median_distance(np.sort(true[0], axis=None))
    found, expected = mmd_squared(true[0], [predicted[0]], SCALES, "gaussian")[0], 0.0

    def direct() -> None:
        nonlocal expected
        expected = direct_mmd(true[0].ravel() / unit, predicted[0].ravel() / unit)

    compare("MMD", 1, lambda: mmd_squared(true[0], [predicted[0]], SCALES, "gaussian"), direct)
    print(f"the MMD differs by {abs(found / expected - 1):.1e} from the direct one (claims: 200 times as fast, 1e-8)")


def compare(name: str, n: int, ours: Callable[[], object], plain: Callable[[], object]) -> None:
    ours()
    fast, slow = min(timed(ours) for _ in range(5)), timed(plain)
    print(f"{name}: {n / fast:,.0f} maps a second, plain {n / slow:,.1f}: {slow / fast:,.1f} times as fast")


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def pixels(predicted: FloatArray, true: FloatArray, r200: FloatArray, r500: FloatArray) -> object:
    """Both passes."""
    first = FirstPass.empty()
    first.add(differences_by_aperture(predicted, true, r200, r500))
    second = SecondPass.after(first.upper)
    parts = zip(predicted[:, None], true[:, None], r200[:, None], r500[:, None], strict=True)
    counts = np.stack([second.add(differences_by_aperture(*part)) for part in parts])
    return statistics(first, second.order_statistics(second.lower), second.bins, counts)


def plain_pixels(predicted: FloatArray, true: FloatArray, r500: float) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.where(true == predicted, 0, predicted / true - 1)
    for radius in (np.inf, r500, r500 / 2):
        inside = difference[:, radius >= RADIUS]
        np.percentile(inside[np.isfinite(inside)], (16, 50, 84))
        np.histogram(inside[np.isfinite(inside)], 300, (-1, 2))


def plain_profiles(maps: FloatArray, r200: float) -> None:
    for one in maps:
        for radius in RADII:
            one[radius >= RADIUS].sum() * (r200 / 40) ** 2


def plain_power(maps: FloatArray, r200: float) -> None:
    mode = np.fft.fftfreq(PIXELS, 1 / PIXELS)
    length = np.hypot(mode[:, None], mode[None, :])
    for one in maps:
        power = np.abs(np.fft.fft2(one)) ** 2 * (2 * r200 / PIXELS**2) ** 2
        for k in range(1, 57):
            power[(length >= k) & (length < k + 1)].mean()


def direct_mmd(x: FloatArray, y: FloatArray) -> float:
    """Eq. 14, the distances of each value to all others computed once for all widths."""
    m, total = len(x), 0.0
    for u, v, norm in ((x, x, m * (m - 1)), (y, y, m * (m - 1)), (x, y, -(m**2) / 2)):
        for value in u.tolist():
            squared = (v - value) ** 2
            total += sum(np.exp(squared / (-2 * scale**2)).sum() for scale in SCALES) / norm
    return total - 2 * len(SCALES) / (m - 1)  # without the pairs of a value with itself


def write_test_set(folder: Path, n_halos: int) -> int:
    """A map file, predictions for all of it in no order and a config; the number of maps."""
    rng = np.random.default_rng(2)
    m200 = 10 ** rng.uniform(13.5, 15.38, n_halos)
    r200 = 900 * (m200 / 1e14) ** (1 / 3)
    numbers = np.arange(n_halos)
    halos = {"simulation": ["made_up"] * n_halos, "region": [f"region_{n // 4}" for n in numbers]}
    columns = {"snapshot": 1, "redshift": 0.0, "f_gas": 0.12, "f_star": 0.02}
    table = halos | {name: np.full(n_halos, value) for name, value in columns.items()}
    table |= {"halo_id": numbers, "m200": m200, "r200": r200, "r500": 0.65 * r200}
    rotations = np.broadcast_to(np.eye(3), (PROJECTIONS, 3, 3))

    def stacks() -> Iterator[dict[str, FloatArray]]:
        for _ in numbers:
            yield {"mass": np.stack([cluster(rng) for _ in range(PROJECTIONS)])}

    write_map_file(folder / "maps.h5", ["mass"], table, rotations, stacks(), {"h": 0.7})
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder), encoding="utf-8")
    maps, path = open_maps(folder / "maps.h5"), folder / "runs" / "made_up" / "predictions.h5"
    rows = rng.permutation(len(maps))
    write_predictions(path, maps, rows[:0], {"mass": np.zeros((0, PIXELS, PIXELS))})
    with h5py.File(path, "r+") as file:
        del file["predictions/mass"], file["index/row"]
        file["index/row"] = rows
        stack = file.create_dataset("predictions/mass", (len(rows), PIXELS, PIXELS), np.float32)
        for n, row in enumerate(rows):
            stack[n] = prediction(maps.maps["mass"][row], rng)
    return len(rows)


def all_metrics(folder: Path, ranks: int) -> dict[str, float]:
    """The seconds of an evaluation on some ranks, those of their processors and the megabytes of the largest."""
    mpirun = str(Path(sys.executable).with_name("mpirun"))
    command = [mpirun, "-n", str(ranks), "--oversubscribe", "--bind-to", "none"]
    command += [sys.executable, "-m", "benchmarks.metrics", "--rank", str(folder)]
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=os.environ | as_root)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def one_rank(folder: Path) -> None:
    """What each rank of `all_metrics` runs; the first prints."""
    config = load_config(folder / "config.yaml")
    run = Run(config, folder / "runs" / "made_up")
    with communicator() as comm:
        predictions = read_predictions(run.predictions, open_maps(folder / "maps.h5"))
        few = replace(predictions, rows=predictions.rows[: 2 * comm.size])
        evaluate(few, config.evaluate, comm, on_map=lambda: None)  # loads what numba compiled
        comm.Barrier()
        started, used = time.perf_counter(), time.process_time()
        metrics = evaluate(predictions, config.evaluate, comm, on_map=lambda: None)
        if metrics is not None:
            write_metrics(run.metrics, metrics)
        found = {"seconds": time.perf_counter() - started}
        found["processor"] = comm.allreduce(time.process_time() - used) / comm.size
        found["megabytes"] = max(comm.allgather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)) / 1024
        if comm.rank == 0:
            print(json.dumps(found))


if __name__ == "__main__":
    main()
