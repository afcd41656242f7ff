"""The collaboration's files become a map file: values against plain loops, and each mistake in one line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import h5py
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM

from hpc_massmap.arrays import FloatArray
from hpc_massmap.config import Split
from hpc_massmap.dataset import imported
from hpc_massmap.dataset.check import check_maps
from hpc_massmap.dataset.collaboration import DATASETS, Assumed, read_sources, redshifts_of
from hpc_massmap.dataset.imported import import_maps, rebinned
from hpc_massmap.dataset.mapfile import open_maps
from hpc_massmap.dataset.split import split_maps
from hpc_massmap.errors import InputError
from hpc_massmap.sims.catalogue import r500_over_r200
from tests.synthetic import cluster_maps

H, OMEGA_M = 0.6777, 0.307115
REDSHIFTS: dict[int | None, float] = {128: 0.0, 127: 0.022}
ASSUMED = Assumed(H, OMEGA_M, dict(REDSHIFTS))
VIEWS = 3

Content = dict[str, Any]
Change = Callable[[Content], None]


def content(halos: int = 4, pixels: int = 80, seed: int = 1) -> Content:
    """What a file holds: halos of two snapshots, in plain erg/s/kpc^2, radii of a sphere of 200 critical densities."""
    rng = np.random.default_rng(seed)
    log_m200 = rng.uniform(13.6, 15.2, halos)
    snapshot = 128 - np.arange(halos) % 2
    z = np.array([REDSHIFTS[int(number)] for number in snapshot])
    critical = FlatLambdaCDM(100 * H, OMEGA_M).critical_density(z).to_value(u.Msun / u.kpc**3)
    r200 = (3 * 10**log_m200 / H / (800 * np.pi * critical)) ** (1 / 3)  # physical kpc
    drawn = [cluster_maps(10**m, r, VIEWS, rng) for m, r in zip(log_m200, r200, strict=True)]
    stacks = {name: np.stack([maps[name] for maps in drawn]) for name in DATASETS}
    fine = {name: stack.repeat(pixels // 80, 2).repeat(pixels // 80, 3) for name, stack in stacks.items()}
    ripple = 1 + 0.2 * rng.uniform(-1, 1, (pixels, pixels))
    return {
        "SZ": fine["sz"] * ripple,
        "Xray": 1e40 * fine["xray"] * ripple,
        "star": fine["star"] * ripple,
        "total_mass": fine["mass"] * ripple,
        "gas": 0.12 * fine["mass"] * ripple,
        "M_200": log_m200,
        "R_200": r200 * H * (1 + z),
        "region": np.arange(halos) // 2 + 7,
        "hid": snapshot * 10**12 + np.arange(halos) + 1,
    }


def write(path: Path, held: Content, **storage: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in held.items():
            file.create_dataset(name, data=values, **(storage if np.ndim(values) == 4 else {}))
    return path


def imported_from(path: Path, out: Path, assumed: Assumed = ASSUMED) -> Path:
    import_maps(out, read_sources([path], ["GADGET-X"], assumed), assumed)
    return out


def averaged(fine: FloatArray) -> FloatArray:
    size = fine.shape[-1] // 80
    coarse = np.empty((*fine.shape[:2], 80, 80))
    for i, j in np.ndindex(80, 80):
        coarse[..., i, j] = fine[..., i * size : (i + 1) * size, j * size : (j + 1) * size].mean(axis=(2, 3))
    return coarse


@pytest.mark.parametrize("pixels", [80, 160])
def test_maps_and_table_are_those_of_the_file(tmp_path: Path, pixels: int) -> None:
    held = content(pixels=pixels)
    maps = open_maps(imported_from(write(tmp_path / "x.h5", held), tmp_path / "maps.h5"), DATASETS, check_values=True)
    for name, theirs in DATASETS.items():
        expected = averaged(held[theirs]).reshape(-1, 80, 80) / (1e40 if name == "xray" else 1)
        np.testing.assert_allclose(maps.maps[name][:], expected, rtol=1e-6)
    np.testing.assert_array_equal(maps.halo, np.repeat(np.arange(4), VIEWS))
    np.testing.assert_array_equal(maps.projection, np.tile(np.arange(VIEWS), 4))
    halos, z = maps.halos, np.array([0.0, 0.022, 0.0, 0.022])
    assert halos["simulation"].tolist() == ["GADGET-X"] * 4
    assert halos["region"].tolist() == [f"NewMDCLUSTER_{n:04d}" for n in (7, 7, 8, 8)]
    assert halos["snapshot"].tolist() == [128, 127, 128, 127]
    np.testing.assert_array_equal(halos["halo_id"], held["hid"])
    np.testing.assert_allclose(halos["redshift"], z)
    np.testing.assert_allclose(halos["m200"], 10 ** held["M_200"])
    np.testing.assert_allclose(halos["r200"], held["R_200"] / H / (1 + z))
    np.testing.assert_allclose(halos["r500"], halos["r200"] * r500_over_r200(np.array([4.0])))
    np.testing.assert_allclose(halos["f_gas"], 0.12)
    assert np.all((halos["f_star"] > 0.005) & (halos["f_star"] < 0.03))
    assert np.isnan(maps.rotations).all()
    assert maps.rotations.shape == (VIEWS, 3, 3)
    assert (maps.attributes["h"], maps.attributes["omega_m"]) == (H, OMEGA_M)
    assert check_maps(maps).faults == []


def test_rebinning_keeps_the_mean() -> None:
    fine = np.random.default_rng(0).lognormal(0, 3, (2, 3, 400, 400))
    np.testing.assert_allclose(rebinned(fine).mean(axis=(2, 3)), fine.mean(axis=(2, 3)), rtol=1e-12)
    np.testing.assert_array_equal(rebinned(fine[..., :80, :80]), fine[..., :80, :80])


def test_files_of_both_simulations_join_and_counterparts_stay_on_one_side(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{seed}.h5", content(40, seed=seed)) for seed in (1, 2)]
    import_maps(tmp_path / "maps.h5", read_sources(paths, ["GADGET-X", "GIZMO-SIMBA"], ASSUMED), ASSUMED)
    maps = open_maps(tmp_path / "maps.h5", DATASETS, check_values=True)
    assert maps.halos["simulation"].tolist() == ["GADGET-X"] * 40 + ["GIZMO-SIMBA"] * 40
    rows = split_maps(maps, Split())
    sides = [set(maps.halos["region"][maps.halo[part]]) for part in (rows.train, rows.validation, rows.test)]
    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20
    for part in (rows.train, rows.validation, rows.test):
        of_part = maps.halos["simulation"][maps.halo[part]]
        assert np.sum(of_part == "GADGET-X") == np.sum(of_part == "GIZMO-SIMBA")


def test_small_reads_of_a_compressed_file_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = content(5, pixels=160)
    plain = open_maps(imported_from(write(tmp_path / "plain.h5", held), tmp_path / "plain_maps.h5"))
    path = write(tmp_path / "chunked.h5", held, chunks=(2, 2, 40, 80), compression="gzip", compression_opts=1)
    reads, check_pixels = [], imported._check_pixels

    def note(path: Path, name: str, maps: FloatArray, first: int, view: int) -> None:
        reads.append(maps.shape[:2])
        check_pixels(path, name, maps, first, view)

    monkeypatch.setattr(imported, "READ_BYTES", 1)
    monkeypatch.setattr(imported, "_check_pixels", note)
    chunked = open_maps(imported_from(path, tmp_path / "chunked_maps.h5"))
    assert set(reads) == {(2, 2), (2, 1), (1, 2), (1, 1)}  # a chunk, and what is left at the ends
    assert chunked.digest == plain.digest


def test_units_of_the_file_are_converted(tmp_path: Path) -> None:
    held = content()
    theirs = dict(held, Xray=held["Xray"] / 1e44)
    for name in ("star", "total_mass", "gas"):
        theirs[name] = held[name] / H / 1e6  # Msun pc^-2
    assumed = Assumed(H, OMEGA_M, REDSHIFTS, xray_unit="1e44 erg / (s kpc2)", density_unit="Msun / pc2")
    ours = open_maps(imported_from(write(tmp_path / "x.h5", held), tmp_path / "ours.h5"))
    same = open_maps(imported_from(write(tmp_path / "y.h5", theirs), tmp_path / "same.h5", assumed))
    for name in DATASETS:
        np.testing.assert_allclose(same.maps[name][:], ours.maps[name][:], rtol=1e-6)


def test_what_a_file_lacks_or_has_more(tmp_path: Path) -> None:
    held = content()
    del held["gas"]
    held |= {"R_500": 0.6 * held["R_200"], "region": [b"NewMDCLUSTER_0007", b"0007", b"8", b"other"]}
    held["hid"] = np.arange(4)
    assumed = Assumed(H, OMEGA_M, {None: 0.01}, snapshot=99)
    halos = open_maps(imported_from(write(tmp_path / "x.h5", held), tmp_path / "maps.h5", assumed)).halos
    assert np.isnan(halos["f_gas"]).all()
    np.testing.assert_allclose(halos["r500"] / halos["r200"], 0.6)
    names = ["NewMDCLUSTER_0007", "NewMDCLUSTER_0007", "NewMDCLUSTER_0008", "other"]
    assert halos["region"].tolist() == names
    assert (set(halos["snapshot"]), set(halos["redshift"])) == ({99}, {0.01})


def pixel(name: str, value: float) -> Change:
    return lambda held: held[name].__setitem__((2, 1, 5, 6), value)


def entry(name: str, value: float) -> Change:
    return lambda held: held[name].__setitem__(3, value)


def put(name: str, make: Callable[[Any], Any]) -> Change:
    return lambda held: held.__setitem__(name, make(held[name]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held.pop("SZ"), "has no dataset SZ; it holds M_200, R_200, Xray, gas, "),
        (lambda held: held.pop("hid"), "has no dataset hid"),
        (
            put("Xray", lambda maps: maps[:, 0]),
            "Xray is float64 (4, 80, 80), not numbers of shape (halos, views, N, N)",
        ),
        (put("star", lambda maps: maps[:3]), "star has the shape (3, 3, 80, 80), but SZ (4, 3, 80, 80)"),
        (put("R_200", lambda radii: radii[:3]), "R_200 has the shape (3,), but the maps are of 4 halos"),
        (pixel("SZ", np.nan), "SZ of halo 2, projection 1: pixel [5, 6] is nan"),
        (pixel("Xray", np.inf), "Xray of halo 2, projection 1: pixel [5, 6] is inf"),
        (pixel("star", -1.0), "star of halo 2, projection 1: pixel [5, 6] is -1.0"),
        (put("total_mass", lambda maps: 0 * maps), "total_mass of halo 0 has a map that is 0 everywhere"),
        (put("M_200", lambda log: 10**log), "M_200 of halo 0 is "),
        (put("M_200", np.log), "M_200 of halo 0 is 2.6"),
        (entry("M_200", np.nan), "M_200 of halo 3 is nan"),
        (entry("R_200", 1.2), "halo 3: R_200 = 1.2 comoving kpc/h at z = 0.022 goes with log10 M200 = "),
        (lambda held: held.__setitem__("R_500", np.array([500, 500, 0, 500.0])), "R_500 of halo 2 is 0.0"),
        (put("region", lambda _: np.array([1, np.nan, 2, 2])), "region of halo 1 is nan"),
        (put("region", lambda _: np.array([1, 2, 2, 2.5])), "region of halo 3 is 2.5"),
        (entry("hid", 17), "hid of halo 3 is 17, which names no snapshot; give --snapshot"),
        (entry("hid", 126 * 10**12), "has halos of snapshot 126; give its redshift, --redshift 126:Z"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(tmp_path: Path, change: Change, message: str) -> None:
    held = content()
    change(held)
    path = write(tmp_path / "x.h5", held)
    with pytest.raises(InputError) as error:
        imported_from(path, tmp_path / "maps.h5")
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_maps_whose_side_is_no_multiple_of_80_are_refused(tmp_path: Path) -> None:
    held = {name: values[..., :72, :72] if np.ndim(values) == 4 else values for name, values in content().items()}
    with pytest.raises(InputError, match="72 pixels along a side, not a multiple of 80"):
        read_sources([write(tmp_path / "x.h5", held)], ["GADGET-X"], ASSUMED)


def test_files_that_cannot_be_read_or_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    for path, message in ((tmp_path / "none.h5", "no such file"), (tmp_path / "text.h5", "not readable as HDF5")):
        with pytest.raises(InputError, match=message):
            read_sources([path], ["GADGET-X"], ASSUMED)
    held = content()
    path = write(tmp_path / "x.h5", held)
    fewer = {name: values[:, :2] if np.ndim(values) == 4 else values for name, values in held.items()}
    with pytest.raises(InputError, match=r"2 projections a halo, but .*x.h5 has 3"):
        read_sources([path, write(tmp_path / "fewer.h5", fewer)], ["A", "B"], ASSUMED)
    with pytest.raises(InputError, match="1 names for 2 files"):
        read_sources([path, path], ["A"], ASSUMED)
    with pytest.raises(InputError, match="--xray-unit 'erg': not a unit like"):
        read_sources([path], ["A"], Assumed(H, OMEGA_M, REDSHIFTS, xray_unit="erg"))
    with pytest.raises(InputError, match=r"--h 67\.77: must be between 0 and 1\.5"):
        read_sources([path], ["A"], Assumed(100 * H, OMEGA_M, REDSHIFTS))


def test_ids_keep_64_bits(tmp_path: Path) -> None:
    held = content()
    held["hid"] = np.array([2**64 - 1, 2**63, 2**53 + 1, 7], np.uint64)
    assumed = Assumed(H, OMEGA_M, {None: 0.0}, snapshot=128)
    critical = FlatLambdaCDM(100 * H, OMEGA_M).critical_density(0).to_value(u.Msun / u.kpc**3)
    held["R_200"] = (3 * 10 ** held["M_200"] / H / (800 * np.pi * critical)) ** (1 / 3) * H
    halos = open_maps(imported_from(write(tmp_path / "x.h5", held), tmp_path / "maps.h5", assumed)).halos
    assert halos["halo_id"].tolist() == held["hid"].tolist()
    held["hid"] = held["hid"].astype(float)
    with pytest.raises(InputError, match=r"hid of halo 0 is 1.8446744073709552e.19 as float64, which loses its last"):
        read_sources([write(tmp_path / "floats.h5", held)], ["GADGET-X"], assumed)


def test_a_halo_twice_is_refused(tmp_path: Path) -> None:
    held = content()
    held["region"][:], held["hid"][2] = 7, held["hid"][0]
    path = write(tmp_path / "x.h5", held)
    name = rf"hid {held['hid'][0]} of NewMDCLUSTER_0007, snapshot 128 of GADGET-X"
    with pytest.raises(InputError, match=rf"^{path}: halo 2 is {name}, as halo 0 of {path}; leave one$"):
        read_sources([path], ["GADGET-X"], ASSUMED)
    path = write(tmp_path / "x.h5", content())
    with pytest.raises(InputError, match=rf"^{path}: halo 0 is .*, as halo 0 of {path}; leave one$"):
        read_sources([path, path], ["GADGET-X", "GADGET-X"], ASSUMED)
    assert len(read_sources([path, path], ["GADGET-X", "GIZMO-SIMBA"], ASSUMED)) == 2


def test_maps_whose_source_is_gone_are_no_empty_maps(tmp_path: Path) -> None:
    held = content()
    write(tmp_path / "pixels.h5", {"Xray": held["Xray"]})
    path = write(tmp_path / "x.h5", {name: values for name, values in held.items() if name != "Xray"})
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout(held["Xray"].shape, float)
        layout[:] = h5py.VirtualSource("pixels.h5", "Xray", held["Xray"].shape)
        file.create_virtual_dataset("Xray", layout)
    assert read_sources([path], ["GADGET-X"], ASSUMED)[0].views == VIEWS
    (tmp_path / "pixels.h5").unlink()
    with pytest.raises(InputError, match=rf"^{path}: /Xray takes values from pixels.h5, which is not there; put"):
        read_sources([path], ["GADGET-X"], ASSUMED)


def test_a_redshift_is_given_once() -> None:
    assert redshifts_of([(128, 0.0), (None, 0.022)]) == {128: 0.0, None: 0.022}
    with pytest.raises(InputError, match=r"^--redshift: all halos cannot have both 0 and 0\.022$"):
        redshifts_of([(None, 0.0), (127, 0.022), (None, 0.022)])
    with pytest.raises(InputError, match=r"^--redshift: snapshot 127 cannot have both 0\.022 and 0\.045$"):
        redshifts_of([(127, 0.022), (127, 0.045)])
    with pytest.raises(InputError, match=r"^--redshift: -0\.022 of snapshot 127 is negative$"):
        redshifts_of([(127, -0.022)])


def test_the_job_imports_but_never_over_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", content())
    size = path.stat().st_size

    def job(out: str) -> subprocess.CompletedProcess[str]:
        cosmology = ["--h", str(H), "--omega-m", str(OMEGA_M), "--redshift", "128:0", "127:0.022"]
        files = [str(path), str(tmp_path / out), "--simulation", "GADGET-X"]
        command = [sys.executable, "jobs/maps.py", "import", *files, *cosmology]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = job("maps.h5")
    assert done.returncode == 0, done.stderr
    assert '12 maps of 4 halos from ["GADGET-X"]' in done.stdout
    again = job("x.h5")
    assert again.returncode == 2
    assert again.stderr == f"error: {path}: exists already; remove it or name another file to make\n"
    assert path.stat().st_size == size
