"""A map shows its whole square or is refused: cut regions, boundary particles, periodic boxes, impossible gas."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from hpc_massmap.config import Maps, Selection, Simulation
from hpc_massmap.errors import InputError
from hpc_massmap.maps.lines_of_sight import rotations
from hpc_massmap.maps.make import Stacks, region_maps
from hpc_massmap.sims.selection import Halo, find_sources
from tests.sims.files import EXAMPLE, all_candidates

VIEWS = rotations(29)[3:5]
R200 = 790.407  # comoving kpc/h, at z = 0
MIDDLE = np.full(3, 25000.0)
Positions = npt.NDArray[np.float64]


@pytest.fixture
def region(tmp_path: Path) -> Path:
    folder = tmp_path / "region_0001"
    folder.mkdir()
    shutil.copy(EXAMPLE / "region_0001" / "snap_106.hdf5", folder)
    shutil.copy(next((EXAMPLE / "region_0001").glob("*snap_106*AHF_halos")), folder)
    return folder


def drawn(region: Path, adaptive: int | None = None) -> Stacks:
    simulation = Simulation(name="gadget4", folder=region.parent, region=region.name, snapshots=[106])
    halos: list[Halo] = all_candidates(find_sources([simulation]), Selection(m200_min=1e13))
    (maps,) = region_maps(halos, Maps(kernel="cubic_spline", adaptive_smoothing=adaptive), VIEWS, {})
    return maps


def refusal(region: Path) -> str:
    with pytest.raises(InputError) as error:
        drawn(region)
    return str(error.value)


def keep(region: Path, which: Callable[[Positions], npt.NDArray[np.bool_]]) -> None:
    """Cut the region: `which` takes (n, 3) positions from the centre in R200."""
    with h5py.File(region / "snap_106.hdf5", "r+") as file:
        counts = file["Header"].attrs["NumPart_ThisFile"]
        for kind in (0, 1, 4):
            group = file[f"PartType{kind}"]
            kept = which((group["Coordinates"][:].astype(float) - MIDDLE) / R200)
            counts[kind] = np.count_nonzero(kept)
            for name in list(group):
                values = group[name][:][kept]
                del group[name]
                group[name] = values
        file["Header"].attrs["NumPart_ThisFile"] = counts


@pytest.mark.parametrize(
    ("shape", "edge"),
    [("sphere", 1.0), ("sphere", 1.3), ("sphere", 1.6), ("cube", 1.0), ("cube", 1.4), ("half", 0.6), ("half", 1.1)],
)
def test_a_region_that_ends_within_the_corners_of_a_map_is_refused(shape: str, edge: float, region: Path) -> None:
    distances: dict[str, Callable[[Positions], Positions]] = {
        "sphere": lambda p: np.asarray(np.linalg.norm(p, axis=1)),
        "cube": lambda p: np.asarray(np.abs(p).max(axis=1)),
        "half": lambda p: p[:, 1],
    }
    keep(region, lambda p: distances[shape](p) < edge)
    said = re.search(r"halo 106\d+: the particles end (\S+) R200 from its centre, but .* 1.73 R200", refusal(region))
    assert said is not None
    assert edge - 0.2 < float(said[1]) < edge + 0.01


@pytest.mark.parametrize("edge", [1.75, 1.9])
def test_a_region_that_holds_the_corners_is_drawn_as_the_whole(edge: float, region: Path) -> None:
    whole = drawn(region)
    keep(region, lambda p: np.asarray(np.linalg.norm(p, axis=1)) < edge)
    for name, maps in drawn(region).items():
        np.testing.assert_array_equal(maps, whole[name])


@pytest.mark.parametrize(("distance", "refused"), [(1.6, True), (2.0, False)])
def test_boundary_particles_in_the_corners_are_no_small_thing(distance: float, refused: bool, region: Path) -> None:
    with h5py.File(region / "snap_106.hdf5", "r+") as file:
        file["Header"].attrs["NumPart_ThisFile"] = [*file["Header"].attrs["NumPart_ThisFile"][:2], 5, 0, 144, 0]
        file["PartType2/Coordinates"] = MIDDLE + distance * R200 * np.eye(3)[[0, 1, 2, 0, 1]]
        file["PartType2/Masses"] = np.full(5, 30.0)
    if refused:
        assert "M200 of boundary particles (types 2 and 3) are within 1.73 R200" in refusal(region)
    else:
        drawn(region)


def make_periodic(region: Path, shift: Positions) -> None:
    """The region as a whole periodic box, moved by a part of its side."""
    side = 4 * R200
    with h5py.File(region / "snap_106.hdf5", "r+") as file:
        file["Header"].attrs["BoxSize"] = side
        for kind in (0, 1, 4):
            positions = file[f"PartType{kind}/Coordinates"][:].astype(float) - MIDDLE + side / 2
            del file[f"PartType{kind}/Coordinates"]
            file[f"PartType{kind}/Coordinates"] = (positions + shift * side) % side
    catalogue = next(region.glob("*AHF_halos"))
    for axis in range(3):
        place = (side / 2 + shift[axis] * side) % side
        catalogue.write_text(catalogue.read_text().replace("25000.000", f"{place:.4f}", 1))


@pytest.mark.parametrize("adaptive", [None, 32])
@pytest.mark.parametrize("shift", [[0.5, 0.5, 0.5], [0.4, 0, 0], [-0.3, 0.49, 0.1]])
def test_a_halo_at_a_face_of_a_periodic_box_has_what_is_on_the_other_side(
    shift: list[float], adaptive: int | None, region: Path
) -> None:
    whole = drawn(region, adaptive)
    make_periodic(region, np.array(shift))
    for name, maps in drawn(region, adaptive).items():
        # rounded positions; and neighbours beyond the faces, which the region has none of
        assert np.abs(maps - whole[name]).sum() < (2e-3 if adaptive else 1e-4) * whole[name].sum()


def test_a_box_that_is_not_the_particles_is_no_period(region: Path) -> None:
    whole = drawn(region)
    with h5py.File(region / "snap_106.hdf5", "r+") as file:
        file["Header"].attrs["BoxSize"] = 50.0  # Mpc/h among kpc/h
    for name, maps in drawn(region).items():
        np.testing.assert_array_equal(maps, whole[name])


@pytest.mark.parametrize(
    ("block", "change", "message"),
    [
        ("SmoothingLength", lambda x: x * 0 + 1.16, "a kernel holds .* particles in the median"),
        ("SmoothingLength", lambda x: x / 1000, "a kernel holds .* particles in the median"),
        ("Density", lambda x: x * 1000, "a kernel holds .* particles in the median"),
        ("InternalEnergy", lambda x: x * 48, r"the internal energy of gas is \d+ G M200/R200 on average"),
        ("InternalEnergy", lambda x: x / 1e10, "the internal energy of gas is .* G M200/R200 on average"),
        ("ElectronAbundance", lambda x: x * 0, "gas has 0 to 0 electrons per hydrogen nucleus"),
        ("ElectronAbundance", lambda x: 1e-5 * x, "gas has .* electrons per hydrogen nucleus"),
        ("ElectronAbundance", lambda x: 2 * x, "gas has .* to 2.32 electrons per hydrogen nucleus"),
    ],
)
def test_gas_that_cannot_be_that_of_a_halo(
    block: str, change: Callable[[Positions], Positions], message: str, region: Path
) -> None:
    with h5py.File(region / "snap_106.hdf5", "r+") as file:
        values = file[f"PartType0/{block}"]
        values[:] = change(values[:])
    assert re.search(message, refusal(region))
