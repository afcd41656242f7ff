#!/usr/bin/env python3
"""What each `maps.accuracy` costs, and the error that is left: the halos of a config against reference.py.

Of each quantity the share of a map's total that lies in another pixel than it should, in the mean and at worst, and
the worst relative error of the sums inside R200 i/10 (eq. 9). Some halos of the sample are drawn, spread evenly over
its masses, along a few lines of sight.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from hpc_massmap.apertures import enclosed_mass
from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Config, load_config
from hpc_massmap.maps import deposit, reference
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import Layer, layers_of
from hpc_massmap.sims.selection import Halo, candidates, find_sources
from hpc_massmap.sims.snapshot import read_snapshot

Images = dict[str, FloatArray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=Path("configs/demo.yaml"))
    parser.add_argument("--halos", type=int, default=12)
    parser.add_argument("--views", type=int, default=2)
    args = parser.parse_args()
    config = load_config(args.config)
    views = rotations(29)[:: 29 // args.views][: args.views]
    errors: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for halo in chosen(config, args.halos):
        layers = layers_of(read_snapshot(halo.source.snapshot_file, metallicity=False), halo, config.maps, {})
        for view in views:
            truth = drawn(layers, view, config.maps.kernel, None)
            for accuracy in deposit.SAMPLES:
                drawn(layers, view, config.maps.kernel, accuracy)  # compiles, the first time
                start = time.process_time()
                images = drawn(layers, view, config.maps.kernel, accuracy)
                seconds[accuracy] += time.process_time() - start
                for name in truth:
                    errors[accuracy, name].append(errors_of(images[name], truth[name]))
    print(f"{args.halos} halos of {args.config}, {len(views)} lines of sight")
    for accuracy in deposit.SAMPLES:
        print(f"{accuracy}: {1e3 * seconds[accuracy] / args.halos / len(views):.1f} ms a line of sight")
        for (of, name), pairs in errors.items():
            if of == accuracy:
                moved, enclosed = np.transpose(pairs)
                print(
                    f"  {name:5} {moved.mean():.1e} in another pixel ({moved.max():.1e} at worst), "
                    f"enclosed sums {enclosed.max():.1e} at worst"
                )


def chosen(config: Config, count: int) -> list[Halo]:
    """Halos spread evenly over the masses of all."""
    sources = find_sources(config.simulations)
    by_mass = sorted((halo for s in sources for halo in candidates(s, config.selection)), key=lambda halo: halo.m200)
    return [by_mass[place] for place in np.linspace(0, len(by_mass) - 1, count).astype(int)]


def drawn(layers: list[Layer], view: FloatArray, kernel: str, accuracy: str | None) -> Images:
    """Sums in pixels of each quantity, (80, 80); by the reference without an accuracy."""
    images: Images = defaultdict(lambda: np.zeros((80, 80)))
    for layer in layers:
        particles = (layer.positions, layer.radii, np.stack(list(layer.quantities.values())), view, kernel)
        found = reference.project(*particles) if accuracy is None else deposit.project(*particles, accuracy)
        for name, image in zip(layer.quantities, found, strict=True):
            images[name] += image
    return images


def errors_of(image: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """The share of a map in another pixel, and the worst relative error of its enclosed sums; 0 for one without any."""
    inside, expected = (enclosed_mass(one[None], np.array([40.0]))[0] for one in (image, truth))
    wrong = np.divide(np.abs(inside - expected), expected, out=np.zeros_like(expected), where=expected > 0)
    return float(np.abs(image - truth).sum() / max(truth.sum(), np.finfo(float).tiny) / 2), float(wrong.max())


if __name__ == "__main__":
    main()
