"""The split leaks nothing, is stable and has the asked shares."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from hpc_massmap.config import Split
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps, unit_hash
from hpc_massmap.errors import InputError
from tests.synthetic import write_synthetic_maps


def test_every_map_is_in_one_part_and_every_region_too(map_path: Path) -> None:
    maps = open_maps(map_path)
    rows = split_maps(maps, Split())
    parts = (rows.train, rows.validation, rows.test)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(maps)))
    regions = [set(maps.halos["region"][maps.halo[part]]) for part in parts]
    assert not regions[0] & regions[1]
    assert not regions[0] & regions[2]
    assert not regions[1] & regions[2]


def test_policy_map_splits_projections_of_one_halo(map_path: Path) -> None:
    maps = open_maps(map_path)
    rows = split_maps(maps, Split(policy="map"))
    assert set(maps.halo[rows.train]) & set(maps.halo[rows.test])
    assert abs(len(rows.train) / len(maps) - 0.8) < 0.1


def test_a_halo_stays_on_its_side_when_others_are_added(tmp_path: Path, map_path: Path) -> None:
    write_synthetic_maps(tmp_path / "more.h5", regions=40, snapshots=2, projections=2)
    few, many = open_maps(map_path), open_maps(tmp_path / "more.h5")
    test_before = set(few.halos["region"][few.halo[split_maps(few, Split()).test]])
    test_after = set(many.halos["region"][many.halo[split_maps(many, Split()).test]])
    assert test_before == {region for region in test_after if region < "region_0030"}


def test_some_halos_train_and_all_are_tested(tmp_path: Path) -> None:
    """As the retrained models of appendix A."""
    write_synthetic_maps(tmp_path / "maps.h5", regions=40, snapshots=2, projections=2)
    maps = open_maps(tmp_path / "maps.h5")
    low, high = np.percentile(np.log10(maps.halos["m200"]), [0, 50])
    every, some = split_maps(maps, Split()), split_maps(maps, Split(log_m200=(low, high), only=["synthetic"]))
    np.testing.assert_array_equal(some.test, every.test)
    for part, whole in ((some.train, every.train), (some.validation, every.validation)):
        log_m200 = np.log10(maps.halos["m200"][maps.halo])
        np.testing.assert_array_equal(part, [row for row in whole if low <= log_m200[row] < high])
    with pytest.raises(
        InputError, match=r"split\.log_m200 and split\.only leave no train set; widen them, .* massmap maps show$"
    ):
        split_maps(maps, Split(only=["another"]))


def test_the_split_follows_its_seed(map_path: Path) -> None:
    maps = open_maps(map_path)
    one, same, other = (split_maps(maps, Split(seed=seed)).test.tolist() for seed in (0, 0, 1))
    assert one == same != other


def test_hashes_are_uniform_and_follow_the_seed() -> None:
    values = np.array([unit_hash(0, f"region_{n}") for n in range(20_000)])
    counts = np.histogram(values, 10, (0, 1))[0]
    assert np.abs(counts - 2000).max() < 200
    assert unit_hash(0, "a") != unit_hash(1, "a")


def test_each_map_is_where_a_hash_by_hand_puts_it(map_path: Path) -> None:
    """One map at a time; the name of a map must never change, or a test map of an old run trains the next one."""
    maps = open_maps(map_path)
    for policy in ("halo", "map"):
        split = Split.model_validate({"policy": policy, "train": 0.5, "validation": 0.2, "seed": 3})
        expected: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
        for row, halo in enumerate(maps.halo):
            of = {name: column[halo] for name, column in maps.halos.items()}
            name = of["region"]
            if policy == "map":
                name += f"/{of['simulation']}/{of['snapshot']}/{of['halo_id']}/{maps.projection[row]}"
            position = int(hashlib.sha256(f"3:{name}".encode()).hexdigest()[:16], 16) / 2**64
            expected["train" if position < 0.5 else "validation" if position < 0.7 else "test"].append(row)
        rows = split_maps(maps, split)
        assert {"train": rows.train.tolist(), "validation": rows.validation.tolist(), "test": rows.test.tolist()} == (
            expected
        )


def test_too_few_halos_for_the_split(tmp_path: Path) -> None:
    write_synthetic_maps(tmp_path / "few.h5", regions=2, projections=1)
    with pytest.raises(
        InputError,
        match=r"few\.h5: its 2 regions leave no (train|validation|test) set with split\.seed = 0; "
        r"add halos or change split\.seed$",
    ):
        split_maps(open_maps(tmp_path / "few.h5"), Split())
    with pytest.raises(InputError, match=r"few\.h5: its 4 maps leave no (train|validation|test) set with"):
        split_maps(open_maps(tmp_path / "few.h5"), Split(policy="map"))
