"""What is written is what is read, and no damaged file is taken for a good one."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.units import from_file
from tests.synthetic import NAMES, cluster_maps


def test_roundtrip_through_the_memory_map(map_path: Path) -> None:
    maps = open_maps(map_path, NAMES, check_values=True)
    assert len(maps) == 120
    assert isinstance(maps.maps["mass"], np.memmap)
    with h5py.File(map_path) as file:
        for name in NAMES:
            np.testing.assert_array_equal(maps.maps[name], file[f"maps/{name}"][:])
            assert maps.units[name] == from_file(file[f"maps/{name}"].attrs["unit"])
    rng = np.random.default_rng(1)
    m200 = 10 ** rng.uniform(13.5, 15.3, 60)
    first = cluster_maps(m200[0], maps.halos["r200"][0], 2, rng)
    np.testing.assert_allclose(maps.maps["sz"][:2], first["sz"], rtol=1e-6)
    assert (maps.halo[2], maps.projection[3], maps.halos["region"][59]) == (1, 1, "region_0029")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100_000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("not HDF5 at all")


def edit(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def put(name: str, index: tuple[int, ...], value: float) -> Callable[[Path], None]:
    return edit(lambda file: file[name].__setitem__(index, value))


def compress(file: h5py.File) -> None:
    data = file["maps/sz"][:]
    unit = file["maps/sz"].attrs["unit"]
    del file["maps/sz"]
    file.create_dataset("maps/sz", data=data, compression="gzip").attrs["unit"] = unit


def replace(name: str, values: object) -> Callable[[Path], None]:
    def apply(file: h5py.File) -> None:
        del file[name]
        if values is None:
            file.create_group(name)
        else:
            file[name] = values

    return edit(apply)


def link_elsewhere(path: Path) -> None:
    """Maps that are in another file, at another place than they would be in this one."""
    other = path.with_name("other.h5")
    with h5py.File(path, "r+") as file, h5py.File(other, "w") as target:
        target["before"] = np.zeros(1000)
        file.copy("maps/sz", target, "sz")
        del file["maps/sz"]
        file["maps/sz"] = h5py.ExternalLink(str(other), "/sz")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "no such map file; make it with massmap make_maps"),
        (truncate, "not a readable map file"),
        (empty, "not a readable map file"),
        (text, "not a readable map file"),
        (put("maps/mass", (7, 3, 4), np.nan), r"/maps/mass\[7, 3, 4\] = nan is not finite"),
        (put("maps/mass", (7, 3, 4), np.inf), r"/maps/mass\[7, 3, 4\] = inf is not finite"),
        (put("maps/xray", (119, 79, 79), -1.0), r"/maps/xray\[119, 79, 79\] = -1.0 is negative"),
        (put("maps/sz", (3, 2, 3), 0.5), "the maps of halo 1 do not match their digest"),
        (put("halo/redshift", (1,), 0.5), "does not match its digest"),
        (put("halo/r200", (1,), 0.0), "/halo/r200 has a value that is not positive"),
        (put("index/halo", (1,), 60), "/index is not that of 60 halos along 2 lines of sight each"),
        (put("index/projection", (1,), 2), "/index is not that of 60 halos"),
        (edit(lambda file: file.attrs.__setitem__("schema", 9)), "schema 9, but this version reads schema 1"),
        (edit(lambda file: file.__delitem__("maps/star")), "holds no 'star' maps, only mass, sz, xray"),
        (edit(lambda file: file.__delitem__("halo/m200")), "not a readable map file"),
        (edit(compress), "/maps/sz is not contiguous and uncompressed"),
        (link_elsewhere, "/sz is not contiguous and uncompressed"),
        (replace("halo/m200", np.ones((60, 2))), r"/halo/m200 is float64 \(60, 2\), not a column of numbers"),
        (replace("halo/m200", np.ones(60, complex)), r"/halo/m200 is complex128 \(60,\), not a column of numbers"),
        (replace("halo/redshift", ["a"] * 60), r"/halo/redshift is object \(60,\), not a column of numbers"),
        (replace("halo/snapshot", np.ones(60)), "/halo/snapshot is float64 .* not a column of numbers like int64"),
        (replace("halo/region", np.ones(60)), "/halo/region is float64 .* not a column of texts"),
        (replace("digests", np.ones(60)), "/digests is float64 .* not a column of texts"),
        (replace("lines_of_sight", np.ones((2, 3))), r"/lines_of_sight is float64 \(2, 3\), not rotations"),
        (replace("maps/sz", None), "not a readable map file"),
        (replace("skipped", None), "not a readable map file"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(map_path: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(map_path)
    with pytest.raises(InputError, match=message) as error:
        open_maps(map_path, NAMES, check_values=True)
    assert "\n" not in str(error.value)
    assert str(map_path) in str(error.value)


def test_chunked_pixels_are_refused_before_they_are_read(map_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(compress)(map_path)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("the file was read"))
    with pytest.raises(InputError, match="/maps/sz is not contiguous and uncompressed"):
        open_maps(map_path)
