"""What seeing maps through telescopes costs: images a second from the map file to a batch, as drawn and as seen."""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hpc_massmap.config import Observe
from hpc_massmap.dataset.batches import Batches
from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.dataset.normalisation import fit_normalisation
from hpc_massmap.observe.observation import Observation
from hpc_massmap.shipped import HERE
from hpc_massmap.yamlfile import load_yaml, validated
from tests.synthetic import write_synthetic_maps

VIEWS = ["sz", "xray"]
IMAGES = 256
INSTRUMENTS = {"sz": "spt3g", "xray": "erosita"}


def seconds(maps: MapFile, ideal: MapFile) -> float:
    """Of a map of both views in a batch, in the best of three epochs."""
    rows = np.arange(IMAGES)
    batches = Batches(maps, rows, VIEWS, ["mass"], fit_normalisation(ideal, rows, [*VIEWS, "mass"], "linear"), 32)
    found = []
    for epoch in range(3):
        start = time.perf_counter()
        for _ in batches.shuffled(0, epoch, None):
            pass
        found.append((time.perf_counter() - start) / IMAGES)
    return min(found)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    views: dict[str, Any] = {}
    for name in INSTRUMENTS.values():
        views |= load_yaml(HERE / "configs" / "instruments" / f"{name}.yaml")["observe"]["views"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.h5"
        write_synthetic_maps(path, regions=IMAGES // 4, snapshots=2, projections=2)
        ideal = open_maps(path)
        as_drawn = seconds(ideal, ideal)
        print(f"as drawn: {1e3 * as_drawn:.2f} ms an image of {', '.join(VIEWS)}")
        tried: dict[str, dict[str, Any]] = {
            "wrong cuts": {"r200_scatter": 0.1, "miscentring": 0.03},
            **{f"{view} of {INSTRUMENTS[view]}": {"redshift": 0.2, "views": {view: views[view]}} for view in VIEWS},
            "all of it": {"redshift": [0.1, 0.5], "r200_scatter": 0.1, "miscentring": 0.03, "views": views},
        }
        for what, settings in tried.items():
            seen = Observation(validated(Observe, settings, {}, what), ideal, VIEWS).file(0)
            took = seconds(seen, ideal)
            print(f"{what}: {1e3 * took:.2f} ms, {took / as_drawn:.0f} times as drawn")


if __name__ == "__main__":
    main()
