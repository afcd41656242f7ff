"""The mock universe on disk: GADGET-2's records parsed by hand, several files, the same bytes again, and the job."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_massmap.config import Simulation, load_config
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.errors import InputError
from hpc_massmap.sims.mock import Region, draw_region
from hpc_massmap.sims.mock_files import AHF_COLUMNS, NOTICE, claim_folders, codes_of, mock_of, write_region
from hpc_massmap.sims.mock_halo import CODES, COSMOLOGY, draw_halo
from tests.conftest import AS_ROOT, ON_ONE_HOST

KINDS = {"POS ": (0, 1, 4, 5), "MASS": (0, 4, 5), "RHO ": (0,), "Z   ": (0, 4)}
NAMES = {"POS ": "Coordinates", "MASS": "Masses", "RHO ": "Density", "Z   ": "Metallicity"}
ORDER = ["HEAD", "POS ", "VEL ", "ID  ", "MASS", "U   ", "RHO ", "NE  ", "HSML", "SFR ", "Z   "]


def simulation(name: str, folder: Path, snapshot: str, number: int = 128) -> Simulation:
    return Simulation(name=name, folder=folder, snapshot=snapshot, snapshots=[number])


def gadget_x(folder: Path) -> Simulation:
    return simulation("GADGET-X", folder, "snapdir_{snapshot:03d}/snap_{snapshot:03d}.0")


def drawn(name: str, number: int = 1, seed: int = 0) -> Region:
    return draw_region(draw_halo(seed, number), CODES[name], 128, particles=3000)


def records(path: Path) -> list[bytes]:
    """What stands between pairs of equal counts."""
    data, place, found = path.read_bytes(), 0, []
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        assert data[place : place + 4] == data[place + 4 + size : place + 8 + size]
        found.append(data[place + 4 : place + 4 + size])
        place += 8 + size
    return found


def labelled(path: Path) -> dict[str, bytes]:
    """Format 2: each block is announced by a record of its label and its bytes with their two counts."""
    found = records(path)
    blocks = {}
    for label, block in zip(found[::2], found[1::2], strict=True):
        assert int.from_bytes(label[4:], "little") == len(block) + 8
        blocks[label[:4].decode()] = block
    return blocks


def test_gadget_2_files_hold_what_was_drawn(tmp_path: Path) -> None:
    region = drawn("GADGET-X")
    write_region(gadget_x(tmp_path), region, 3)
    folder = tmp_path / "NewMDCLUSTER_0001" / "snapdir_128"
    assert sorted(path.name for path in folder.iterdir()) == ["snap_128.0", "snap_128.1", "snap_128.2"]
    files = [labelled(folder / f"snap_128.{i}") for i in range(3)]
    counts = [np.frombuffer(blocks["HEAD"][:24], "<i4") for blocks in files]
    for blocks, count in zip(files, counts, strict=True):
        head = blocks["HEAD"]
        assert (list(blocks), len(head)) == (ORDER, 256)
        assert np.frombuffer(head[24:72], "<f8")[1] == region.particles[1]["Masses"][0]
        assert np.frombuffer(head[72:88], "<f8").tolist() == [1.0, 0.0]  # time, redshift
        assert np.frombuffer(head[96:120], "<u4").tolist() == np.sum(counts, axis=0).tolist()
        assert int.from_bytes(head[124:128], "little") == 3
        cosmology = [1e6, COSMOLOGY.Om0, COSMOLOGY.Ode0, COSMOLOGY.h]
        np.testing.assert_array_equal(np.frombuffer(head[128:160], "<f8"), cosmology)
        assert head[196:].startswith(NOTICE.encode())
        assert len(blocks["ID  "]) == 4 * count.sum()
    for label, kinds in KINDS.items():
        width = 3 if label == "POS " else 1
        for kind in kinds:
            parts = []
            for blocks, count in zip(files, counts, strict=True):
                start = sum(count[k] for k in kinds if k < kind) * width
                parts.append(np.frombuffer(blocks[label], "<f4")[start : start + count[kind] * width])
            values = region.particles[kind][NAMES[label]]
            np.testing.assert_array_equal(np.concatenate(parts), values.ravel())
    ids = np.sort(np.concatenate([np.frombuffer(blocks["ID  "], "<u4") for blocks in files]))
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))


def test_hdf5_in_several_files_holds_what_was_drawn(tmp_path: Path) -> None:
    region = drawn("GIZMO-SIMBA")
    write_region(simulation("GIZMO-SIMBA", tmp_path, "snap_{snapshot:03d}.0.hdf5"), region, 2)
    paths = [tmp_path / "NewMDCLUSTER_0001" / f"snap_128.{i}.hdf5" for i in range(2)]
    found: dict[tuple[int, str], list[Any]] = {}
    for path in paths:
        with h5py.File(path) as file:
            header = dict(file["Header"].attrs)
            assert header["Notice"] == NOTICE
            assert header["NumFilesPerSnapshot"] == 2
            for kind, blocks in region.particles.items():
                assert header["NumPart_Total"][kind] == len(blocks["Masses"])
                assert header["NumPart_ThisFile"][kind] == len(file[f"PartType{kind}/Masses"])
                for name in blocks:
                    found.setdefault((kind, name), []).append(file[f"PartType{kind}/{name}"][:])
    for (kind, name), parts in found.items():
        np.testing.assert_array_equal(np.concatenate(parts), region.particles[kind][name])


def test_the_catalogue_has_ahf_s_columns_in_ahf_s_places(tmp_path: Path) -> None:
    write_region(gadget_x(tmp_path), drawn("GADGET-X"), 1)
    path = tmp_path / "NewMDCLUSTER_0001" / "GadgetX-NewMDCLUSTER_0001.snap_128.z0.000.AHF_halos"
    names, notice, row = path.read_text().splitlines()
    columns = names.lstrip("#").split()
    for column in ("Mvir(4)", "Rvir(12)", "fMhires(38)", "cNFW(43)", "M_gas(45)", "M_star(65)", "mean_z_star(85)"):
        assert column in columns
    assert columns[87] == "mean_z_star_excised(88)"
    assert len(row.split()) == len(columns) == len(AHF_COLUMNS)
    assert NOTICE in notice


def test_the_same_seed_gives_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    def written(folder: Path, numbers: list[int]) -> dict[str, bytes]:
        for number in numbers:
            write_region(gadget_x(folder / "x"), drawn("GADGET-X", number), 2)
            write_region(simulation("GIZMO-SIMBA", folder / "s", "s.hdf5"), drawn("GIZMO-SIMBA", number), 1)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    first = written(tmp_path / "a", [1, 2])
    assert len(first) == 10
    assert written(tmp_path / "b", [2, 1]) == first


def test_counterparts_share_their_halo_and_seeds_differ() -> None:
    x, simba = drawn("GADGET-X"), drawn("GIZMO-SIMBA")
    assert x.catalogue["Mvir"] == pytest.approx(simba.catalogue["Mvir"], rel=2e-3)
    assert x.catalogue["M_gas"] > 1.3 * simba.catalogue["M_gas"]
    other = draw_halo(1, 1)
    assert (x.halo.axes == simba.halo.axes).all()
    assert other.m200 != x.halo.m200
    regions = [draw_halo(0, number) for number in range(1, 5)]
    assert all(not np.allclose(a.axes, b.axes) for a, b in pairwise(regions))


def test_mocks_stay_away_from_simulations(tmp_path: Path) -> None:
    (tmp_path / "NewMDCLUSTER_0001").mkdir()
    with pytest.raises(InputError, match="holds files that are no mock"):
        claim_folders([tmp_path])
    claim_folders([tmp_path / "new"])
    claim_folders([tmp_path / "new"])


@pytest.mark.parametrize(
    ("name", "number", "says"),
    [("GADGET-MUSIC", 128, "GADGET-X or GIZMO-SIMBA"), ("GADGET-X", 99, "has 123 to 128")],
)
def test_what_cannot_be_mocked_is_said_in_one_line(name: str, number: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        codes_of([simulation(name, tmp_path, "snap.hdf5", number)])


def test_a_config_of_simulations_is_never_written_to() -> None:
    with pytest.raises(InputError, match="no section `mock`"):
        mock_of(load_config(Path("configs/multi3.yaml")))


def test_a_catalogue_that_the_config_would_not_find_is_an_error(tmp_path: Path) -> None:
    elsewhere = gadget_x(tmp_path).model_copy(update={"catalogue": "halos_{snapshot:03d}.txt"})
    with pytest.raises(InputError, match="does not match"):
        write_region(elsewhere, drawn("GADGET-X"), 1)
    for key in ("catalogue", "snapshot"):
        wrong = gadget_x(tmp_path).model_copy(update={key: "snap_{number:03d}.0"})
        with pytest.raises(InputError, match=r"^simulations: 'snap_\{number:03d\}\.0' is no file pattern"):
            write_region(wrong, drawn("GADGET-X"), 1)
    assert not list(tmp_path.iterdir())


def run(*command: object) -> str:
    environment = {**os.environ, **AS_ROOT, **ON_ONE_HOST}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_job_writes_what_make_maps_draws(tmp_path: Path) -> None:
    """On two ranks; the mass along a line of sight is more than M200."""
    simba = f"{{name: GIZMO-SIMBA, folder: {tmp_path}/simba, snapshots: [128]}}"
    several = "snapdir_{snapshot:03d}/snap_{snapshot:03d}.0"  # binary, in two files
    gadget = f"{{name: GADGET-X, folder: {tmp_path}/gadget, snapshot: '{several}', snapshots: [128]}}"
    simulations = f"simulations=[{gadget}, {simba}]"
    overrides = [simulations, f"runs={tmp_path}/runs", f"maps.file={tmp_path}/maps.h5"]
    overrides += ["mock.halos=3", "mock.particles=20000", "maps.lines_of_sight=2"]
    mpirun = [Path(sys.executable).parent / "mpirun", "--oversubscribe", "-n", "2"]
    run(*mpirun, sys.executable, "jobs/mock.py", "configs/mock.yaml", *overrides)
    assert "mock: already done" in run(sys.executable, "jobs/mock.py", "configs/mock.yaml", *overrides)
    assert "3/3 halos" in run(sys.executable, "jobs/mock.py", "configs/mock.yaml", *overrides, "--force")
    run(sys.executable, "jobs/make_maps.py", "configs/mock.yaml", *overrides)

    maps = open_maps(tmp_path / "maps.h5")
    assert maps.halos["simulation"].tolist() == ["GADGET-X"] * 3 + ["GIZMO-SIMBA"] * 3
    y, x = (np.mgrid[:80, :80] - 39.5) / 40
    inside = np.hypot(x, y) <= 1
    with h5py.File(tmp_path / "maps.h5") as file:
        for row, halo in enumerate(maps.halo):
            m200, r200 = (float(maps.halos[name][halo]) for name in ("m200", "r200"))
            area = (r200 / 40) ** 2
            assert 1.02 < file["maps/mass"][row][inside].sum(dtype=np.float64) * area / m200 < 1.6
            stars = file["maps/star"][row].sum(dtype=np.float64) * area / m200
            assert 0.01 < stars < 0.08
            assert file["maps/sz"][row][38:42, 38:42].mean() > 20 * file["maps/sz"][row][:4, :4].mean()
            assert np.all(file["maps/xray"][row][38:42, 38:42] > 0)
