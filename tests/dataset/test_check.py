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
from hpc_massmap.dataset.check import check_maps, summary, sums_inside_r200
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.writing import write_map_file
from hpc_massmap.errors import InputError
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import halo_maps
from hpc_massmap.sims.consistency import critical_density
from hpc_massmap.sims.selection import find_sources
from hpc_massmap.sims.snapshot import read_snapshot
from tests.sims.files import all_candidates
from tests.synthetic import NAMES, cluster_maps

Table = dict[str, Any]
Stacks = list[dict[str, FloatArray]]
Plant = Callable[[Table, Stacks], None]
VIEWS = 2
H, OMEGA_M = 0.6777, 0.307


def write(path: Path, plant: Plant | None = None, **attributes: Any) -> Path:
    """Six halos of two simulations whose totals fit, but for what `plant` changes before they are written."""
    rng = np.random.default_rng(3)
    m200 = 10 ** np.array([13.6, 14.1, 14.9, 13.6, 14.1, 14.9])
    redshift = np.array([0.0, 0.022, 0.0] * 2)
    r200 = (3 * m200 / (800 * np.pi * critical_density(redshift, OMEGA_M))) ** (1 / 3) / H
    table: Table = {
        "simulation": ["one"] * 3 + ["two"] * 3,
        "region": ["a", "b", "c"] * 2,
        "snapshot": [128] * 6,
        "redshift": redshift,
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
    write_map_file(path, NAMES, table, views, stacks, {"h": H, "omega_m": OMEGA_M, **attributes})
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
    said = {"h": halos[0].h, "omega_m": halos[0].omega_m, "adaptive_smoothing": 32}
    write_map_file(tmp_path / "maps.h5", NAMES, halo_table(halos), views, stacks, said)
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
        (
            entry("r500", 1e5),
            "halo 4 (two, b, snapshot 128, id 4): R500 = 83.7 R200 cannot be, at most 0.74",
        ),
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


def times(column: str, factor: float, halos: slice = slice(None)) -> Plant:
    def plant(table: Table, stacks: Stacks) -> None:
        table[column][halos] *= factor
        if column == "r200":
            table["r500"][halos] *= factor

    return plant


def another_redshift(table: Table, stacks: Stacks) -> None:
    """Halos of z = 0.5, whose comoving radii became physical with z = 0.3."""
    density = critical_density(0.5, OMEGA_M)
    table["r200"][:] = (3 * table["m200"] / (800 * np.pi * density)) ** (1 / 3) / H * 1.5 / 1.3
    table["r500"][:] = 0.65 * table["r200"]
    table["redshift"][:] = 0.3


OF_ALL = [f"{simulation}, snapshot 128: the M200 and R200 of its 3 halos enclose " for simulation in ("one", "two")]
OF_ONE = "halo 2 (one, c, snapshot 128, id 2): its M200 and R200 enclose "


@pytest.mark.parametrize(
    ("plant", "told", "may_be"),
    [
        (times("r200", H), OF_ALL, "not 200: "),
        (times("r200", 1 / H), OF_ALL, "kpc instead of kpc/h"),
        (times("m200", H), OF_ALL, "not 200: "),
        (another_redshift, OF_ALL, "they fit z = 0.5"),
        (times("r200", 1.2, slice(2, 3)), [OF_ONE], "not 200: "),
        (times("r200", 0.97, slice(2, 3)), [OF_ONE], "not 200: "),
    ],
)
def test_mass_radius_and_redshift_that_do_not_fit(tmp_path: Path, plant: Plant, told: list[str], may_be: str) -> None:
    found = [line for line in faults(write(tmp_path / "maps.h5", plant)) if "enclose" in line]
    assert [line[: len(begins)] for line, begins in zip(found, told, strict=True)] == told
    assert all(may_be in line and f"Omega_m = {OMEGA_M}, not 200: " in line for line in found)


@pytest.mark.parametrize(
    ("attributes", "fault"),
    [
        ({"h": 67.77}, "HubbleParam = 67.77 cannot be: it is H0 over 100 km/s/Mpc, as 0.6777"),
        ({"omega_m": 0.0}, "Omega0 = 0 cannot be: it is the density of all matter, as 0.307"),
        ({"h": "unknown"}, "does not say its h and omega_m, so that M200 and R200 cannot be held against each other"),
    ],
)
def test_a_cosmology_that_cannot_be(tmp_path: Path, attributes: dict[str, Any], fault: str) -> None:
    assert faults(write(tmp_path / "maps.h5", None, **attributes)) == [fault]


def with_mass(share: float, halo: int) -> Plant:
    """One view of a halo has this share of M200 inside R200."""

    def plant(table: Table, stacks: Stacks) -> None:
        mass = stacks[halo]["mass"]
        mass[0] *= share * table["m200"][halo] / (sums_inside_r200(mass)[0] * (table["r200"][halo] / 40) ** 2)

    return plant


def test_a_halo_of_few_particles_is_no_fault(tmp_path: Path) -> None:
    """Its radius is that of the last particle, and a view can lack some of its edge."""

    def small(table: Table, stacks: Stacks) -> None:
        times("r200", 1.02, slice(3, 4))(table, stacks)
        with_mass(0.988, 3)(table, stacks)

    assert faults(write(tmp_path / "maps.h5", small)) == []


def test_one_view_of_a_whole_halo_may_lack_its_edge_but_not_more(tmp_path: Path) -> None:
    assert faults(write(tmp_path / "maps.h5", with_mass(0.97, 3))) == []
    (line,) = faults(write(tmp_path / "less.h5", with_mass(0.94, 3)))
    assert "projection 0: the mass inside R200 is 0.94 M200, less than the sphere's" in line


def test_a_density_that_is_wrong_by_little_is_told_of_many_halos(tmp_path: Path) -> None:
    """Another cosmology, 10 % off: few particles make halos less dense, but not many halos, nor all by the same."""
    path, few = tmp_path / "maps.h5", tmp_path / "few.h5"

    def unequal(table: Table, stacks: Stacks) -> None:
        for halo, density in enumerate((0.9, 0.93, 0.97)):
            times("r200", density ** (-1 / 3), slice(halo, None, 3))(table, stacks)

    assert [line for line in faults(write(few, unequal)) if "enclose" in line] == []
    assert len([line for line in faults(write(few, times("r200", 0.9 ** (-1 / 3)))) if "enclose" in line]) == 2
    rng, n = np.random.default_rng(5), 12
    m200 = 10 ** rng.uniform(13.6, 14.9, n)
    r200 = (3 * m200 / (0.9 * 800 * np.pi * critical_density(0.0, OMEGA_M))) ** (1 / 3) / H
    table: Table = {"simulation": ["one"] * n, "region": [str(k) for k in range(n)], "snapshot": [128] * n}
    table |= {"redshift": np.zeros(n), "halo_id": np.arange(n), "m200": m200, "r200": r200, "r500": 0.65 * r200}
    table |= {"f_gas": np.full(n, 0.12), "f_star": np.full(n, 0.01)}
    stacks = [cluster_maps(m, r, 1, rng) for m, r in zip(m200, r200, strict=True)]
    write_map_file(path, NAMES, table, np.eye(3)[None], stacks, {"h": H, "omega_m": OMEGA_M})
    (line,) = [line for line in faults(path) if "enclose" in line]
    assert line.startswith("one, snapshot 128: the M200 and R200 of its 12 halos enclose 180 times the critical")
