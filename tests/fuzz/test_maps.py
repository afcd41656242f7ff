"""A map file with a byte changed or an end cut off: one line, or the very content that was written."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.dataset.mapfile import MapFile, open_maps
from hpc_massmap.errors import InputError
from tests.synthetic import write_synthetic_maps

FLIPS, CUTS = 700, 60


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    write_synthetic_maps(path, regions=2, snapshots=1, projections=1)
    return path


def content(opened: MapFile) -> dict[str, object]:
    """All that anybody reads of it."""
    arrays = {**opened.maps, **opened.halos, "halo": opened.halo, "projection": opened.projection}
    plain = {name: np.asarray(values[:]).tolist() for name, values in (*arrays.items(), ("turns", opened.rotations))}
    rest = {"attributes": {key: str(value) for key, value in opened.attributes.items()}, "units": opened.units}
    return {**plain, **rest, "skipped": opened.skipped}


def damaged(data: bytes, path: Path) -> Iterator[str]:
    """Damage the file in one way after the other: half of the flips in what is not pixels."""
    stream = np.random.default_rng(1)
    with h5py.File(path) as file:
        pixels = [file[f"maps/{name}"].id.get_offset() for name in file["maps"]]
        size = file["maps/mass"].id.get_storage_size()
    elsewhere = np.setdiff1d(np.arange(len(data)), np.concatenate([np.arange(at, at + size) for at in pixels]))
    places = [*stream.choice(elsewhere, FLIPS // 2), *stream.integers(len(data), size=FLIPS // 2)]
    for at in map(int, places):
        bit = int(stream.integers(8))
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
        yield f"bit {bit} of byte {at}"
    for end in stream.integers(len(data), size=CUTS):
        path.write_bytes(data[:end])
        yield f"cut at {end}"


def test_bytes_that_change(written: Path, tmp_path: Path) -> None:
    data, path = written.read_bytes(), tmp_path / "damaged.h5"
    path.write_bytes(data)
    expected = content(open_maps(path))
    told: list[tuple[str, str]] = []
    silent = []
    for what in damaged(data, path):
        try:
            found = content(open_maps(path, check_values=True))
        except InputError as error:
            told.append((what, str(error)))
        else:
            if found != expected:
                silent.append((what, [key for key in expected if found[key] != expected[key]]))
    assert not silent
    assert not [case for case in told if "\n" in case[1] or str(path) not in case[1]]
    assert len(told) > FLIPS / 2
