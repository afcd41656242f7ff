"""A good file passes the check; each planted fault is told, alone and by name."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Maps, Selection, Simulation
from hpc_massmap.dataset.build import halo_table
from hpc_massmap.dataset.check import check_maps, summary
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.writing import write_map_file
from hpc_massmap.errors import InputError
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.sims.selection import find_sources
from hpc_massmap.sims.snapshot import read_snapshot
from tests.sims.files import all_candidates
from tests.synthetic import NAMES, cluster_maps

Table = dict[str, Any]
Stacks = list[dict[str, FloatArray]]
Plant = Callable[[Table, Stacks], None]
VIEWS = 2


def write(path: Path, plant: Plant | None = None, **attributes: Any) -> Path:
    """Six halos of two simulations whose totals fit, but for what `plant` changes before they are written."""
    rng = np.random.default_rng(3)
    m200 = 10 ** np.array([13.6, 14.1, 14.9, 13.6, 14.1, 14.9])
    r200 = 1000 * (m200 / 2e14) ** (1 / 3)
    table: Table = {
        "simulation": ["one"] * 3 + ["two"] * 3,
        "region": ["a", "b", "c"] * 2,
        "snapshot": [128] * 6,
        "redshift": np.array([0.0, 0.022, 0.0] * 2),
        "halo_id": np.arange(6),
        "m200": m200,
        "r200": r200,
        "r500": 0.65 * r200,
        "f_gas": np.full(6, 0.12),
        "f_star": np.full(6, 0.01),
    }
    stacks = [cluster_maps(m, r, VIEWS, rng) for m, r in zip(m200, r200, strict=True)]
    if plant:
        plant(table, stacks)
    views = np.broadcast_to(np.eye(3), (VIEWS, 3, 3))
    write_map_file(path, NAMES, table, views, stacks, {"h": 0.6777, "omega_m": 0.307, **attributes})
    return path


def faults(path: Path) -> list[str]:
    return check_maps(open_maps(path)).faults


def pixel(name: str, value: float) -> Plant:
    return lambda table, stacks: stacks[2][name][1].__setitem__((3, 4), value)


def scaled(name: str, factor: float, halos: slice = slice(1, 2)) -> Plant:
    def plant(table: Table, stacks: Stacks) -> None:
        for stack in stacks[halos]:
            stack[name] *= factor

    return plant


def entry(column: str, value: float) -> Plant:
    return lambda table, stacks: table[column].__setitem__(4, value)


def more_stars_than_mass(table: Table, stacks: Stacks) -> None:
    stacks[4]["star"][1] = 1.1 * stacks[4]["mass"][1]


def the_same_halo_twice(table: Table, stacks: Stacks) -> None:
    table["region"][1], table["halo_id"][1] = table["region"][0], table["halo_id"][0]


def test_a_good_file_passes_and_its_masses_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    maps = open_maps(write(tmp_path / "maps.h5"))
    checked = check_maps(maps)
    assert checked.faults == []
    row, mass = 5, 0.0
    halo = maps.halo[row]
    for i, j in np.ndindex(80, 80):
        if np.hypot(i - 39.5, j - 39.5) <= 40:
            mass += float(maps.maps["mass"][row][i, j]) * (maps.halos["r200"][halo] / 40) ** 2
    assert checked.mass_ratio[row] == pytest.approx(mass / maps.halos["m200"][halo], rel=1e-6)


def test_maps_of_a_real_halo_pass(tmp_path: Path) -> None:
    examples = Simulation(name="gadget4", folder=Path("examples/gadget4_L50"), region="region_0001", snapshots=[106])
    halos = all_candidates(find_sources([examples]), Selection(m200_min=1e13))
    views, config = rotations(29)[:2], Maps(adaptive_smoothing=32)
    stacks = [halo_maps(read_snapshot(halo.source.snapshot_file), halo, config, views) for halo in halos]
    write_map_file(tmp_path / "maps.h5", NAMES, halo_table(halos), views, stacks, {"adaptive_smoothing": 32})
    checked = check_maps(open_maps(tmp_path / "maps.h5"))
    assert checked.faults == []
    assert np.all((checked.mass_ratio > 1) & (checked.mass_ratio < 1.3))


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        (pixel("sz", np.nan), "sz of halo 2 (one, c, snapshot 128, id 2), projection 1: 1 pixels are not finite"),
        (pixel("mass", np.inf), "mass of halo 2 (one, c, snapshot 128, id 2), projection 1: 1 pixels are not finite"),
        (pixel("star", -1.0), "star of halo 2 (one, c, snapshot 128, id 2), projection 1: 1 pixels are negative"),
        (scaled("mass", 0.8), "halo 1 (one, b, snapshot 128, id 1), projection 0: the mass inside R200 is 0.918 M200"),
        (scaled("mass", 1 / 0.6777, slice(3, 6)), "two: the median mass inside R200 is 1.69 M200"),
        (scaled("star", 0.1), "halo 1 (one, b, snapshot 128, id 1), projection "),
        (more_stars_than_mass, "halo 4 (two, b, snapshot 128, id 4), projection 1: its stars are more than"),
        (entry("r500", 1e5), "halo 4 (two, b, snapshot 128, id 4): R500 is not less than R200"),
        (entry("redshift", np.nan), "halo 4 (two, b, snapshot 128, id 4): the redshift is negative or NaN"),
        (entry("f_gas", -0.1), "halo 4 (two, b, snapshot 128, id 4): f_gas or f_star is negative"),
        (entry("f_gas", 0.5), "halo 4 (two, b, snapshot 128, id 4): f_gas + f_star is more than 0.3"),
        (the_same_halo_twice, "halo 1 (one, a, snapshot 128, id 0): is the same as halo 0"),
    ],
)
def test_each_fault_is_told_by_name(tmp_path: Path, plant: Plant, fault: str) -> None:
    (found,) = faults(write(tmp_path / "maps.h5", plant))
    assert found.startswith(fault)
    assert "\n" not in found


def test_every_empty_view_is_told(tmp_path: Path) -> None:
    found = faults(write(tmp_path / "maps.h5", scaled("xray", 0.0)))
    assert [line.split(", ")[-1] for line in found] == [
        "projection 0: is 0 everywhere",
        "projection 1: is 0 everywhere",
    ]


def test_stars_with_wide_kernels_may_lie_beyond_r200(tmp_path: Path) -> None:
    fewer = scaled("star", 0.5, slice(0, 6))
    assert len(faults(write(tmp_path / "narrow.h5", fewer))) > 0
    assert faults(write(tmp_path / "wide.h5", fewer, adaptive_smoothing=32)) == []


def test_an_unknown_fraction_is_no_fault(tmp_path: Path) -> None:
    def unknown(table: Table, stacks: Stacks) -> None:
        table["f_gas"][:] = np.nan

    assert faults(write(tmp_path / "maps.h5", unknown)) == []


def test_a_wrong_digest_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "maps.h5")
    with h5py.File(path, "r+") as file:
        file["maps/sz"][3, 10, 10] *= 1.01
    (found,) = faults(path)
    assert "digest" in found


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "maps.h5")
    os.truncate(path, path.stat().st_size - 100_000)
    with pytest.raises(InputError, match="not a readable map file"):
        open_maps(path)


def test_the_summary_names_the_extreme_halos(tmp_path: Path) -> None:
    checked = check_maps(open_maps(write(tmp_path / "maps.h5", scaled("mass", 1.2, slice(4, 5)))))
    header, one, two = summary(checked).splitlines()
    assert " ".join(header.split()) == "simulation halos maps log10 M200 redshifts median mass lowest highest"
    assert one.split()[:6] == ["one", "3", "6", "13.60–14.90", "0", "0.022"]
    assert "(halo 4." in two.rsplit("  ", 1)[1]
    median = float(np.median(checked.mass_ratio[6:]))
    assert f"  {median:.3f}  " in two


def test_the_job_ends_with_an_error_after_a_line_for_each_fault(tmp_path: Path) -> None:
    def job(path: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "jobs/maps.py", "check", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = job(write(tmp_path / "good.h5"))
    assert (good.returncode, good.stderr) == (0, "")
    assert "log10 M200" in good.stdout
    bad = job(write(tmp_path / "bad.h5", scaled("xray", 0.0)))
    assert bad.returncode == 2
    assert bad.stdout.count("\nfault: ") == 2
    assert bad.stderr == f"error: {tmp_path}/bad.h5: 2 faults, one a line above\n"
